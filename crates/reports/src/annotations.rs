//! Findings of tools about places in the source code: in SARIF files, and by commands in the log
//! (`::error file=a.c,line=3::broken`).

use std::{collections::HashSet, hash::BuildHasher as _};

use crate::{
    limits, paths,
    remark::{Remark, Remarks},
    sarif, text,
};

/// How serious an annotation is; the most serious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    Error,
    Warning,
    Notice,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Notice];

    /// Returns the word used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// One finding of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Annotation {
    pub level: Level,
    /// Relative to the workspace.
    pub file: Option<String>,
    pub line: Option<u32>,
    pub end_line: Option<u32>,
    pub column: Option<u32>,
    pub title: Option<String>,
    pub message: String,
    /// The tool's name; `None` for a command in the log.
    pub tool: Option<String>,
    /// The tool's name for what is wrong.
    pub rule: Option<String>,
}

/// The annotations of a job, as far as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnnotationList {
    /// The most serious first, then in the order in which they were reported.
    pub items: Vec<Annotation>,
    pub remarks: Vec<Remark>,
}

/// Collects the annotations of one job.
#[derive(Debug, Default)]
pub struct Annotations {
    /// One list for each level, so that many notices push out no error.
    items: [Vec<Annotation>; 3],
    /// Hashes of `items`, to drop duplicates: matrix jobs and steps repeat each other's findings.
    known: HashSet<u64>,
    hasher: std::hash::RandomState,
    left_out: usize,
    remarks: Remarks,
}

impl Annotations {
    /// Reads a SARIF file.
    pub fn read_sarif(&mut self, path: &str, bytes: &[u8]) {
        if bytes.len() > limits::FILE_BYTES {
            let limit = limits::FILE_BYTES >> 20;
            self.remarks.add(path, format!("it has {} MiB, and the limit is {limit} MiB", bytes.len() >> 20));
            return;
        }
        if let Err(problem) = sarif::read(&text::decode(bytes), self) {
            self.remarks.add(path, problem);
        }
    }

    /// Reads a line of a log; only a command is an annotation.
    pub fn read_line(&mut self, line: &str) {
        if let Some(annotation) = command(line) {
            self.add(annotation);
        }
    }

    /// Adds a remark of the caller.
    pub fn remark(&mut self, path: &str, text: impl Into<String>) {
        self.remarks.add(path, text);
    }

    pub(crate) fn add(&mut self, annotation: Annotation) {
        if !self.known.insert(self.hasher.hash_one(&annotation)) {
            return;
        }
        let items = &mut self.items[annotation.level as usize];
        if items.len() >= limits::ANNOTATIONS {
            self.left_out += 1;
            self.known.remove(&self.hasher.hash_one(&annotation));
            return;
        }
        items.push(annotation);
    }

    #[must_use]
    pub fn finish(mut self) -> AnnotationList {
        let mut items: Vec<Annotation> = self.items.into_iter().flatten().collect();
        self.left_out += items.len().saturating_sub(limits::ANNOTATIONS);
        items.truncate(limits::ANNOTATIONS);
        if self.left_out > 0 {
            let (kept, all) = (items.len(), items.len() + self.left_out);
            self.remarks
                .add("", format!("the job has {all} annotations, and the {kept} most serious of them are kept"));
        }
        AnnotationList { items, remarks: self.remarks.into_vec() }
    }
}

/// Reads `::error file=app.js,line=1,col=5,endLine=3,title=Title::message`.
fn command(line: &str) -> Option<Annotation> {
    let line = text::clean(line);
    let line = line.trim();
    let (word, rest) = match line.strip_prefix("::") {
        Some(rest) => rest.split_once("::")?,
        None => line.strip_prefix("##[")?.split_once(']')?,
    };
    let (word, settings) = word.split_once(' ').unwrap_or((word, ""));
    let level = Level::ALL.into_iter().find(|level| level.as_str() == word)?;
    let mut found = Annotation {
        level,
        file: None,
        line: None,
        end_line: None,
        column: None,
        title: None,
        message: text::cut(unescaped(rest).trim(), limits::MESSAGE_BYTES).into_owned(),
        tool: None,
        rule: None,
    };
    for (key, value) in settings.split(',').filter_map(|setting| setting.split_once('=')) {
        let value = unescaped(value.trim());
        match key.trim() {
            "file" if !value.is_empty() => found.file = Some(paths::relative(&value)),
            "line" => found.line = value.parse().ok(),
            "endLine" => found.end_line = value.parse().ok(),
            "col" | "column" => found.column = value.parse().ok(),
            "title" if !value.is_empty() => found.title = Some(text::cut(&value, limits::NAME_BYTES).into_owned()),
            _ => {}
        }
    }
    (!found.message.is_empty() || found.title.is_some()).then_some(found)
}

/// Decodes the escapes of a command: line ends and its own separators.
fn unescaped(value: &str) -> String {
    value.replace("%0D", "").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
}
