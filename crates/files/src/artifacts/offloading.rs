//! Blobs in an object store.
//!
//! A blob arrives in the folder, as it does without an object store: a store that is away holds up no job and loses
//! nothing. Once the database names it, it is moved: its bytes are put into the store, a mark is written that says so,
//! and only then its file is removed. So it is at each moment in one of the two places at least, and a kill between any
//! two steps leaves what the next start goes on with.
//!
//! A large blob goes in parts. Each part is noted beside the marks, so that the next start goes on with the next part,
//! and an upload that nobody wants any more is abandoned.
//!
//! The key of an object begins with the name of the instance that put it there, and only that instance removes it: a
//! copy of the data folder reads what the marks name, and removes nothing of the server that it is a copy of.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::PoisonError,
    time::UNIX_EPOCH,
};

use longshore_core::BlobId;
use longshore_object_store::{ObjectError, ObjectReader, ObjectStore, Upload};
use serde::{Deserialize, Serialize};

use super::blobs::Blobs;
use crate::folder;

/// The object store, and the instance that puts blobs into it.
#[derive(Debug)]
pub(super) struct BlobBucket {
    store: ObjectStore,
    instance: String,
}

/// Why blobs that should be in the object store are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffloadProblem {
    pub why: String,
    /// How many wait in the folder.
    pub waiting: usize,
}

/// Writes the mark that a blob is in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// Its key, within the store's prefix.
    key: String,
    /// Its length there.
    bytes: u64,
}

/// An upload in parts that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    mark: Mark,
    /// When the file was written: one that came again may be packed in another way.
    modified_ns: u128,
    upload: String,
    part_bytes: u64,
    etags: Vec<String>,
}

impl Begun {
    fn upload(&self) -> Upload {
        Upload { id: self.upload.clone(), part_bytes: self.part_bytes, etags: self.etags.clone() }
    }
}

impl Blobs {
    /// Has blobs moved into this store, by this instance, and read from there. Set once.
    pub fn use_object_store(&self, store: ObjectStore, instance: &str) {
        let _ = self.inner.bucket.set(BlobBucket { store, instance: instance.to_owned() });
    }

    /// Returns the object store, for people.
    #[must_use]
    pub fn object_store(&self) -> Option<&ObjectStore> {
        self.inner.bucket.get().map(|bucket| &bucket.store)
    }

    /// Returns the path of the mark of a blob from the folder of artifacts on.
    #[must_use]
    pub fn relative_mark_path(id: &BlobId) -> PathBuf {
        let name = id.to_string();
        Path::new(folder::ELSEWHERE).join(&name[..2]).join(name)
    }

    pub(super) fn mark_path(&self, id: &BlobId) -> PathBuf {
        self.inner.root.join(Self::relative_mark_path(id))
    }

    /// Returns whether a blob is in the object store and not in the folder. Blocks.
    #[must_use]
    pub fn is_offloaded(&self, id: &BlobId) -> bool {
        !self.path(id).exists() && self.mark_path(id).exists()
    }

    /// Waits until there may be something to move.
    pub async fn settled(&self) {
        self.inner.settled.notified().await;
    }

    /// Returns the blobs in the folder. Blocks.
    pub fn in_folder(&self) -> io::Result<Vec<BlobId>> {
        let mut found = Vec::new();
        for folder in entries(&self.folder())? {
            let ids = entries(&folder)?;
            found.extend(ids.iter().filter_map(|path| path.file_stem()?.to_str()?.parse::<BlobId>().ok()));
        }
        Ok(found)
    }

    /// Moves a blob into the object store. Returns `false` if it is not its time: it still arrives, or is being
    /// removed, or is gone. Blocks.
    pub fn move_out(&self, id: &BlobId) -> io::Result<bool> {
        let Some(bucket) = self.inner.bucket.get() else { return Ok(false) };
        let Some(_moving) = self.begin_move(*id) else { return Ok(false) };
        let path = self.path(id);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mark = Mark { key: bucket.key(id), bytes: file.metadata()?.len() };
        // The same bytes may have come before. The mark is verified, since somebody may have emptied the bucket.
        let is_there =
            self.mark(id)?.is_some_and(|known| known == mark) && bucket.store.size(&mark.key)? == Some(mark.bytes);
        if !is_there {
            if bucket.store.takes_in_parts(mark.bytes) {
                self.put_in_parts(bucket, id, &mark, &file)?;
            } else {
                bucket.store.put_file(&mark.key, &file)?;
            }
            self.write_mark(id, &mark)?;
        }
        self.forget_upload(id)?;
        fs::remove_file(&path)?;
        Ok(true)
    }

    /// Puts a file in parts, and goes on with an upload of it that broke off.
    fn put_in_parts(&self, bucket: &BlobBucket, id: &BlobId, mark: &Mark, file: &File) -> io::Result<()> {
        let modified = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = |upload: &Upload| Begun {
            mark: mark.clone(),
            modified_ns: modified.as_nanos(),
            upload: upload.id.clone(),
            part_bytes: upload.part_bytes,
            etags: upload.etags.clone(),
        };
        let mut before = self.begun(id)?;
        if let Some(other) = before.take_if(|before| *before != begun(&before.upload())) {
            bucket.abandon(&other)?;
        }
        let is_whole = |begun: &Begun| begun.part_bytes * begun.etags.len() as u64 >= mark.bytes;
        if before.as_ref().is_some_and(is_whole) && bucket.store.size(&mark.key)? == Some(mark.bytes) {
            return Ok(());
        }
        loop {
            let goes_on = before.is_some();
            let mut upload = match before.take() {
                Some(before) => before.upload(),
                None => bucket.store.begin_upload(&mark.key)?,
            };
            let note = |upload: &Upload| self.write_json(&self.upload_path(id), &begun(upload));
            note(&upload)?;
            match bucket.store.put_parts(&mark.key, file, &mut upload, note) {
                Err(ObjectError::Missing { .. }) if goes_on => {}
                put => return put.map_err(io::Error::from),
            }
        }
    }

    fn upload_path(&self, id: &BlobId) -> PathBuf {
        self.mark_path(id).with_extension("upload")
    }

    /// Returns the upload of a blob that has begun and is not known to be over.
    fn begun(&self, id: &BlobId) -> io::Result<Option<Begun>> {
        match fs::read(self.upload_path(id)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn forget_upload(&self, id: &BlobId) -> io::Result<()> {
        match fs::remove_file(self.upload_path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write_mark(&self, id: &BlobId, mark: &Mark) -> io::Result<()> {
        self.write_json(&self.mark_path(id), mark)
    }

    fn write_json(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.inner.root);
        fs::create_dir_all(folder)?;
        let unfinished = path.with_extension("part");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(folder)?.sync_all()
    }

    fn mark(&self, id: &BlobId) -> io::Result<Option<Mark>> {
        match fs::read(self.mark_path(id)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn bucket(&self) -> io::Result<&BlobBucket> {
        self.inner.bucket.get().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "the file is in an object store that the settings do not name: set LONGSHORE_S3_ENDPOINT and what belongs to it as they were",
            )
        })
    }

    /// Opens a blob that is in the object store.
    pub(super) fn open_offloaded(&self, id: &BlobId) -> io::Result<Option<ObjectReader>> {
        let Some(mark) = self.mark(id)? else { return Ok(None) };
        Ok(Some(ObjectReader::open(self.bucket()?.store.clone(), mark.key, mark.bytes)?))
    }

    /// Removes a blob from the object store, if this instance put it there. Returns how many bytes that freed.
    pub(super) fn remove_offloaded(&self, id: &BlobId) -> io::Result<u64> {
        if let Some(begun) = self.begun(id)? {
            self.bucket()?.abandon(&begun)?;
            self.forget_upload(id)?;
        }
        let Some(mark) = self.mark(id)? else { return Ok(0) };
        let bucket = self.bucket()?;
        let is_own = mark.key == bucket.key(id);
        if is_own {
            bucket.store.delete(&mark.key)?;
        }
        fs::remove_file(self.mark_path(id))?;
        Ok(if is_own { mark.bytes } else { 0 })
    }

    /// Notes why blobs that should be in the object store are not, for people.
    pub fn set_offload_problem(&self, problem: Option<OffloadProblem>) {
        *self.inner.offload_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Returns why blobs that should be in the object store are not.
    #[must_use]
    pub fn offload_problem(&self) -> Option<OffloadProblem> {
        self.inner.offload_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl BlobBucket {
    /// Makes the store forget an upload. A store that refuses keeps the parts, and holds up nothing.
    fn abandon(&self, begun: &Begun) -> io::Result<()> {
        match self.store.abandon_upload(&begun.mark.key, &begun.upload()) {
            Err(error @ ObjectError::Refused { .. }) => {
                tracing::warn!(%error, upload = begun.upload, key = begun.mark.key, "parts of an upload stay in the object store");
                Ok(())
            }
            done => done.map_err(io::Error::from),
        }
    }

    fn key(&self, id: &BlobId) -> String {
        format!("{}/{}", self.instance, Blobs::relative_path(id).display())
    }
}

/// Returns what is in a folder; nothing, if there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
