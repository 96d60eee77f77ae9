//! Finds lines of a log by number, in the time of one stride of its journal. Also the log's outline and its search.
//!
//! Called by the API. Everything reads from disk, and therefore runs on a blocking thread.

use std::{io, path::PathBuf};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use longshore_core::{JobId, Record, Stream, Timestamp};
use serde::Serialize;

use super::{
    Logs, ansi,
    file::JournalFile,
    index::{Border, Index, Mark, STRIDE, feed_from_file, rebuild},
    lines::{Line, LineCut, OpenLine, last_state, line_text},
    marks::{MarkKind, command_text, mark_of},
    reader::{read_whole_records, records},
};
use crate::FilesError;

/// The most lines of one window; the bytes of their text are limited to about 1 MiB.
pub const MAX_LINES: u64 = 2_000;
const MAX_TEXT: usize = 1 << 20;

/// A line for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Counts from 1; 0 for a line that has not ended.
    pub n: u64,
    /// The step's number, from 1; `None` for a note that belongs to no step.
    pub step: Option<u32>,
    pub stream: &'static str,
    /// When its first piece was written.
    pub time: Timestamp,
    /// Without line end and redraws, with colours; invalid UTF-8 is replaced. For a command such as `::error
    /// file=a.c::broken`, its text.
    pub text: String,
    /// The line's meaning, if it has one.
    pub mark: Option<MarkKind>,
}

impl LogLine {
    #[must_use]
    pub fn new(line: &Line<'_>) -> Self {
        Self::from_parts(line.n, line.step, line.stream, line.time, line.bytes)
    }

    /// Returns a line that has not ended.
    #[must_use]
    pub fn open(open: &OpenLine) -> Self {
        Self::from_parts(0, open.step, open.stream, open.time, &open.bytes)
    }

    fn from_parts(n: u64, step: u16, stream: Stream, time: Timestamp, bytes: &[u8]) -> Self {
        let (mark, text) = (mark_of(bytes, true), line_text(bytes));
        let message = mark.and_then(|_| command_text(&text));
        let text = message.map(str::to_owned).unwrap_or_else(|| text.into_owned());
        Self { n, step: number(step), stream: stream.as_str(), time, text, mark }
    }
}

fn number(step: u16) -> Option<u32> {
    (step != Record::NO_STEP).then(|| u32::from(step) + 1)
}

/// Which lines to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineRange {
    /// The first number, and how many lines.
    From(u64, u64),
    /// How many of the last lines.
    Tail(u64),
}

/// Consecutive lines, and the state of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// How many lines have ended in all.
    pub total: u64,
    pub lines: Vec<LogLine>,
    /// Lines that have begun and not ended; empty if the log is over.
    pub open: Vec<LogLine>,
}

/// The steps and marked lines of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    pub total: u64,
    pub borders: Vec<Border>,
    pub marks: Vec<Mark>,
}

/// The text to search for, and which of the matching lines to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    pub text: String,
    pub case_sensitive: bool,
    pub listed: Listed,
    pub limit: usize,
}

/// Where the list begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// With the first match at or after this line.
    FromLine(u64),
    /// After this many matches.
    Skip(u64),
}

/// The matching lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub total: u64,
    /// The number of matching lines in all.
    pub count: u64,
    /// How many matches precede the first listed one.
    pub skipped: u64,
    pub lines: Vec<u64>,
}

/// Where a reader continues that has seen some lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The journal's offset.
    pub offset: u64,
    /// The lines up to the offset.
    pub cut: LineCut,
    /// Those lines before the offset that the reader has not seen.
    pub lines: Vec<LogLine>,
}

/// Lines, outline and search of one attempt's log. `over` tells whether the attempt is over; its last line counts as
/// ended then.
impl Logs {
    /// Returns a window of lines.
    pub async fn window(&self, job: JobId, attempt: u32, over: bool, range: LineRange) -> Result<Window, FilesError> {
        self.blocking(job, attempt, over, move |log| log.window(range)).await
    }

    /// Returns the log's outline: the borders of steps, and the marked lines.
    pub async fn outline(&self, job: JobId, attempt: u32, over: bool) -> Result<Outline, FilesError> {
        self.blocking(job, attempt, over, |log| {
            let (cut, marks, borders) = log.state_at_end()?;
            Ok(Outline { total: cut.ended(), borders, marks })
        })
        .await
    }

    /// Returns the lines that contain a text. Reads the whole log.
    pub async fn search(&self, job: JobId, attempt: u32, over: bool, search: Search) -> Result<Found, FilesError> {
        self.blocking(job, attempt, over, move |log| log.search(&search)).await
    }

    /// Returns where a reader continues that has seen the first `n` lines.
    pub async fn place_of(&self, job: JobId, attempt: u32, over: bool, n: u64) -> Result<Place, FilesError> {
        self.blocking(job, attempt, over, move |log| log.place_of(n)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        job: JobId,
        attempt: u32,
        over: bool,
        work: impl FnOnce(&Log) -> io::Result<T> + Send + 'static,
    ) -> Result<T, FilesError> {
        let path = self.path(job, attempt);
        let log_path = path.clone();
        let done = tokio::task::spawn_blocking(move || work(&Log::open(path, over)?)).await;
        done.map_err(io::Error::other).flatten().map_err(|source| FilesError::io(&log_path, source))
    }
}

/// A journal with its index, at one moment.
struct Log {
    /// `None` if nothing has been printed.
    file: Option<JournalFile>,
    len: u64,
    over: bool,
    index: Index,
}

impl Log {
    fn open(path: PathBuf, over: bool) -> io::Result<Self> {
        let Some(file) = JournalFile::open(&path)? else {
            return Ok(Self { file: None, len: 0, over, index: Index::default() });
        };
        let len = file.len()?;
        let mut index = Index::load(&path, len)?;
        // The writer was killed, or is older than indexes. Rebuild the index once.
        if over && len - index.last().offset > 4 * STRIDE {
            match rebuild(&path, &file, len) {
                Ok(whole) => index = whole,
                Err(error) => tracing::warn!(path = %path.display(), %error, "could not rebuild a log's index"),
            }
        }
        Ok(Self { file: Some(file), len, over, index })
    }

    /// Passes every record from `offset` on to `each`, until `each` returns false.
    fn records(&self, mut offset: u64, mut each: impl FnMut(&Record<'_>) -> bool) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        loop {
            let bytes = read_whole_records(file, offset, self.len)?;
            if bytes.is_empty() {
                return Ok(());
            }
            for (_, record) in records(&bytes, offset) {
                if !each(&record) {
                    return Ok(());
                }
            }
            offset += bytes.len() as u64;
        }
    }

    /// Returns the state at the log's end, with all marks and borders.
    fn state_at_end(&self) -> io::Result<(LineCut, Vec<Mark>, Vec<Border>)> {
        let mut indexer = self.index.continue_indexing();
        if let Some(file) = &self.file {
            feed_from_file(&mut indexer, file, self.len)?;
        }
        let (mut cut, marks, borders) = indexer.into_found();
        if self.over {
            cut.finish(|_| ());
        }
        let (mut all_marks, mut all_borders) = (self.index.marks.clone(), self.index.borders.clone());
        all_marks.extend(marks);
        all_borders.extend(borders);
        Ok((cut, all_marks, all_borders))
    }

    fn window(&self, range: LineRange) -> io::Result<Window> {
        let (end, ..) = self.state_at_end()?;
        let total = end.ended();
        let (from, count) = match range {
            LineRange::From(from, count) => (from.max(1), count.min(MAX_LINES)),
            LineRange::Tail(count) => {
                let count = count.min(MAX_LINES);
                (total.saturating_sub(count) + 1, count)
            }
        };
        let mut lines = Vec::new();
        let mut bytes = 0;
        if from <= total {
            let place = self.index.before_line(from);
            let mut cut = LineCut::new(place.lines, place.open);
            let mut take = |line: Line<'_>| {
                if line.n >= from && line.n - from < count && (bytes < MAX_TEXT || lines.is_empty()) {
                    let line = LogLine::new(&line);
                    bytes += line.text.len();
                    lines.push(line);
                }
            };
            self.records(place.offset, |record| {
                cut.feed(record, &mut take);
                cut.ended() < from + count - 1
            })?;
            if self.over {
                cut.finish(&mut take);
            }
        }
        let open = if self.over { Vec::new() } else { end.open().iter().map(LogLine::open).collect() };
        Ok(Window { total, lines, open })
    }

    fn place_of(&self, n: u64) -> io::Result<Place> {
        let checkpoint = self.index.before_line(n);
        let mut cut = LineCut::new(checkpoint.lines, checkpoint.open);
        let (mut offset, mut lines) = (checkpoint.offset, Vec::new());
        let mut take = |line: Line<'_>| {
            if line.n > n {
                lines.push(LogLine::new(&line));
            }
        };
        if cut.ended() < n {
            self.records(offset, |record| {
                cut.feed(record, &mut take);
                offset += record.encoded_len();
                cut.ended() < n
            })?;
        }
        if self.over && cut.ended() < n {
            cut.finish(&mut take);
        }
        Ok(Place { offset, cut, lines })
    }

    fn search(&self, search: &Search) -> io::Result<Found> {
        let needle = Needle::new(search).map_err(io::Error::other)?;
        let mut found = Found { total: 0, count: 0, skipped: 0, lines: Vec::new() };
        let mut take = |line: Line<'_>| {
            if !needle.is_in(line.bytes) {
                return;
            }
            let before = match search.listed {
                Listed::FromLine(from) => line.n < from,
                Listed::Skip(skip) => found.count < skip,
            };
            found.count += 1;
            if before {
                found.skipped += 1;
            } else if found.lines.len() < search.limit {
                found.lines.push(line.n);
            }
        };
        let mut cut = LineCut::default();
        self.records(0, |record| {
            cut.feed(record, &mut take);
            true
        })?;
        if self.over {
            cut.finish(&mut take);
        }
        found.total = cut.ended();
        Ok(found)
    }
}

/// A text to search for in what lines show.
enum Needle {
    Exact(Box<memchr::memmem::Finder<'static>>),
    /// Ignores the case of ASCII letters.
    AnyCase(AhoCorasick),
}

impl Needle {
    fn new(search: &Search) -> Result<Self, aho_corasick::BuildError> {
        if search.case_sensitive {
            let finder = memchr::memmem::Finder::new(&search.text).into_owned();
            return Ok(Self::Exact(Box::new(finder)));
        }
        let mut builder = AhoCorasickBuilder::new();
        builder.ascii_case_insensitive(true).match_kind(MatchKind::LeftmostFirst);
        builder.build([&search.text]).map(Self::AnyCase)
    }

    fn is_in(&self, line: &[u8]) -> bool {
        if memchr::memchr2(0x1b, b'\r', line).is_none() {
            return self.matches(line);
        }
        let shown = last_state(line);
        match memchr::memchr(0x1b, shown) {
            None => self.matches(shown),
            Some(_) => self.matches(ansi::plain(&String::from_utf8_lossy(shown)).as_bytes()),
        }
    }

    fn matches(&self, shown: &[u8]) -> bool {
        match self {
            Self::Exact(finder) => finder.find(shown).is_some(),
            Self::AnyCase(automaton) => automaton.is_match(shown),
        }
    }
}
