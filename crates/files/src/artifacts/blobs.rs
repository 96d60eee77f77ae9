//! The bytes of artifacts, each under its SHA-256, packed with zstd in its seekable format.
//!
//! A blob appears by a rename, whole or not at all, and never changes. A blob is kept while something names it: a row
//! of the database, which the store knows, or the list of an attempt that still arrives, which is known here. While a
//! blob is being removed, nothing can begin to name it.
//!
//! With an object store, a blob is moved there once the database names it (`offloading.rs`).

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use longshore_core::{BlobId, JobId};
use longshore_object_store::ObjectReader;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use zeekstd::Decoder;

use super::{
    incoming::{ReceivedFiles, attempt_of, list_path, read_list},
    offloading::{BlobBucket, OffloadProblem},
};
use crate::folder;

/// The blobs of a data folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) root: PathBuf,
    /// Whether what is stored has to survive a crash of the machine.
    durable: bool,
    patience: Mutex<Duration>,
    named: Mutex<Named>,
    /// Notified when a removal or a move has ended.
    removed: Condvar,
    pub(super) bucket: OnceLock<BlobBucket>,
    /// Why blobs that should be in the object store are not.
    pub(super) offload_problem: Mutex<Option<OffloadProblem>>,
    /// Notified when the database names what an attempt has left.
    pub(super) settled: Notify,
}

#[derive(Debug, Default)]
struct Named {
    by_attempts: HashMap<(JobId, u32), HashSet<BlobId>>,
    removing: HashSet<BlobId>,
    moving: HashSet<BlobId>,
}

impl Blobs {
    /// Returns the blobs of the data folder, and reads what arrived before. Blocks.
    #[must_use]
    pub fn new(data_dir: &Path, durable: bool) -> Self {
        let root = data_dir.join(folder::ARTIFACTS);
        let inner = Inner {
            root,
            durable,
            patience: Mutex::new(Duration::ZERO),
            named: Mutex::default(),
            removed: Condvar::new(),
            bucket: OnceLock::new(),
            offload_problem: Mutex::default(),
            settled: Notify::new(),
        };
        let blobs = Self { inner: Arc::new(inner) };
        for (job, attempt) in blobs.attempts() {
            let received = read_list(&list_path(&blobs.incoming_folder(), job, attempt), |_| true);
            blobs.name(job, attempt, received.map(|received| received.blobs().collect::<Vec<_>>()).unwrap_or_default());
        }
        blobs
    }

    /// Sets how long writes wait for space on a full disk. Without it, they do not.
    pub fn use_patience(&self, patience: Duration) {
        *self.inner.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
    }

    pub(super) fn patience(&self) -> Duration {
        *self.inner.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_durable(&self) -> bool {
        self.inner.durable
    }

    /// Returns the folder that holds the blobs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.inner.root.join(folder::BLOBS)
    }

    pub(super) fn incoming_folder(&self) -> PathBuf {
        self.inner.root.join(folder::INCOMING)
    }

    /// Returns the path of a blob.
    #[must_use]
    pub fn path(&self, id: &BlobId) -> PathBuf {
        self.folder().join(Self::relative_path(id))
    }

    /// Returns the path of a blob from [`Self::folder`] on.
    #[must_use]
    pub fn relative_path(id: &BlobId) -> PathBuf {
        let name = id.to_string();
        Path::new(&name[..2]).join(format!("{name}.zst"))
    }

    /// Returns whether a blob exists, in the folder or in the object store as far as the folder knows. Blocks.
    #[must_use]
    pub fn is_there(&self, id: &BlobId) -> bool {
        // In this order: one that is moved meanwhile is in both for a moment.
        self.path(id).exists() || self.mark_path(id).exists()
    }

    /// Opens a blob; `None` if it does not exist. Blocks.
    pub fn open(&self, id: &BlobId) -> io::Result<Option<BlobFile>> {
        match File::open(self.path(id)) {
            Ok(file) => BlobFile::new(*id, Source::File(file)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.open_offloaded(id)? {
                Some(reader) => BlobFile::new(*id, Source::Object(Box::new(reader))).map(Some),
                None => Ok(None),
            },
            Err(error) => Err(error),
        }
    }

    /// Reads a whole blob of at most `limit` bytes. Blocks.
    pub fn read(&self, id: &BlobId, limit: u64) -> io::Result<Vec<u8>> {
        let Some(file) = self.open(id)? else { return Err(io::ErrorKind::NotFound.into()) };
        if file.size() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns the attempts of which something has arrived and that were not [forgotten](Self::forget). Blocks.
    #[must_use]
    pub fn attempts(&self) -> Vec<(JobId, u32)> {
        let entries = fs::read_dir(self.incoming_folder()).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries.filter_map(|entry| attempt_of(&entry.file_name())).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns what has arrived of an attempt. Blocks.
    pub fn received_of(&self, job: JobId, attempt: u32) -> io::Result<ReceivedFiles> {
        read_list(&list_path(&self.incoming_folder(), job, attempt), |blob| self.is_there(blob))
    }

    /// Forgets what has arrived of an attempt: from here on the database names what is kept. Blocks.
    pub fn forget(&self, job: JobId, attempt: u32) -> io::Result<()> {
        for entry in fs::read_dir(self.incoming_folder()).into_iter().flatten() {
            let entry = entry?;
            if attempt_of(&entry.file_name()) == Some((job, attempt)) {
                fs::remove_file(entry.path())?;
            }
        }
        self.named().by_attempts.remove(&(job, attempt));
        self.inner.settled.notify_one();
        Ok(())
    }

    /// Returns the blobs that an attempt names, whether they have become its artifacts or not.
    #[must_use]
    pub fn named_by(&self, job: JobId, attempt: u32) -> Vec<BlobId> {
        self.named().by_attempts.get(&(job, attempt)).map(|blobs| blobs.iter().copied().collect()).unwrap_or_default()
    }

    /// Returns whether an attempt that is not forgotten names the blob.
    #[must_use]
    pub fn is_arriving(&self, id: &BlobId) -> bool {
        self.named().by_attempts.values().any(|blobs| blobs.contains(id))
    }

    /// Returns whether files of the attempt may have arrived.
    #[must_use]
    pub fn may_have(&self, job: JobId, attempt: u32) -> bool {
        self.named().by_attempts.contains_key(&(job, attempt))
    }

    /// Names blobs for an attempt, after waiting for removals of them.
    pub(super) fn name(&self, job: JobId, attempt: u32, blobs: impl IntoIterator<Item = BlobId>) {
        let mut named = self.named();
        named.by_attempts.entry((job, attempt)).or_default();
        for blob in blobs {
            while named.removing.contains(&blob) {
                named = self.inner.removed.wait(named).unwrap_or_else(PoisonError::into_inner);
            }
            named.by_attempts.entry((job, attempt)).or_default().insert(blob);
        }
    }

    /// Begins to remove a blob. `None` if an attempt names it. The caller then asks the database, and
    /// [carries the removal out](Removal::carry_out) or drops it; until then nobody can name the blob again.
    #[must_use]
    pub fn begin_removal(&self, id: BlobId) -> Option<Removal> {
        let mut named = self.named();
        if named.by_attempts.values().any(|blobs| blobs.contains(&id)) || !named.removing.insert(id) {
            return None;
        }
        Some(Removal { blobs: self.clone(), id })
    }

    /// Begins to move a blob. `None` if it is being removed or moved, or an attempt that still arrives names it.
    pub(super) fn begin_move(&self, id: BlobId) -> Option<Move> {
        let mut named = self.named();
        let is_arriving = named.by_attempts.values().any(|blobs| blobs.contains(&id));
        if is_arriving || named.removing.contains(&id) || !named.moving.insert(id) {
            return None;
        }
        Some(Move { blobs: self.clone(), id })
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.inner.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A removal that has begun.
#[derive(Debug)]
pub struct Removal {
    blobs: Blobs,
    id: BlobId,
}

impl Removal {
    /// Removes the file, and the object. Returns how many bytes that freed. Blocks.
    pub fn carry_out(self) -> io::Result<u64> {
        let mut named = self.blobs.named();
        while named.moving.contains(&self.id) {
            named = self.blobs.inner.removed.wait(named).unwrap_or_else(PoisonError::into_inner);
        }
        drop(named);
        let moved = self.blobs.remove_offloaded(&self.id)?;
        let path = self.blobs.path(&self.id);
        let bytes = fs::metadata(&path).map_or(0, |found| found.len());
        match fs::remove_file(&path) {
            Ok(()) => Ok(bytes + moved),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(moved),
            Err(error) => Err(error),
        }
    }
}

/// A blob on its way to the object store. Nothing removes it meanwhile.
#[derive(Debug)]
pub(super) struct Move {
    blobs: Blobs,
    id: BlobId,
}

impl Drop for Move {
    fn drop(&mut self) {
        self.blobs.named().moving.remove(&self.id);
        self.blobs.inner.removed.notify_all();
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.blobs.named().removing.remove(&self.id);
        self.blobs.inner.removed.notify_all();
    }
}

/// Where the packed bytes of a blob come from.
enum Source {
    File(File),
    Object(Box<ObjectReader>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Object(reader) => reader.read(buffer),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Object(reader) => reader.seek(to),
        }
    }
}

/// A blob opened for reading, at any offset. A file stays readable if the blob is removed meanwhile.
///
/// A reader that starts at its beginning gets an error in place of its end if the bytes do not have its SHA-256: others
/// may write to the object store.
pub struct BlobFile {
    decoder: Box<Decoder<'static, Source>>,
    bytes: u64,
    id: BlobId,
    /// The hash and the length of what was read so far; `None` once they were compared, or if not the whole is read.
    whole: Option<(Sha256, u64)>,
}

impl std::fmt::Debug for BlobFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobFile").field("id", &self.id).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl BlobFile {
    fn new(id: BlobId, source: Source) -> io::Result<Self> {
        let damaged = |error: zeekstd::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let decoder = Box::new(Decoder::new(source).map_err(damaged)?);
        let bytes = decoder.seek_table().size_decomp();
        Ok(Self { decoder, bytes, id, whole: Some((Sha256::new(), 0)) })
    }

    /// Returns the length of the file that it holds.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.bytes
    }

    /// Hashes what was read, and compares the hash once the last byte was read.
    fn check(&mut self, read: &[u8]) -> io::Result<()> {
        let Some((hash, count)) = &mut self.whole else { return Ok(()) };
        hash.update(read);
        *count += read.len() as u64;
        if *count < self.bytes && !read.is_empty() {
            return Ok(());
        }
        let actual = BlobId::new(hash.clone().finalize().into());
        if actual != self.id {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its SHA-256 is {actual}")));
        }
        self.whole = None;
        Ok(())
    }
}

impl Read for BlobFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = if self.bytes == 0 { 0 } else { self.decoder.read(buffer)? };
        self.check(&buffer[..read])?;
        Ok(read)
    }
}

impl Seek for BlobFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.whole = None;
        self.decoder.seek(to)
    }
}
