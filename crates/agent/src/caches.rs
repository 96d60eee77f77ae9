//! Gives the folders of a job's caches to the job's user, as the workspace is given.
//!
//! The engine has mounted them. The folders that it made on the way to a mount belong to root, and so does a new cache;
//! an entry that another user saved belongs to that one. Runs before the checkout, while no other process is in the
//! container. Links are never followed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use longshore_agent_protocol::message::CacheSpec;
use longshore_core::CachePath;

use crate::account::Account;

/// Prepares the caches. Returns those whose files changed hands.
pub(crate) fn prepare(caches: &[CacheSpec], account: &Account, workspace: &Path) -> io::Result<Vec<String>> {
    let home = account.home_with(std::env::var("HOME").ok().as_deref());
    let mut changed = Vec::new();
    for cache in caches {
        let Some((path, place)) = CachePath::parse(&cache.path).ok().and_then(|path| {
            let place = path.within_home(&home)?;
            Some((path, PathBuf::from(place)))
        }) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{}` is not a valid cache path", cache.path),
            ));
        };
        if account.uid == 0 {
            continue;
        }
        let base = if path.is_in_workspace() {
            workspace
        } else if path.is_in_home() {
            Path::new(&home)
        } else {
            place.parent().unwrap_or(Path::new("/"))
        };
        let mut folder = base.to_owned();
        for part in place.strip_prefix(base).unwrap_or(Path::new("")) {
            folder.push(part);
            give_to(&folder, account)?;
        }
        if cache.owner.is_some_and(|owner| owner != account.uid) {
            give_all(&place, account)?;
            changed.push(cache.path.clone());
        }
    }
    Ok(changed)
}

/// Gives a workspace that another job left to the job's user, if that was another user's. Returns whether it was.
pub(crate) fn take_over(workspace: &Path, account: &Account) -> io::Result<bool> {
    if account.uid == 0 {
        return Ok(false);
    }
    for entry in fs::read_dir(workspace)? {
        if fs::symlink_metadata(entry?.path())?.uid() != account.uid {
            give_all(workspace, account)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives a folder to the account if it belongs to root.
fn give_to(folder: &Path, account: &Account) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() && found.uid() == 0 {
        lchown(folder, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

/// Gives everything in a folder to the account.
fn give_all(folder: &Path, account: &Account) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        lchown(&folder, Some(account.uid), Some(account.gid))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                lchown(entry.path(), Some(account.uid), Some(account.gid))?;
            }
        }
    }
    Ok(())
}
