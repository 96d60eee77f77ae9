//! Measures a folder that somebody else writes to meanwhile, and may have filled with anything.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

/// What each file takes beside its blocks, in bytes: an inode. Very many empty files fill a disk, too.
const INODE_BYTES: u64 = 256;
/// How deep folders may be nested: each one is open until everything in it is measured.
const DEEPEST: usize = 512;

/// Returns the bytes on the disk of everything in a folder; 0 if it is not there. A file with several names counts once:
/// a part with each of them. What is removed meanwhile does not count. No link is followed, also not one that takes the
/// place of a folder meanwhile.
///
/// # Errors
/// If something cannot be read. Folders that are nested too deep are [`io::ErrorKind::InvalidFilename`].
pub(crate) fn measure(folder: &Path) -> io::Result<u64> {
    let mut bytes: u64 = 0;
    let mut open: Vec<Dir> = if_there(open_folder(CWD, folder))?.into_iter().collect();
    while let Some(current) = open.last_mut() {
        let Some(entry) = current.read().transpose()? else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = statx(current.fd()?, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        let Some(found) = if_there(found)? else { continue };
        let is_folder = FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory;
        let blocks = found.stx_blocks.saturating_mul(512);
        let names = if is_folder { 1 } else { u64::from(found.stx_nlink.max(1)) };
        bytes = bytes.saturating_add(blocks.saturating_add(INODE_BYTES) / names);
        if is_folder {
            let within = if_there(open_folder(current.fd()?, name))?;
            if open.len() >= DEEPEST {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            open.extend(within);
        }
    }
    Ok(bytes)
}

fn open_folder(parent: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<Dir> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Dir::new(openat(parent, name, folder, Mode::empty())?)
}

/// Returns `None` of what is gone, or has become something else.
fn if_there<T>(found: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        found => Ok(found.map(Some)?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
