//! The sparse index beside a journal: checkpoints with their line numbers, and the marked lines.
//!
//! Derived from the journal alone and never the source of truth: an index that is missing, torn or behind is rebuilt
//! from the journal, and lines after its last checkpoint are read from the journal. JSON lines; the entries before a
//! checkpoint were found since the previous one. A log shorter than [`STRIDE`] has no index.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use longshore_core::{Record, RecordKind, Status, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    file::JournalFile,
    lines::{Line, LineCut, OpenLine, line_text},
    marks::{MarkKind, command_text, mark_of, may_tell_within},
    reader::{read_whole_records, records},
};

/// Bytes of the journal between two checkpoints: the most to read in order to reach any line.
pub(super) const STRIDE: u64 = 256 << 10;
/// The most marks kept of one log. Nobody steps through a log that consists only of errors.
pub const MAX_MARKS: usize = 2_000;
/// The most bytes of a mark's text.
const MARK_TEXT: usize = 200;
/// The bytes of a command that are kept, with what it is about.
const COMMAND_TEXT: usize = 1_000;

/// Where among the lines a step begins or ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Border {
    /// Counts from 0.
    pub step: u16,
    /// The number of lines that ended before it.
    pub lines: u64,
    pub time: Timestamp,
    /// Whether the step begins here; otherwise it ends.
    pub begins: bool,
    /// How the step ended, if the agent reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<StepOutcome>,
}

/// The part of the agent's step result that the job's page shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutcome {
    pub status: Status,
    pub exit_code: Option<i32>,
}

/// A line with a meaning: an error, a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub n: u64,
    pub kind: MarkKind,
    /// Counts from 0.
    pub step: u16,
    /// The group's name or the error's text, cut if it is long.
    pub text: String,
    /// The whole line, if it is a command that names what it is about: `::error file=a.c,line=3::broken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// A position in the journal from which lines can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) offset: u64,
    pub(super) lines: u64,
    pub(super) open: Vec<OpenLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entry {
    Checkpoint(Checkpoint),
    Mark(Mark),
    Border(Border),
}

/// The content of an index, up to its last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) marks: Vec<Mark>,
    pub(super) borders: Vec<Border>,
}

/// Returns the path of the index beside a journal.
pub(super) fn index_path(journal: &Path) -> PathBuf {
    journal.with_extension("index")
}

impl Index {
    /// Loads the readable part of the index; empty if there is none. Ignores entries beyond `len` bytes of the journal.
    pub(super) fn load(journal: &Path, len: u64) -> io::Result<Self> {
        let bytes = match std::fs::read(index_path(journal)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut index = Self::default();
        let (mut marks, mut borders) = (0, 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            // A torn end, or an entry in another version's format: the rest is read from the journal.
            let Ok(entry) = serde_json::from_slice(line) else { break };
            match entry {
                Entry::Checkpoint(checkpoint) => {
                    let last = index.checkpoints.last();
                    if checkpoint.offset > len || last.is_some_and(|last| last.offset >= checkpoint.offset) {
                        break;
                    }
                    (marks, borders) = (index.marks.len(), index.borders.len());
                    index.checkpoints.push(checkpoint);
                }
                Entry::Mark(mark) => index.marks.push(mark),
                Entry::Border(border) => index.borders.push(border),
            }
        }
        index.marks.truncate(marks);
        index.borders.truncate(borders);
        Ok(index)
    }

    /// Returns the last checkpoint from which line `n` can be read.
    pub(super) fn before_line(&self, n: u64) -> Checkpoint {
        let at = self.checkpoints.partition_point(|checkpoint| checkpoint.lines < n);
        at.checked_sub(1).and_then(|at| self.checkpoints.get(at)).cloned().unwrap_or_default()
    }

    pub(super) fn last(&self) -> Checkpoint {
        self.checkpoints.last().cloned().unwrap_or_default()
    }

    /// Returns an indexer that continues after the last checkpoint.
    pub(super) fn continue_indexing(&self) -> Indexer {
        let Checkpoint { offset, lines, open } = self.last();
        Indexer {
            cut: LineCut::new(lines, open),
            offset,
            checkpoint: offset,
            marks: self.marks.len(),
            entries: Vec::new(),
            due: false,
        }
    }
}

/// Builds an index from records, given in order.
#[derive(Debug, Default)]
pub(super) struct Indexer {
    cut: LineCut,
    /// The offset after the last record.
    offset: u64,
    /// The offset of the last checkpoint.
    checkpoint: u64,
    marks: usize,
    /// Entries that are not written yet.
    entries: Vec<Entry>,
    /// Whether `entries` includes a checkpoint.
    due: bool,
}

impl Indexer {
    /// Adds the next record, which takes `len` bytes of the journal.
    pub(super) fn feed(&mut self, record: &Record<'_>, len: u64) {
        let Self { cut, marks, entries, .. } = self;
        let within = *marks < MAX_MARKS && may_tell_within(&record.data);
        // A line that began in an earlier record is examined on its own.
        let data = record.data.as_ptr_range();
        cut.feed(record, |line| {
            if *marks < MAX_MARKS
                && let Some(kind) = mark_of(line.bytes, within || !data.contains(&line.bytes.as_ptr()))
            {
                *marks += 1;
                entries.push(Entry::Mark(new_mark(&line, kind)));
            }
        });
        let begins = match record.kind {
            RecordKind::StepStarted => Some(true),
            RecordKind::StepFinished => Some(false),
            RecordKind::Output(_)
            | RecordKind::JobFinished
            | RecordKind::RunContainer
            | RecordKind::ServiceReady
            | RecordKind::AttemptEnded => None,
        };
        if let Some(begins) = begins {
            let (step, lines, time) = (record.step, cut.ended(), record.time);
            let end = if begins { None } else { serde_json::from_slice(&record.data).ok() };
            entries.push(Entry::Border(Border { step, lines, time, begins, end }));
        }
        self.offset += len;
        // A checkpoint includes the open lines. This keeps the index small compared to its journal.
        let open: usize = self.cut.open().iter().map(|open| open.bytes.len()).sum();
        if self.offset - self.checkpoint >= STRIDE.max(32 * open as u64) {
            self.checkpoint = self.offset;
            let (offset, lines, open) = (self.offset, self.cut.ended(), self.cut.open().to_vec());
            self.entries.push(Entry::Checkpoint(Checkpoint { offset, lines, open }));
            self.due = true;
        }
    }

    /// Returns the bytes to append to the file; `None` between two checkpoints.
    pub(super) fn take_entries(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.due) {
            return None;
        }
        let mut bytes = Vec::new();
        for entry in self.entries.drain(..) {
            // Plain values: this cannot fail.
            if serde_json::to_writer(&mut bytes, &entry).is_ok() {
                bytes.push(b'\n');
            }
        }
        Some(bytes)
    }

    /// Returns the open lines, marks and borders since the last checkpoint.
    pub(super) fn into_found(self) -> (LineCut, Vec<Mark>, Vec<Border>) {
        let (mut marks, mut borders) = (Vec::new(), Vec::new());
        for entry in self.entries {
            match entry {
                Entry::Mark(mark) => marks.push(mark),
                Entry::Border(border) => borders.push(border),
                Entry::Checkpoint(_) => {}
            }
        }
        (self.cut, marks, borders)
    }
}

fn new_mark(line: &Line<'_>, kind: MarkKind) -> Mark {
    let text = line_text(line.bytes);
    let text = super::ansi::plain(&text);
    let message = command_text(&text);
    let is_message = matches!(kind, MarkKind::Error | MarkKind::Warning | MarkKind::Notice);
    let command = message.filter(|_| is_message && text.trim_start().starts_with("::"));
    let command = command.map(|_| cut(text.trim(), COMMAND_TEXT).to_owned());
    Mark { n: line.n, kind, step: line.step, text: cut(message.unwrap_or(&text).trim(), MARK_TEXT).to_owned(), command }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes.min(text.len()))]
}

/// Writes the index file for the journal's only writer. Errors here cost readers time, and nothing else.
#[derive(Debug)]
pub(super) struct IndexWriter {
    path: PathBuf,
    indexer: Indexer,
    file: Option<File>,
    len: u64,
    broken: bool,
}

impl IndexWriter {
    /// Continues after `indexer`, which has read the whole journal. The file is replaced by what the indexer found.
    pub(super) fn open(journal: &Path, mut indexer: Indexer) -> Self {
        let path = index_path(journal);
        let mut writer = Self { path, file: None, len: 0, broken: false, indexer: Indexer::default() };
        match indexer.take_entries() {
            Some(entries) => match replace(&writer.path, &entries) {
                Ok(()) => writer.len = entries.len() as u64,
                Err(error) => writer.give_up(&error),
            },
            None => drop(std::fs::remove_file(&writer.path)),
        }
        writer.indexer = indexer;
        writer
    }

    /// Adds `records`, which were just appended to the journal.
    pub(super) fn appended(&mut self, records: &[Record<'_>]) {
        for record in records {
            self.indexer.feed(record, record.encoded_len());
        }
        let Some(entries) = self.indexer.take_entries() else { return };
        if self.broken {
            return;
        }
        if let Err(error) = self.write(&entries) {
            self.give_up(&error);
        }
    }

    fn write(&mut self, entries: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
                self.file.insert(file)
            }
        };
        file.write_all_at(entries, self.len)?;
        self.len += entries.len() as u64;
        Ok(())
    }

    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!(path = %self.path.display(), %error, "a log's index is not written any further");
        self.broken = true;
    }
}

/// Rebuilds the index of a journal that is no longer written, continuing from what is left of it.
pub(super) fn rebuild(journal: &Path, file: &JournalFile, len: u64) -> io::Result<Index> {
    let index = Index::load(journal, len)?;
    let mut indexer = index.continue_indexing();
    let mut kept = Vec::new();
    let entries = index.marks.into_iter().map(Entry::Mark).chain(index.borders.into_iter().map(Entry::Border));
    for entry in entries.chain(index.checkpoints.into_iter().map(Entry::Checkpoint)) {
        serde_json::to_writer(&mut kept, &entry)?;
        kept.push(b'\n');
    }
    feed_from_file(&mut indexer, file, len)?;
    kept.extend(indexer.take_entries().unwrap_or_default());
    replace(&index_path(journal), &kept)?;
    Index::load(journal, len)
}

/// Feeds the records after the indexer's position, up to `len`.
pub(super) fn feed_from_file(indexer: &mut Indexer, file: &JournalFile, len: u64) -> io::Result<()> {
    loop {
        let bytes = read_whole_records(file, indexer.offset, len)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut at = indexer.offset;
        for (end, record) in records(&bytes, at) {
            indexer.feed(&record, end - at);
            at = end;
        }
    }
}

/// Replaces the file. Readers see the old content or the new, never half of it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{:016x}", rand::random::<u64>()));
    let written = File::create(&temporary).and_then(|mut file| file.write_all(bytes));
    let replaced = written.and_then(|()| std::fs::rename(&temporary, path));
    if replaced.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    replaced
}
