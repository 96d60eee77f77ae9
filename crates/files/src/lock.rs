//! Allows one server per data folder: an exclusive lock that the kernel releases with the process, however it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    time::{Duration, Instant},
};

use crate::{FilesError, folder};

/// How long to wait for the lock. A killed server may hold it a moment longer: a program that it was just starting
/// (git) keeps its open files until the exec.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Takes `<data>/lock`, until the returned file is closed.
pub fn take(data_dir: &Path) -> Result<File, FilesError> {
    let path = data_dir.join(folder::LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| FilesError::io(&path, source))?;
    let give_up = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => std::thread::sleep(RETRY_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(FilesError::Locked(data_dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(FilesError::io(&path, source)),
        }
    }
}

/// Returns whether a process holds the lock of a data folder. `false` if that cannot be found out.
#[must_use]
pub fn is_taken(data_dir: &Path) -> bool {
    let file = File::open(data_dir.join(folder::LOCK));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
