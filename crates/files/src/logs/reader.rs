//! Reads an attempt's journal from any record's offset, in windows, so that many readers cost little memory.

use std::{io, path::PathBuf, sync::Arc};

use longshore_core::{
    JobId, Record,
    record::{HEADER_LEN, MAX_DATA_LEN, Parsed},
};
use tokio::sync::watch;

use super::{
    Logs, Progress,
    file::{JournalFile, ReadAt},
};
use crate::FilesError;

/// Bytes read at once. A longer record is read whole.
const READ_BYTES: u64 = 128 << 10;
/// Bytes read at once by followers: there may be hundreds of them, each with a window that its client has not taken
/// yet.
const FOLLOWED_WINDOW: u64 = 32 << 10;

/// Reads a journal, and follows it while it is being written.
#[derive(Debug)]
pub struct LogReader {
    log: (JobId, u32),
    path: PathBuf,
    file: Option<Arc<JournalFile>>,
    offset: u64,
    live: Option<watch::Receiver<Progress>>,
    /// The log's progress when nothing was left to read.
    drained: Option<Progress>,
}

/// A sequence of whole records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    start: u64,
    bytes: Vec<u8>,
}

impl Batch {
    /// Returns the offset of its first record.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Returns the offset after its last record, where a reader resumes that has seen all of it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Returns the records, each with the offset after it, where a reader resumes that has seen it.
    pub fn records(&self) -> impl Iterator<Item = (u64, Record<'_>)> {
        records(&self.bytes, self.start)
    }
}

impl LogReader {
    pub(super) fn new(logs: &Logs, log: (JobId, u32), offset: u64, live: Option<watch::Receiver<Progress>>) -> Self {
        Self { log, path: logs.path(log.0, log.1), file: None, offset, live, drained: None }
    }

    /// Returns the job and the attempt of this log.
    #[must_use]
    pub fn log(&self) -> (JobId, u32) {
        self.log
    }

    /// Returns the offset of the next read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next records: available ones at once, otherwise waits for more. Returns `None` when everything was
    /// returned and no more will come. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Batch>, FilesError> {
        loop {
            self.ready().await;
            if let Some(batch) = self.try_next().await? {
                return Ok(Some(batch));
            }
            if self.is_over() {
                return Ok(None);
            }
        }
    }

    /// Waits until [`LogReader::try_next`] may return something, or will never return anything again.
    pub async fn ready(&mut self) {
        while let Some(live) = &mut self.live {
            let progress = *live.borrow_and_update();
            if progress.ended || self.drained != Some(progress) {
                return;
            }
            if live.changed().await.is_err() {
                // The store is gone, and so are all writers.
                self.live = None;
            }
        }
    }

    /// Returns the next available records. Does not wait.
    pub async fn try_next(&mut self) -> Result<Option<Batch>, FilesError> {
        // Before reading, because a log ends after its last append.
        let progress = self.live.as_mut().map(|live| *live.borrow_and_update());
        let batch = self.read_window(progress.and_then(|p| p.len)).await?;
        self.drained = if batch.is_none() { progress } else { None };
        Ok(batch)
    }

    /// Returns whether no more records will come, after [`LogReader::try_next`] has returned `None`.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.live.is_none() || self.drained.is_some_and(|progress| progress.ended)
    }

    /// Continues at another offset, after a record that was read elsewhere.
    pub fn seek(&mut self, offset: u64) {
        self.offset = offset;
        self.drained = None;
    }

    /// Reads a window from the offset up to `len` (`None`: the file's end).
    async fn read_window(&mut self, len: Option<u64>) -> Result<Option<Batch>, FilesError> {
        if len.is_some_and(|len| len <= self.offset) {
            return Ok(None);
        }
        let (path, file, offset) = (self.path.clone(), self.file.clone(), self.offset);
        let window = if self.live.is_some() { FOLLOWED_WINDOW } else { READ_BYTES };
        let read = tokio::task::spawn_blocking(move || -> io::Result<Option<(Arc<JournalFile>, Vec<u8>)>> {
            let file = match file {
                Some(file) => file,
                None => match JournalFile::open(&path)? {
                    Some(file) => Arc::new(file),
                    None => return Ok(None),
                },
            };
            let size = file.len()?;
            let bytes = read_window(&*file, offset, len.map_or(size, |len| len.min(size)), window)?;
            Ok(Some((file, bytes)))
        });
        let read = read.await.map_err(|error| FilesError::io(&self.path, io::Error::other(error)))?;
        let Some((file, bytes)) = read.map_err(|source| FilesError::io(&self.path, source))? else { return Ok(None) };
        self.file = Some(file);
        if bytes.is_empty() {
            return Ok(None);
        }
        let batch = Batch { start: offset, bytes };
        self.offset = batch.end();
        Ok(Some(batch))
    }
}

/// Reads whole records from `offset` up to `limit`: one window, or one longer record. Empty if no record begins there:
/// at the end, at a torn write, or at an offset inside a record.
pub(super) fn read_whole_records(file: &impl ReadAt, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
    read_window(file, offset, limit, READ_BYTES)
}

fn read_window(file: &impl ReadAt, offset: u64, limit: u64, window: u64) -> io::Result<Vec<u8>> {
    let available = limit.saturating_sub(offset);
    let mut bytes = read_at_most(file, offset, available.min(window))?;
    if let Some(length) = first_record_len(&bytes)
        && length > bytes.len() as u64
        && length <= available
    {
        bytes = read_at_most(file, offset, length)?;
    }
    let whole = records(&bytes, 0).last().map_or(0, |(end, _)| end as usize);
    bytes.truncate(whole);
    Ok(bytes)
}

/// Parses the records at the beginning of `bytes`, each with the offset after it; `start` is the offset of the first.
pub(super) fn records(bytes: &[u8], start: u64) -> impl Iterator<Item = (u64, Record<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || match Record::parse(bytes.get(at..)?) {
        Parsed::Record(record, length) => {
            at += length;
            Some((start + at as u64, record))
        }
        Parsed::Incomplete | Parsed::Corrupt => None,
    })
}

/// Returns the length that the first record claims, if it is possible.
fn first_record_len(bytes: &[u8]) -> Option<u64> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    (HEADER_LEN - 8..=HEADER_LEN - 8 + MAX_DATA_LEN).contains(&length).then_some(8 + length as u64)
}

/// Reads `length` bytes; fewer only at the end.
pub(super) fn read_at_most(file: &impl ReadAt, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_from(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
