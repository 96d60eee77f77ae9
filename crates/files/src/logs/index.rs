//! The sparse index beside a journal: where so many lines have ended, and which lines mean something.
//!
//! Derived from the journal alone and never needed for truth: one that is missing, torn or behind is made again from the
//! journal, and what it does not reach yet is read from its last checkpoint on. JSON lines; everything in front of a checkpoint
//! is what was found since the one before. A log of less than [`STRIDE`] has none.

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

/// Bytes of the journal from one checkpoint to the next: what is read at most to get to any line.
pub(super) const STRIDE: u64 = 256 << 10;
/// Marks that are kept of one log: a log of errors only is none that one steps through.
pub const MAX_MARKS: usize = 2_000;
/// Bytes of a mark's text.
const MARK_TEXT: usize = 200;

/// Where a step begins, or ends, among the lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Border {
    /// From 0.
    pub step: u16,
    /// Lines that ended before it.
    pub lines: u64,
    pub time: Timestamp,
    /// It begins here; else it ends.
    pub begins: bool,
    /// How it ended, where the agent said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<StepWord>,
}

/// Of what the agent says of a step's end, what stands in its job's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepWord {
    pub status: Status,
    pub exit_code: Option<i32>,
}

/// A line that means something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub n: u64,
    pub kind: MarkKind,
    /// From 0.
    pub step: u16,
    /// What a group is called, what an error says; cut where it is long.
    pub text: String,
}

/// A place in the journal from which lines can be read.
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

/// What an index tells, up to its last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) marks: Vec<Mark>,
    pub(super) borders: Vec<Border>,
}

/// The file beside a journal.
pub(super) fn index_path(journal: &Path) -> PathBuf {
    journal.with_extension("index")
}

impl Index {
    /// What can be read of it; empty where there is none. Nothing beyond `len` bytes of the journal counts.
    pub(super) fn load(journal: &Path, len: u64) -> io::Result<Self> {
        let bytes = match std::fs::read(index_path(journal)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut index = Self::default();
        let (mut marks, mut borders) = (0, 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            // A torn end, or another shape of an older version: the journal tells the rest.
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

    /// The last checkpoint from which line `n` can be read.
    pub(super) fn before_line(&self, n: u64) -> Checkpoint {
        let at = self.checkpoints.partition_point(|checkpoint| checkpoint.lines < n);
        at.checked_sub(1).and_then(|at| self.checkpoints.get(at)).cloned().unwrap_or_default()
    }

    pub(super) fn last(&self) -> Checkpoint {
        self.checkpoints.last().cloned().unwrap_or_default()
    }

    /// An indexer that goes on behind it.
    pub(super) fn go_on(&self) -> Indexer {
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

/// Makes an index of records, given in order.
#[derive(Debug, Default)]
pub(super) struct Indexer {
    cut: LineCut,
    /// Behind the last record.
    offset: u64,
    /// The last checkpoint's.
    checkpoint: u64,
    marks: usize,
    /// What has been found and is not written.
    entries: Vec<Entry>,
    /// A checkpoint is among them.
    due: bool,
}

impl Indexer {
    /// Takes the next record, which takes `len` bytes of the journal.
    pub(super) fn feed(&mut self, record: &Record<'_>, len: u64) {
        let Self { cut, marks, entries, .. } = self;
        let within = *marks < MAX_MARKS && may_tell_within(&record.data);
        // A line that began in an earlier record is looked at by itself.
        let data = record.data.as_ptr_range();
        cut.feed(record, |line| {
            if *marks < MAX_MARKS
                && let Some(kind) = mark_of(line.bytes, within || !data.contains(&line.bytes.as_ptr()))
            {
                *marks += 1;
                entries.push(Entry::Mark(mark(&line, kind)));
            }
        });
        let begins = match record.kind {
            RecordKind::StepStarted => Some(true),
            RecordKind::StepFinished => Some(false),
            RecordKind::Output(_) | RecordKind::JobFinished => None,
        };
        if let Some(begins) = begins {
            let (step, lines, time) = (record.step, cut.ended(), record.time);
            let end = if begins { None } else { serde_json::from_slice(&record.data).ok() };
            entries.push(Entry::Border(Border { step, lines, time, begins, end }));
        }
        self.offset += len;
        // What is open is written with it: an index stays small beside its journal.
        let open: usize = self.cut.open().iter().map(|open| open.bytes.len()).sum();
        if self.offset - self.checkpoint >= STRIDE.max(32 * open as u64) {
            self.checkpoint = self.offset;
            let (offset, lines, open) = (self.offset, self.cut.ended(), self.cut.open().to_vec());
            self.entries.push(Entry::Checkpoint(Checkpoint { offset, lines, open }));
            self.due = true;
        }
    }

    /// What is to be appended to the file; nothing between two checkpoints.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
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

    /// What was found since the last checkpoint.
    pub(super) fn found(self) -> (LineCut, Vec<Mark>, Vec<Border>) {
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

fn mark(line: &Line<'_>, kind: MarkKind) -> Mark {
    let text = line_text(line.bytes);
    let text = super::ansi::plain(&text);
    let text = command_text(&text).unwrap_or(&text).trim();
    let mut end = text.len().min(MARK_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Mark { n: line.n, kind, step: line.step, text: text[..end].to_owned() }
}

/// The index file of the journal's one writer. What goes wrong with it costs readers time and nobody anything else.
#[derive(Debug)]
pub(super) struct IndexWriter {
    path: PathBuf,
    indexer: Indexer,
    file: Option<File>,
    len: u64,
    broken: bool,
}

impl IndexWriter {
    /// Goes on behind `indexer`, which was given the whole journal; the file becomes what the indexer found.
    pub(super) fn open(journal: &Path, mut indexer: Indexer) -> Self {
        let path = index_path(journal);
        let mut writer = Self { path, file: None, len: 0, broken: false, indexer: Indexer::default() };
        match indexer.take() {
            Some(entries) => match replace(&writer.path, &entries) {
                Ok(()) => writer.len = entries.len() as u64,
                Err(error) => writer.give_up(&error),
            },
            None => drop(std::fs::remove_file(&writer.path)),
        }
        writer.indexer = indexer;
        writer
    }

    /// `records` were appended to the journal.
    pub(super) fn appended(&mut self, records: &[Record<'_>]) {
        for record in records {
            self.indexer.feed(record, record.encoded_len());
        }
        let Some(entries) = self.indexer.take() else { return };
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

/// Makes the index again from a journal that nobody writes any more, on from what is left of it.
pub(super) fn rebuild(journal: &Path, file: &JournalFile, len: u64) -> io::Result<Index> {
    let index = Index::load(journal, len)?;
    let mut indexer = index.go_on();
    let mut kept = Vec::new();
    let entries = index.marks.into_iter().map(Entry::Mark).chain(index.borders.into_iter().map(Entry::Border));
    for entry in entries.chain(index.checkpoints.into_iter().map(Entry::Checkpoint)) {
        serde_json::to_writer(&mut kept, &entry)?;
        kept.push(b'\n');
    }
    feed_from_file(&mut indexer, file, len)?;
    kept.extend(indexer.take().unwrap_or_default());
    replace(&index_path(journal), &kept)?;
    Index::load(journal, len)
}

/// Gives the records behind what the indexer has had, up to `len`.
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

/// Readers see the old file or the new one, never half of it.
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
