//! The bytes of artifacts, each under its SHA-256, packed with zstd in its seekable format.
//!
//! A blob appears by a rename, whole or not at all, and never changes. What is named is kept: by rows of the database,
//! which the store knows, and by lists of attempts that still arrive, which are known here. A blob that is being removed
//! is not named anew meanwhile.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longshore_core::{BlobId, JobId};
use zeekstd::Decoder;

use super::incoming::{Left, attempt_of, list_path, read_list};
use crate::folder;

/// The blobs of a data folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Whether what is stored has to survive a crash of the machine.
    durable: bool,
    patience: Mutex<Duration>,
    named: Mutex<Named>,
    /// Notified when a removal has ended.
    removed: Condvar,
}

#[derive(Debug, Default)]
struct Named {
    by_attempts: HashMap<(JobId, u32), HashSet<BlobId>>,
    removing: HashSet<BlobId>,
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
        };
        let blobs = Self { inner: Arc::new(inner) };
        for (job, attempt) in blobs.attempts() {
            let left = read_list(&list_path(&blobs.incoming_folder(), job, attempt), |_| true);
            blobs.name(job, attempt, left.map(|left| left.blobs().collect::<Vec<_>>()).unwrap_or_default());
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

    /// Opens a blob. `None` if it is not there. Blocks.
    pub fn open(&self, id: &BlobId) -> io::Result<Option<BlobFile>> {
        match File::open(self.path(id)) {
            Ok(file) => BlobFile::new(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
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
    pub fn left_by(&self, job: JobId, attempt: u32) -> io::Result<Left> {
        read_list(&list_path(&self.incoming_folder(), job, attempt), |blob| self.path(blob).exists())
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

    /// Returns whether something of the attempt may be in the folder.
    #[must_use]
    pub fn knows(&self, job: JobId, attempt: u32) -> bool {
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
    /// [carries the removal out](Removal::carry_out) or drops it; until then nobody can name the blob anew.
    #[must_use]
    pub fn begin_removal(&self, id: BlobId) -> Option<Removal> {
        let mut named = self.named();
        if named.by_attempts.values().any(|blobs| blobs.contains(&id)) || !named.removing.insert(id) {
            return None;
        }
        Some(Removal { blobs: self.clone(), id })
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
    /// Removes the file. Returns how many bytes that freed. Blocks.
    pub fn carry_out(self) -> io::Result<u64> {
        let path = self.blobs.path(&self.id);
        let bytes = fs::metadata(&path).map_or(0, |found| found.len());
        match fs::remove_file(&path) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.blobs.named().removing.remove(&self.id);
        self.blobs.inner.removed.notify_all();
    }
}

/// A blob opened for reading, at any offset. Stays readable if the blob is removed meanwhile.
pub struct BlobFile {
    decoder: Box<Decoder<'static, File>>,
    bytes: u64,
}

impl std::fmt::Debug for BlobFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobFile").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl BlobFile {
    fn new(file: File) -> io::Result<Self> {
        let damaged = |error: zeekstd::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let decoder = Box::new(Decoder::new(file).map_err(damaged)?);
        let bytes = decoder.seek_table().size_decomp();
        Ok(Self { decoder, bytes })
    }

    /// Returns the length of the file that it holds.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.bytes
    }
}

impl Read for BlobFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes == 0 { Ok(0) } else { self.decoder.read(buffer) }
    }
}

impl Seek for BlobFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.decoder.seek(to)
    }
}
