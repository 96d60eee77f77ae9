//! Writes the archive of a backup: a tar with the copy of the database, the private files, the logs, the files of
//! artifacts, and checksums of all of them.
//!
//! `SHA256SUMS` (in the format of `sha256sum -c`) and `manifest.json` come last: a tar without them was cut off. A log
//! only grows, so a log that is still being written is archived up to its last whole record. The store's backup calls
//! this; `restore` reads the archive.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek as _, Write},
    path::{Path, PathBuf},
};

use longshore_core::{BlobId, JobId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    FilesError,
    artifacts::Blobs,
    folder,
    logs::{JournalFile, Logs, survey},
};

/// The layout of the tar that this version writes and reads.
pub const FORMAT: u32 = 1;
pub const MANIFEST: &str = "manifest.json";
pub const SUMS: &str = "SHA256SUMS";

/// The last file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the tar's layout.
    pub format: u32,
    /// The version of the program that wrote it.
    pub longshore: String,
    /// The database's last migration.
    pub schema: i64,
    pub instance: String,
    pub created_at: Timestamp,
    /// Whether it includes the key of secrets and the admin token, if there were any.
    pub secrets: bool,
    /// Jobs that were running. A server that starts on the restored folder looks for them.
    pub running_jobs: u64,
    /// The number of files, without `SHA256SUMS` and this manifest.
    pub files: u64,
    /// The bytes of those files.
    pub bytes: u64,
    /// The checksum of `SHA256SUMS`, which holds the checksum of every other file.
    pub sums_sha256: String,
}

/// A log that the database's copy refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedLog {
    pub job: JobId,
    pub attempt: u32,
    /// Its length, once the job is over; not recorded for earlier attempts.
    pub whole: Option<u64>,
}

/// A tar in progress, with its totals.
#[expect(missing_debug_implementations, reason = "the tar's builder has none")]
pub struct Archive<W: Write> {
    tar: tar::Builder<W>,
    sums: File,
    sums_path: PathBuf,
    files: u64,
    bytes: u64,
    warnings: Vec<String>,
}

impl<W: Write> Archive<W> {
    /// Begins a tar. The checksums of its files are collected in `sums_path`.
    pub fn new(out: W, sums_path: &Path) -> Result<Self, FilesError> {
        let mut options = OpenOptions::new();
        let sums = options.read(true).write(true).create(true).truncate(true).open(sums_path);
        let sums = sums.map_err(|source| FilesError::io(sums_path, source))?;
        let tar = tar::Builder::new(out);
        Ok(Self { tar, sums, sums_path: sums_path.to_owned(), files: 0, bytes: 0, warnings: Vec::new() })
    }

    /// Adds the log of an attempt up to its last whole record. Missing bytes become a warning.
    pub fn add_log(&mut self, logs: &Logs, log: &ArchivedLog) -> Result<(), FilesError> {
        let path = logs.path(log.job, log.attempt);
        let at_log = |source| FilesError::io(&path, source);
        let Some(file) = JournalFile::open(&path).map_err(at_log)? else {
            if log.whole.is_some_and(|bytes| bytes > 0) {
                self.warnings.push(format!("the log of job {} is missing: {}", log.job, path.display()));
            }
            return Ok(());
        };
        let size = file.len().map_err(at_log)?;
        let length = match log.whole {
            Some(whole) if whole > size => {
                self.warnings.push(format!(
                    "the log of job {} has {size} bytes instead of {whole}: {}",
                    log.job,
                    path.display()
                ));
                size
            }
            Some(whole) => whole,
            None => survey(&file, size).map_err(at_log)?.whole,
        };
        let name = Path::new(folder::LOGS).join(logs.relative_path(log.job, log.attempt));
        self.add(&name.to_string_lossy(), &path, file.reader(), length)
    }

    /// Adds a file of an artifact from the folder of artifacts, or what says that it is in the object store. A missing
    /// one becomes a warning.
    pub fn add_blob(&mut self, artifacts: &Path, blob: &BlobId) -> Result<(), FilesError> {
        // In this order: one that is moved meanwhile is in both for a moment.
        for relative in [Path::new(folder::BLOBS).join(Blobs::relative_path(blob)), Blobs::relative_mark_path(blob)] {
            let path = artifacts.join(&relative);
            match File::open(&path) {
                Ok(file) => {
                    let name = Path::new(folder::ARTIFACTS).join(relative);
                    return self.add_opened(&name.to_string_lossy(), &path, file);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(FilesError::io(&path, source)),
            }
        }
        let path = artifacts.join(folder::BLOBS).join(Blobs::relative_path(blob));
        self.warnings.push(format!("a file of an artifact is missing: {}", path.display()));
        Ok(())
    }

    /// Adds a file if it exists.
    pub fn add_if_there(&mut self, name: &str, path: &Path) -> Result<(), FilesError> {
        if path.is_file() { self.add_whole(name, path) } else { Ok(()) }
    }

    /// Adds a file with its current length.
    pub fn add_whole(&mut self, name: &str, path: &Path) -> Result<(), FilesError> {
        let file = File::open(path).map_err(|source| FilesError::io(path, source))?;
        self.add_opened(name, path, file)
    }

    fn add_opened(&mut self, name: &str, path: &Path, file: File) -> Result<(), FilesError> {
        let length = file.metadata().map_err(|source| FilesError::io(path, source))?.len();
        self.add(name, path, file, length)
    }

    /// Adds the first `length` bytes of a file that only grows.
    fn add(&mut self, name: &str, path: &Path, file: impl Read, length: u64) -> Result<(), FilesError> {
        let mut hashing = Hashing { inner: file.take(length), hash: Sha256::new() };
        append(&mut self.tar, name, length, &mut hashing).map_err(|source| FilesError::io(path, source))?;
        let left = hashing.inner.limit();
        if left > 0 {
            let source =
                io::Error::new(io::ErrorKind::UnexpectedEof, format!("it lost {left} bytes while it was read"));
            return Err(FilesError::io(path, source));
        }
        writeln!(self.sums, "{}  {name}", hex::encode(hashing.hash.finalize()))
            .map_err(|source| FilesError::io(&self.sums_path, source))?;
        self.files += 1;
        self.bytes += length;
        Ok(())
    }

    /// Adds the checksums and the manifest, whose totals are set here. Returns the warnings.
    pub fn finish(mut self, manifest: &mut Manifest) -> Result<Vec<String>, FilesError> {
        (manifest.files, manifest.bytes) = (self.files, self.bytes);
        let at_sums = |source| FilesError::io(&self.sums_path, source);
        self.sums.rewind().map_err(at_sums)?;
        let length = self.sums.metadata().map_err(at_sums)?.len();
        let mut hashing = Hashing { inner: &mut self.sums, hash: Sha256::new() };
        append(&mut self.tar, SUMS, length, &mut hashing).map_err(at_sums)?;
        manifest.sums_sha256 = hex::encode(hashing.hash.finalize());
        let json = serde_json::to_vec_pretty(manifest).map_err(|error| FilesError::Backup(error.to_string()))?;
        append(&mut self.tar, MANIFEST, json.len() as u64, &mut json.as_slice())
            .and_then(|()| self.tar.into_inner()?.flush())
            .map_err(|source| FilesError::io(Path::new(MANIFEST), source))?;
        Ok(self.warnings)
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, length: u64, data: &mut dyn Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(Timestamp::now().as_millis() / 1000).unwrap_or(0));
    tar.append_data(&mut header, name, data)
}

/// A reader that hashes what passes through it.
pub(crate) struct Hashing<R> {
    pub(crate) inner: R,
    pub(crate) hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
