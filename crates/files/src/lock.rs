//! One server a data folder: an exclusive lock that the kernel drops with the process, however it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    time::{Duration, Instant},
};

use crate::{FilesError, folder};

/// One that was killed may hold it a moment longer: a program that it had just begun to start (git) has its open files until
/// it runs.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// Takes `<data>/lock` for as long as the returned file is open.
pub fn take(data_dir: &Path) -> Result<File, FilesError> {
    let path = data_dir.join(folder::LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| FilesError::io(&path, source))?;
    let give_up = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(FilesError::Locked(data_dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(FilesError::io(&path, source)),
        }
    }
}
