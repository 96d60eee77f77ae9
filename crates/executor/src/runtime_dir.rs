//! The folder with the locks that short-lived processes (`longshore run`) on one machine share.
//!
//! Locks are `flock`s: the kernel releases them when a process dies for any reason.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

/// A lock file that has not been touched for this long belongs to a sandbox that no longer exists, because idle
/// sandboxes end.
const STALE_LOCK_AGE: Duration = Duration::from_secs(24 * 3600);

/// Holds a lock until dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Marks the locked sandbox as in use. Returns `None` if a process marked it earlier and died before it was done.
    pub(crate) fn mark(self) -> io::Result<Option<Self>> {
        if self.file.metadata()?.len() > 0 {
            return Ok(None);
        }
        self.file.write_all_at(b"in use\n", 0)?;
        Ok(Some(self))
    }

    /// Removes the mark, so that the next process that locks the sandbox may use it.
    pub(crate) fn unmark(&self) -> io::Result<()> {
        self.file.set_len(0)
    }
}

/// Waits for the lock `name`. Returns `None` without a folder, or if it cannot be used; the caller then continues
/// without a lock.
pub async fn lock(dir: Option<&Path>, name: &str) -> Option<FileLock> {
    let path = dir?.join(format!("{name}.lock"));
    let locked = tokio::task::spawn_blocking(move || {
        let file = open(&path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        io::Result::Ok(FileLock { file })
    });
    match locked.await.map_err(io::Error::other).flatten() {
        Ok(lock) => Some(lock),
        Err(error) => {
            tracing::warn!(%error, "the runtime folder cannot be used");
            None
        }
    }
}

/// Takes the lock `name` if it is free.
///
/// # Errors
/// Those of the disk.
pub fn try_lock(dir: &Path, name: &str) -> io::Result<Option<FileLock>> {
    let file = open(&dir.join(format!("{name}.lock")))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // The file's time says when the sandbox was last used.
            file.set_modified(SystemTime::now())?;
            Ok(Some(FileLock { file }))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes the locks of sandboxes that ended long ago.
pub(crate) fn forget_old(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_lock = entry.file_name().as_encoded_bytes().ends_with(b".lock");
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        if is_lock && age.is_some_and(|age| age > STALE_LOCK_AGE) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Creates the folder, accessible only to this user.
///
/// # Errors
/// Those of the disk, and: the folder exists and others can write to it.
pub fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // In a folder of all, such as /tmp, somebody else may have been first.
    let there = std::fs::symlink_metadata(dir)?;
    if there.is_dir() && there.uid() == rustix::process::geteuid().as_raw() && there.mode() & 0o022 == 0 {
        return Ok(());
    }
    let why = format!("{} is not this user's alone: remove it, or set XDG_RUNTIME_DIR", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        make(dir)?;
    }
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = try_lock(dir.path(), "sandbox").unwrap();
        assert!(first.is_some());
        assert!(try_lock(dir.path(), "sandbox").unwrap().is_none());
        drop(first);
        assert!(try_lock(dir.path(), "sandbox").unwrap().is_some());
    }

    #[test]
    fn what_a_process_left_in_the_middle_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let take = || try_lock(dir.path(), "sandbox").unwrap().and_then(|lock| lock.mark().unwrap());
        let first = take().unwrap();
        first.unmark().unwrap();
        drop(first);
        drop(take().expect("it was given back"));
        assert!(take().is_none(), "who had it died");
    }
}
