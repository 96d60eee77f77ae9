//! Which lines of the source code the tests of a job have run, from all its coverage files.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use crate::{
    cobertura, lcov, limits,
    remark::{Remark, Remarks},
    text,
};

/// A part of a whole: `covered` of `total` lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub covered: u64,
    pub total: u64,
}

impl Share {
    /// Returns hundredths of a percent; `None` if `total` is 0.
    #[must_use]
    pub fn basis_points(self) -> Option<u64> {
        (self.covered * 10_000).checked_div(self.total)
    }
}

/// The coverage of one source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoveredFile {
    /// Relative to the workspace.
    pub path: String,
    pub lines: Share,
    pub branches: Share,
    /// The lines that nothing ran, as ranges: `3-7, 12`.
    pub missed: String,
}

/// The coverage of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    pub lines: Share,
    pub branches: Share,
    /// The files, by path.
    pub files: Vec<CoveredFile>,
}

/// Lines and branches of one file while reports are read. A line is covered if any report says so.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: BTreeMap<u32, bool>,
    /// The branches, by line and hash of the name.
    branches: BTreeMap<(u32, u64), bool>,
    /// Branches without names, by their line: how many of them were taken at most, and how many there are.
    counted: BTreeMap<u32, (u32, u32)>,
}

/// Collects the coverage of one job from its files.
#[derive(Debug, Default)]
pub struct CoverageReader {
    files: BTreeMap<String, Lines>,
    /// Lines and branches in `files`.
    count: usize,
    full: bool,
    remarks: Remarks,
}

/// Bytes of [`CoveredFile::missed`].
const MISSED_BYTES: usize = 1_000;

impl CoverageReader {
    /// Reads a file: Cobertura's XML, or lcov.
    pub fn read(&mut self, path: &str, bytes: &[u8]) {
        if bytes.len() > limits::FILE_BYTES {
            let limit = limits::FILE_BYTES >> 20;
            self.remarks.add(path, format!("it has {} MiB, and the limit is {limit} MiB", bytes.len() >> 20));
            return;
        }
        let text = text::decode(bytes);
        let read =
            if text.trim_start().starts_with('<') { cobertura::read(&text, self) } else { lcov::read(&text, self) };
        if let Err(problem) = read {
            self.remarks.add(path, problem);
        }
    }

    /// Adds a remark of the caller.
    pub fn remark(&mut self, path: &str, text: impl Into<String>) {
        self.remarks.add(path, text);
    }

    /// Adds a line of a source file.
    pub(crate) fn line(&mut self, path: &str, line: u32, covered: bool) {
        let Some(lines) = self.lines_of(path) else { return };
        let mut new = false;
        *lines.lines.entry(line).or_insert_with(|| {
            new = true;
            false
        }) |= covered;
        self.count += usize::from(new);
    }

    /// Adds a branch of a line.
    pub(crate) fn branch(&mut self, path: &str, line: u32, name: &str, taken: bool) {
        let Some(lines) = self.lines_of(path) else { return };
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let mut new = false;
        *lines.branches.entry((line, hasher.finish())).or_insert_with(|| {
            new = true;
            false
        }) |= taken;
        self.count += usize::from(new);
    }

    /// Adds the branches of a line, of which the report says only how many there are and how many were taken: the first
    /// ones.
    pub(crate) fn branches(&mut self, path: &str, line: u32, taken: u32, all: u32) {
        let Some(lines) = self.lines_of(path) else { return };
        let before = lines.counted.len();
        let known = lines.counted.entry(line).or_default();
        *known = (known.0.max(taken.min(all)), known.1.max(all));
        self.count += lines.counted.len() - before;
    }

    fn lines_of(&mut self, path: &str) -> Option<&mut Lines> {
        if self.count >= limits::COVERED_LINES
            || (self.files.len() >= limits::COVERED_FILES && !self.files.contains_key(path))
        {
            self.full = true;
            return None;
        }
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), Lines::default());
        }
        self.files.get_mut(path)
    }

    /// Returns the coverage; `None` if no file had any.
    #[must_use]
    pub fn finish(mut self) -> (Option<Coverage>, Vec<Remark>) {
        if self.full {
            let text = format!(
                "coverage of {} files and {} lines and branches is read; there is more",
                limits::COVERED_FILES,
                limits::COVERED_LINES
            );
            self.remarks.add("", text);
        }
        let files: Vec<CoveredFile> =
            self.files.into_iter().map(|(path, lines)| lines.count(path)).filter(|file| file.lines.total > 0).collect();
        let sum = |share: fn(&CoveredFile) -> Share| {
            files.iter().map(share).fold(Share::default(), |sum, share| Share {
                covered: sum.covered + share.covered,
                total: sum.total + share.total,
            })
        };
        let (lines, branches) = (sum(|file| file.lines), sum(|file| file.branches));
        ((lines.total > 0).then_some(Coverage { lines, branches, files }), self.remarks.into_vec())
    }
}

impl Lines {
    fn count(self, path: String) -> CoveredFile {
        let share = |all: &mut dyn Iterator<Item = bool>| {
            all.fold(Share::default(), |share, covered| Share {
                covered: share.covered + u64::from(covered),
                total: share.total + 1,
            })
        };
        let named = share(&mut self.branches.values().copied());
        let branches = self.counted.values().fold(named, |share, (taken, all)| Share {
            covered: share.covered + u64::from(*taken),
            total: share.total + u64::from(*all),
        });
        CoveredFile { path, lines: share(&mut self.lines.values().copied()), branches, missed: missed(&self.lines) }
    }
}

/// Returns the lines that nothing ran, as ranges. Lines without code do not end a range.
fn missed(lines: &BTreeMap<u32, bool>) -> String {
    let mut text = String::new();
    let mut range: Option<(u32, u32)> = None;
    let say = |text: &mut String, range: Option<(u32, u32)>| {
        if let Some((from, to)) = range {
            let comma = if text.is_empty() { "" } else { ", " };
            text.push_str(&if from == to { format!("{comma}{from}") } else { format!("{comma}{from}-{to}") });
        }
    };
    for (line, covered) in lines {
        range = match (range, covered) {
            (None, false) => Some((*line, *line)),
            (Some((from, _)), false) => Some((from, *line)),
            (None, true) => None,
            (Some(_), true) => {
                say(&mut text, range);
                None
            }
        };
        if text.len() > MISSED_BYTES {
            return format!("{text}, …");
        }
    }
    say(&mut text, range);
    text
}
