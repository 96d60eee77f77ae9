//! One server a data folder: an exclusive lock that the kernel drops with the process, however it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use crate::{StoreError, folder};

/// Takes `<data>/lock` for as long as the returned file is open.
pub(crate) fn take(data_dir: &Path) -> Result<File, StoreError> {
    let path = data_dir.join(folder::LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| StoreError::io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(StoreError::io(&path, source)),
    }
}
