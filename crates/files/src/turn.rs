//! Coordinates access to a data folder's files: one backup at a time, and no removal of files meanwhile.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    time::{Duration, Instant},
};

use crate::{FilesError, folder};

/// How long to wait for another backup, or for a removal of logs.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Takes the turn of a backup, until the returned file is closed. Blocks.
pub fn backup(data_dir: &Path) -> Result<File, FilesError> {
    let path = data_dir.join(folder::BACKUP_LOCK);
    let file = open(&path)?;
    let deadline = Instant::now() + TURN_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(RETRY_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(FilesError::Backup(
                    "another backup of this folder is being made: wait for its end".to_owned(),
                ));
            }
            Err(TryLockError::Error(source)) => return Err(FilesError::io(&path, source)),
        }
    }
}

/// Takes a turn to remove files, until the returned file is closed. Returns `None` while a backup is being made.
pub fn removal(data_dir: &Path) -> Result<Option<File>, FilesError> {
    let path = data_dir.join(folder::BACKUP_LOCK);
    let file = open(&path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(FilesError::io(&path, source)),
    }
}

fn open(path: &Path) -> Result<File, FilesError> {
    // A backup that root has made may have left it as root's. A lock needs no right to write.
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).or_else(|_| File::open(path));
    file.map_err(|source| FilesError::io(path, source))
}
