//! The only writer of an attempt's journal.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use longshore_core::{Record, RecordKind};
use tokio::sync::watch;

use super::{
    Progress,
    index::{IndexWriter, Indexer},
    reader::read_whole_records,
};
use crate::FilesError;

/// The capacity that the encoding buffer keeps between batches; a job that prints little costs little memory.
const KEPT_BUFFER: usize = 64 << 10;

/// Appends records. Blocks on the disk: use it on blocking threads. Dropping it loses nothing that was appended.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: File,
    /// Bytes of whole records. The next write overwrites what a failed write left after them.
    len: u64,
    last_seq: u64,
    milestones: Vec<Record<'static>>,
    buffer: Vec<u8>,
    index: IndexWriter,
    progress: watch::Sender<Progress>,
}

impl LogWriter {
    pub(super) fn open(path: PathBuf, progress: watch::Sender<Progress>) -> Result<Self, FilesError> {
        let io_error = |source| FilesError::io(&path, source);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| FilesError::io(folder, source))?;
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io_error)?;
        let size = file.metadata().map_err(io_error)?.len();
        let (mut len, mut last_seq) = (0, 0);
        let mut milestones = Vec::new();
        let mut indexer = Indexer::default();
        loop {
            let bytes = read_whole_records(&file, len, size).map_err(io_error)?;
            if bytes.is_empty() {
                break;
            }
            for (_, record) in super::reader::records(&bytes, len) {
                indexer.feed(&record, record.encoded_len());
                last_seq = last_seq.max(record.seq);
                if !matches!(record.kind, RecordKind::Output(_)) {
                    milestones.push(Record { data: record.data.to_vec().into(), ..record });
                }
            }
            len += bytes.len() as u64;
        }
        if len < size {
            tracing::info!(path = %path.display(), bytes = size - len, "cutting a half-written end off a log");
            file.set_len(len).map_err(io_error)?;
        }
        let index = IndexWriter::open(&path, indexer);
        progress.send_modify(|progress| progress.len = Some(len));
        Ok(Self { path, file, len, last_seq, milestones, buffer: Vec::new(), index, progress })
    }

    /// Returns the highest sequence number of the agent in the journal; 0 if there is none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Returns the records, without output, that the journal held when it was opened: steps' beginnings and ends, the
    /// job's end.
    #[must_use]
    pub fn milestones(&self) -> &[Record<'static>] {
        &self.milestones
    }

    /// Returns the bytes of the journal.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length in bytes, not a collection")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Appends records in order and wakes the followers. On an error ([`FilesError::DiskFull`] among others) none is
    /// appended; the same records may be passed again.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<(), FilesError> {
        self.buffer.clear();
        for record in records {
            record.encode(&mut self.buffer);
        }
        if let Err(source) = self.file.write_all_at(&self.buffer, self.len) {
            // A partly written batch must not be read. If cutting it off fails too, the next append or open does it.
            let _ = self.file.set_len(self.len);
            return Err(FilesError::io(&self.path, source));
        }
        self.len += self.buffer.len() as u64;
        self.last_seq = records.iter().map(|record| record.seq).fold(self.last_seq, u64::max);
        self.buffer.shrink_to(KEPT_BUFFER);
        let len = self.len;
        self.progress.send_modify(|progress| progress.len = Some(len));
        // After the journal and its followers: nobody waits for the index.
        self.index.appended(records);
        Ok(())
    }
}
