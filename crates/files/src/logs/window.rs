//! Any lines of a log by their numbers, in the time of one stride of its journal; what of it means something; its search.
//!
//! Called by the API. Everything blocks on the disk, and is therefore done on a blocking thread.

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

/// Lines of one window at most, and bytes of their text about.
pub const MAX_LINES: u64 = 2_000;
const MAX_TEXT: usize = 1 << 20;

/// A line for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// From 1; 0 of one that has not ended.
    pub n: u64,
    /// The step's number, from 1; nothing for a note that belongs to none.
    pub step: Option<u32>,
    pub stream: &'static str,
    /// When its first piece was written.
    pub time: Timestamp,
    /// Without its end and its redraws, with its colours; what is not UTF-8 is replaced. Of a command such as
    /// `::error file=a.c::broken` what it says.
    pub text: String,
    /// What it is, besides a line.
    pub mark: Option<MarkKind>,
}

impl LogLine {
    #[must_use]
    pub fn new(line: &Line<'_>) -> Self {
        Self::of(line.n, line.step, line.stream, line.time, line.bytes)
    }

    /// One that has not ended.
    #[must_use]
    pub fn open(open: &OpenLine) -> Self {
        Self::of(0, open.step, open.stream, open.time, &open.bytes)
    }

    fn of(n: u64, step: u16, stream: Stream, time: Timestamp, bytes: &[u8]) -> Self {
        let (mark, text) = (mark_of(bytes, true), line_text(bytes));
        let said = mark.and_then(|_| command_text(&text));
        let text = said.map(str::to_owned).unwrap_or_else(|| text.into_owned());
        Self { n, step: number(step), stream: stream.as_str(), time, text, mark }
    }
}

fn number(step: u16) -> Option<u32> {
    (step != Record::NO_STEP).then(|| u32::from(step) + 1)
}

/// Which lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// From this number on, so many.
    From(u64, u64),
    /// The last so many.
    Tail(u64),
}

/// Lines one behind the other, and how the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Lines that have ended, in all.
    pub total: u64,
    pub lines: Vec<LogLine>,
    /// What has begun and not ended; nothing of a log that is over.
    pub open: Vec<LogLine>,
}

/// What of a log means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    pub total: u64,
    pub borders: Vec<Border>,
    pub marks: Vec<Mark>,
}

/// What is searched for, and which of the lines that have it are listed.
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
    /// At the first one from this line on.
    FromLine(u64),
    /// Behind so many.
    Skip(u64),
}

/// Lines that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub total: u64,
    /// Lines that have it, in all.
    pub count: u64,
    /// How many of them are before the first listed one.
    pub skipped: u64,
    pub lines: Vec<u64>,
}

/// Where a reader goes on that has seen some lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of the journal.
    pub offset: u64,
    /// The lines up to there.
    pub cut: LineCut,
    /// Those of them that have not been seen.
    pub lines: Vec<LogLine>,
}

/// Lines, outline and search of one attempt's log. `over` says whether the attempt is over: then its last line counts as ended.
impl Logs {
    /// Returns a window of lines.
    pub async fn window(&self, job: JobId, attempt: u32, over: bool, wanted: Wanted) -> Result<Window, FilesError> {
        self.blocking(job, attempt, over, move |log| log.window(wanted)).await
    }

    /// Returns what of the log means something: the borders of steps and the marked lines.
    pub async fn outline(&self, job: JobId, attempt: u32, over: bool) -> Result<Outline, FilesError> {
        self.blocking(job, attempt, over, |log| {
            let (cut, marks, borders) = log.rest()?;
            Ok(Outline { total: cut.ended(), borders, marks })
        })
        .await
    }

    /// Returns the lines that show a text. Reads all of the log.
    pub async fn search(&self, job: JobId, attempt: u32, over: bool, search: Search) -> Result<Found, FilesError> {
        self.blocking(job, attempt, over, move |log| log.search(&search)).await
    }

    /// Returns where a reader goes on that has seen the first `n` lines.
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

/// A journal with its index, as they are at one moment.
struct Log {
    /// Nothing where nothing was printed yet, or ever.
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
        // Whoever wrote it was killed, or is older than indexes: once, and then it is there.
        if over && len - index.last().offset > 4 * STRIDE {
            match rebuild(&path, &file, len) {
                Ok(whole) => index = whole,
                Err(error) => tracing::warn!(path = %path.display(), %error, "a log's index cannot be made again"),
            }
        }
        Ok(Self { file: Some(file), len, over, index })
    }

    /// Gives every record from `offset` on, until `each` says that it is enough.
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

    /// How it stands at its end, with everything that was found up to there.
    fn rest(&self) -> io::Result<(LineCut, Vec<Mark>, Vec<Border>)> {
        let mut indexer = self.index.go_on();
        if let Some(file) = &self.file {
            feed_from_file(&mut indexer, file, self.len)?;
        }
        let (mut cut, marks, borders) = indexer.found();
        if self.over {
            cut.finish(|_| ());
        }
        let (mut all_marks, mut all_borders) = (self.index.marks.clone(), self.index.borders.clone());
        all_marks.extend(marks);
        all_borders.extend(borders);
        Ok((cut, all_marks, all_borders))
    }

    fn window(&self, wanted: Wanted) -> io::Result<Window> {
        let (end, ..) = self.rest()?;
        let total = end.ended();
        let (from, count) = match wanted {
            Wanted::From(from, count) => (from.max(1), count.min(MAX_LINES)),
            Wanted::Tail(count) => {
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

/// A text that is looked for in what lines show.
enum Needle {
    Exact(Box<memchr::memmem::Finder<'static>>),
    /// ASCII's letters in either case.
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
