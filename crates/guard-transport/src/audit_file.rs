//! The audit log as a file: lines are only added, and each is on the disk's way before its request is answered. What could
//! not be written, because the disk is full, waits for room, and nothing else is carried out meanwhile.
//!
//! A file that has grown to [`LONGEST`] becomes `FILE.1`, the one before it `FILE.2`, and the oldest goes. The chain
//! goes on from file to file.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use longshore_audit::Chain;
use longshore_guard::audit::Entry;

use crate::Error;

/// The size at which a file is put aside, in bytes.
const LONGEST: u64 = 32 << 20;
/// How many files are kept beside the one that is written.
const KEPT: u32 = 15;

#[derive(Debug)]
pub(crate) struct AuditFile {
    path: PathBuf,
    file: File,
    length: u64,
    longest: u64,
    chain: Chain,
    /// Entries that could not be written so far.
    waiting: VecDeque<Entry>,
}

impl AuditFile {
    /// Opens a log, and continues where it ends. Its lines so far must verify.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, LONGEST)
    }

    fn open_with(path: &Path, longest: u64) -> Result<Self, Error> {
        let unusable = |error: io::Error| Error::File { path: path.to_owned(), reason: error.to_string() };
        let file = create(path).map_err(unusable)?;
        let mut end = read(path, &file).map_err(unusable)??;
        // A guard was killed while it wrote the line: its request was not answered.
        if file.metadata().map_err(unusable)?.len() > end.length {
            tracing::warn!(path = %path.display(), "the last line of the audit log was cut off, and is removed");
            file.set_len(end.length).map_err(unusable)?;
        }
        // A guard was killed after it had put the file aside.
        if end.chain.is_none()
            && let Ok(aside) = File::open(aside(path, 1))
        {
            end.chain = read(path, &aside).map_err(unusable)??.chain;
        }
        let chain = end.chain.unwrap_or_default();
        Ok(Self { path: path.to_owned(), file, length: end.length, longest, chain, waiting: VecDeque::new() })
    }

    pub(crate) fn append(&mut self, entry: Entry) -> io::Result<()> {
        self.waiting.push_back(entry);
        self.write_waiting()
    }

    /// Writes the entries that could not be written before.
    pub(crate) fn write_waiting(&mut self) -> io::Result<()> {
        while let Some(entry) = self.waiting.pop_front() {
            if let Err(error) = self.write(&entry) {
                self.waiting.push_front(entry);
                return Err(error);
            }
        }
        Ok(())
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        if self.length >= self.longest {
            self.put_aside()?;
        }
        let mut chain = self.chain.clone();
        let mut line = chain.append(entry)?;
        line.push('\n');
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // The half of a line would break the chain.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += line.len() as u64;
        self.chain = chain;
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match fs::rename(aside(&self.path, number), aside(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, aside(&self.path, 1))?;
        self.file = create(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

/// Returns the files of a log that are there, oldest first.
#[must_use]
pub fn audit_files(path: &Path) -> Vec<PathBuf> {
    let all = (1..=KEPT).rev().map(|number| aside(path, number)).chain([path.to_owned()]);
    all.filter(|file| file.is_file()).collect()
}

/// Its folder says who may read it.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o640).open(path)
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Where the whole lines of a file end.
struct End {
    /// `None` if there is no line.
    chain: Option<Chain>,
    length: u64,
}

fn read(path: &Path, file: &File) -> io::Result<Result<End, Error>> {
    let broken = |broken: longshore_audit::Broken| Error::Audit { path: path.to_owned(), reason: broken.to_string() };
    let mut end = End { chain: None, length: 0 };
    let (mut reader, mut line, mut at) = (BufReader::new(file), String::new(), 0);
    while reader.read_line(&mut line)? > 0 {
        at += 1;
        let Some(text) = line.strip_suffix('\n') else { break };
        let before = match end.chain.take() {
            Some(chain) => Ok(chain),
            None => Chain::before(text),
        };
        match before.and_then(|before| before.follow(text, at)) {
            Ok(chain) => end.chain = Some(chain),
            Err(error) => return Ok(Err(broken(error))),
        }
        end.length += line.len() as u64;
        line.clear();
    }
    Ok(Ok(end))
}

#[cfg(test)]
mod tests {
    use longshore_guard::audit::Outcome;

    use super::*;

    fn entry(at: u64) -> Entry {
        Entry {
            at,
            client: "job a".to_owned(),
            method: "GET".to_owned(),
            route: "/containers/json".to_owned(),
            object: String::new(),
            decision: Outcome::Allowed,
            rule: String::new(),
            reason: String::new(),
            status: 200,
            took: 1,
        }
    }

    #[test]
    fn a_chain_goes_on_over_files_and_starts_and_a_line_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut log = AuditFile::open_with(&path, 1000).unwrap();
        for at in 0..10 {
            log.append(entry(at)).unwrap();
        }
        drop(log);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"number\":11,\"prev").unwrap();
        let mut log = AuditFile::open_with(&path, 1000).unwrap();
        assert_eq!(log.chain.number, 10);
        log.append(entry(10)).unwrap();
        // Killed after the file was put aside.
        log.put_aside().unwrap();
        drop(log);
        let mut log = AuditFile::open_with(&path, 1000).unwrap();
        log.append(entry(11)).unwrap();

        let files: Vec<String> =
            (1..=KEPT).rev().filter_map(|number| fs::read_to_string(aside(&path, number)).ok()).collect();
        assert!(files.len() > 2, "{}", files.len());
        let whole = files.concat() + &fs::read_to_string(&path).unwrap();
        assert_eq!(Chain::default().follow_all(&whole).unwrap().number, 12);
    }

    #[test]
    fn a_log_that_was_changed_is_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        AuditFile::open(&path).unwrap().append(entry(1)).unwrap();
        let text = fs::read_to_string(&path).unwrap().replace("GET", "PUT");
        fs::write(&path, text).unwrap();
        assert!(matches!(AuditFile::open(&path), Err(Error::Audit { .. })));
    }

    #[test]
    fn what_could_not_be_written_is_written_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut log = AuditFile::open(&path).unwrap();
        log.append(entry(0)).unwrap();
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut log.file, full);
        for at in 1..3 {
            log.append(entry(at)).unwrap_err();
        }
        log.write_waiting().unwrap_err();
        log.file = file;
        log.write_waiting().unwrap();
        log.append(entry(3)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(Chain::default().follow_all(&text).unwrap().number, 4);
        let times: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["entry"]["at"].as_u64().unwrap())
            .collect();
        assert_eq!(times, [0, 1, 2, 3]);
    }
}
