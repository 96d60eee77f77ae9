//! Reads the audit log of the guard between this server and the engine, newest first. The server only reads it, and
//! can do so only where both share the folder.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use longshore_core::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many bytes are read at a time.
const CHUNK_BYTES: u64 = 256 << 10;
/// How many bytes one request reads at most. The next page continues from there.
const MAX_BYTES_PER_PAGE: u64 = 64 << 20;

/// A request to the engine, as its guard recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct GuardRecordView {
    pub(crate) number: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// Whose request it was: `server` and its instance.
    pub(crate) client: String,
    pub(crate) method: String,
    /// With stars where objects are named.
    pub(crate) route: String,
    /// The object on the engine, by its ID or name.
    pub(crate) object: String,
    /// `allowed`, `denied`, or `failed` (the engine did not answer)
    pub(crate) decision: String,
    /// The rule of a refusal.
    pub(crate) rule: String,
    pub(crate) reason: String,
    /// The status of the answer.
    pub(crate) status: u16,
    pub(crate) took_ms: u64,
}

#[derive(Deserialize)]
struct Line {
    number: u64,
    entry: Entry,
}

#[derive(Deserialize)]
struct Entry {
    at: i64,
    client: String,
    method: String,
    route: String,
    #[serde(default)]
    object: String,
    decision: String,
    #[serde(default)]
    rule: String,
    #[serde(default)]
    reason: String,
    status: u16,
    took: u64,
}

impl From<Line> for GuardRecordView {
    fn from(Line { number, entry }: Line) -> Self {
        let Entry { at, client, method, route, object, decision, rule, reason, status, took } = entry;
        let at = Timestamp::from_millis(at);
        Self { number, at, client, method, route, object, decision, rule, reason, status, took_ms: took }
    }
}

/// Which records are listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuardFilter {
    pub(crate) decision: Option<String>,
    /// In lower case. A record must contain all of them.
    pub(crate) words: Vec<String>,
    pub(crate) before: Option<u64>,
}

/// Lists records, newest first, and returns where the next page begins.
///
/// # Errors
/// The log cannot be read: there is none here, or this server is not allowed to read it.
pub(crate) fn list(log: &Path, filter: &GuardFilter, limit: usize) -> io::Result<(Vec<GuardRecordView>, Option<u64>)> {
    let (mut found, mut read) = (Vec::new(), 0);
    let mut lines = LinesFromEnd::open(log)?;
    while let Some(text) = lines.next()? {
        read += text.len() as u64;
        let Some(number) = line_number(&text).filter(|number| filter.before.is_none_or(|before| *number < before))
        else {
            continue;
        };
        let line = parse_if_matching(&text, filter);
        if read > MAX_BYTES_PER_PAGE || (found.len() == limit && line.is_some()) {
            return Ok((found, Some(number + 1)));
        }
        found.extend(line.map(GuardRecordView::from));
    }
    Ok((found, None))
}

/// Returns a line's number without reading the rest of it.
fn line_number(text: &str) -> Option<u64> {
    text.strip_prefix("{\"number\":")?.split_once(',')?.0.parse().ok()
}

fn parse_if_matching(text: &str, filter: &GuardFilter) -> Option<Line> {
    if !filter.words.is_empty() {
        let lower = text.to_ascii_lowercase();
        if !filter.words.iter().all(|word| lower.contains(word.as_str())) {
            return None;
        }
    }
    // A line that is still being written does not parse; the next request will find it complete.
    let line: Line = serde_json::from_str(text).ok()?;
    filter.decision.as_ref().is_none_or(|decision| line.entry.decision == *decision).then_some(line)
}

/// The lines of a log, the last one first, across all of its files.
struct LinesFromEnd {
    log: PathBuf,
    /// The number of the file that is being read: 0 is the newest.
    number: u32,
    file: File,
    /// How many bytes at the start of the file are not read yet.
    left: u64,
    /// Complete lines, oldest first. They are taken from the back.
    lines: VecDeque<String>,
    /// The end of a line whose beginning is not read yet.
    rest: Vec<u8>,
}

impl LinesFromEnd {
    fn open(log: &Path) -> io::Result<Self> {
        let file = File::open(log)?;
        let left = file.metadata()?.len();
        Ok(Self { log: log.to_owned(), number: 0, file, left, lines: VecDeque::new(), rest: Vec::new() })
    }

    fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(line) = self.lines.pop_back() {
                return Ok(Some(line));
            }
            if self.left > 0 {
                self.read_chunk()?;
            } else if !self.open_older()? {
                return Ok(None);
            }
        }
    }

    /// Reads the next chunk, towards the start of the file, and splits it into lines.
    fn read_chunk(&mut self) -> io::Result<()> {
        let length = self.left.min(CHUNK_BYTES);
        self.left -= length;
        self.file.seek(SeekFrom::Start(self.left))?;
        let mut bytes = Vec::new();
        (&self.file).take(length).read_to_end(&mut bytes)?;
        bytes.append(&mut self.rest);
        // What stands before the first newline may be only the end of a line.
        let whole = match bytes.iter().position(|byte| *byte == b'\n') {
            _ if self.left == 0 => bytes,
            Some(end) => {
                let whole = bytes.split_off(end + 1);
                self.rest = bytes;
                whole
            }
            None => {
                self.rest = bytes;
                return Ok(());
            }
        };
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        self.lines.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
        Ok(())
    }

    /// Opens the next older file. Returns whether there is one.
    fn open_older(&mut self) -> io::Result<bool> {
        self.number += 1;
        let mut name = self.log.as_os_str().to_owned();
        name.push(format!(".{}", self.number));
        match File::open(PathBuf::from(name)) {
            Ok(file) => {
                (self.left, self.file) = (file.metadata()?.len(), file);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, decision: &str) -> String {
        let entry = format!(
            r#"{{"at":{number},"client":"server a","method":"GET","route":"/containers/json","decision":"{decision}","status":200,"took":1}}"#
        );
        format!("{{\"number\":{number},\"previous\":\"0\",\"entry\":{entry},\"hash\":\"0\"}}\n")
    }

    #[test]
    fn all_records_of_all_files_are_listed_page_by_page() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("guard.jsonl");
        // More than one chunk.
        let many = CHUNK_BYTES / line(1, "allowed").len() as u64 * 2;
        let lines_of = |numbers: std::ops::RangeInclusive<u64>| {
            numbers.map(|n| line(n, if n % 100 == 0 { "denied" } else { "allowed" })).collect::<String>()
        };
        std::fs::write(dir.path().join("guard.jsonl.1"), lines_of(1..=many)).unwrap();
        std::fs::write(&log, lines_of(many + 1..=many + 300) + "{\"number\":9,\"prev").unwrap();
        let all = |filter: GuardFilter| {
            let (mut numbers, mut filter) = (Vec::new(), filter);
            loop {
                let (records, next) = list(&log, &filter, 100).unwrap();
                assert!(records.len() <= 100);
                numbers.extend(records.iter().map(|record| record.number));
                match next {
                    Some(next) => filter.before = Some(next),
                    None => return numbers,
                }
            }
        };
        assert_eq!(all(GuardFilter::default()), (1..=many + 300).rev().collect::<Vec<_>>());
        let denied = all(GuardFilter { decision: Some("denied".to_owned()), ..GuardFilter::default() });
        assert_eq!(denied, (1..=many + 300).rev().filter(|n| n % 100 == 0).collect::<Vec<_>>());
        let words = vec!["denied".to_owned(), "server a".to_owned()];
        assert_eq!(all(GuardFilter { words, ..GuardFilter::default() }), denied);
        assert!(list(&dir.path().join("none"), &GuardFilter::default(), 1).is_err());
    }
}
