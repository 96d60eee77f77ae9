//! The audit log as a file: lines are only added, and each is on the disk's way before its request is answered.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use longshore_guard::audit::{Chain, Entry, follow};

use crate::Error;

#[derive(Debug)]
pub(crate) struct AuditFile {
    file: File,
    chain: Chain,
}

impl AuditFile {
    /// Opens a log, and continues where it ends. Its lines so far must verify.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |error: std::io::Error| Error::File { path: path.to_owned(), reason: error.to_string() };
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).mode(0o600).open(path).map_err(unusable)?;
        let mut chain = Chain::default();
        let mut reader = BufReader::new(&file);
        let mut line = String::new();
        let mut at = 0;
        while reader.read_line(&mut line).map_err(unusable)? > 0 {
            at += 1;
            let whole = line.strip_suffix('\n').ok_or(longshore_guard::audit::Broken::CutOff(at));
            chain = whole
                .and_then(|line| follow(&chain, line, at))
                .map_err(|broken| Error::Audit { path: path.to_owned(), reason: broken.to_string() })?;
            line.clear();
        }
        drop(reader);
        Ok(Self { file, chain })
    }

    pub(crate) fn append(&mut self, entry: &Entry) -> std::io::Result<()> {
        let mut chain = self.chain.clone();
        let line = chain.append(entry)?;
        self.file.write_all(line.as_bytes())?;
        self.chain = chain;
        Ok(())
    }
}
