//! Measures a folder that somebody else writes to meanwhile, and may have filled with anything.

use std::fs::{self, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What each file takes beside its blocks, in bytes: an inode. Very many empty files fill a disk, too.
const INODE_BYTES: u64 = 256;
/// How deep folders may be nested: each one is open until everything in it is measured.
const DEEPEST: usize = 512;

/// Returns the bytes on the disk of everything in a folder; 0 if it is not there. A file with several names counts once:
/// a part with each of them. What is removed meanwhile does not count.
///
/// # Errors
/// If something cannot be read. Folders that are nested too deep, or have too long a path, are
/// [`io::ErrorKind::InvalidFilename`].
pub(crate) fn measure(folder: &Path) -> io::Result<u64> {
    let mut bytes: u64 = 0;
    let mut open: Vec<ReadDir> = if_there(fs::read_dir(folder))?.into_iter().collect();
    while let Some(entries) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let Some(entry) = if_there(entry)? else { continue };
        let Some(found) = if_there(entry.metadata())? else { continue };
        let blocks = found.blocks().saturating_mul(512);
        let names = if found.is_dir() { 1 } else { found.nlink().max(1) };
        bytes = bytes.saturating_add(blocks.saturating_add(INODE_BYTES) / names);
        if found.is_dir() {
            if open.len() >= DEEPEST {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            open.extend(if_there(fs::read_dir(entry.path()))?);
        }
    }
    Ok(bytes)
}

/// Returns `None` of what is gone, or has become something else.
fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_as_they_take_of_the_disk_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        assert_eq!(measure(&path.join("nosuch")).unwrap(), 0);
        fs::create_dir(path.join("folder")).unwrap();
        fs::write(path.join("folder/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(path.join("folder/file"), path.join("other")).unwrap();
        std::os::unix::fs::symlink("/", path.join("link")).unwrap();
        fs::File::create(path.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        let bytes = measure(path).unwrap();
        assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&bytes), "{bytes}");
    }

    #[test]
    fn folders_that_are_nested_too_deep_are_told_from_what_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/".repeat(DEEPEST - 1))).unwrap();
        assert!(measure(dir.path()).is_ok());
        fs::create_dir(dir.path().join("d/".repeat(DEEPEST))).unwrap();
        assert_eq!(measure(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidFilename);
    }
}
