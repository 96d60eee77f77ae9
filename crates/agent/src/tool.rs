//! Works on volumes, in a container in which they are mounted: `longshore tool ...`. The server itself has no access to
//! the engine's files.
//!
//! The contents of a volume are untrusted data: links are never followed, and nothing in it is run.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, SeekFrom, Timespec, Timestamps, Uid};
use rustix::io::Errno;

/// The disk space that a file occupies beside its content: the size of an inode of ext4. It matters for volumes of very
/// many small files.
const INODE_BYTES: u64 = 256;

/// Carries out one task. Its result is printed.
pub(crate) fn run(arguments: &[String]) -> io::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["copy", from, to] => copy(Path::new(from), Path::new(to)),
        ["empty", path] => empty(Path::new(path)),
        ["measure", paths @ ..] => {
            let sizes: String = paths.iter().map(|path| size_line(Path::new(path))).collect();
            io::stdout().write_all(sizes.as_bytes())
        }
        ["disk", path] => {
            let disk = rustix::fs::statvfs(*path)?;
            // Blocks that are reserved for root count neither as free nor as used.
            let usable = disk.f_blocks - disk.f_bfree + disk.f_bavail;
            let (free, total) = (disk.f_bavail * disk.f_frsize, usable * disk.f_frsize);
            writeln!(io::stdout(), "{free} {total} {} {}", disk.f_favail, disk.f_files)
        }
        ["overlay", "fill", path] => fill_lower(Path::new(path)),
        ["overlay", "try", path] => try_overlay(Path::new(path)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` is not a task", words.join(" ")))),
    }
}

/// Copies everything in a folder into another one, which is empty or half filled: files, folders, links, with owners,
/// permissions and times. Files with several names keep them.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copying = Copier { seen: std::collections::HashMap::new() };
    copying.folder(from, to)?;
    rustix::fs::syncfs(fs::File::open(to)?)?;
    Ok(())
}

struct Copier {
    /// Where files with several names have been copied to.
    seen: std::collections::HashMap<(u64, u64), PathBuf>,
}

impl Copier {
    fn folder(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let found = fs::symlink_metadata(&from)?;
            let kind = found.file_type();
            if kind.is_dir() {
                if let Err(error) = fs::create_dir(&to)
                    && error.kind() != io::ErrorKind::AlreadyExists
                {
                    return Err(error);
                }
                self.folder(&from, &to)?;
            } else {
                remove_if_there(&to)?;
                let several = found.nlink() > 1;
                if several && let Some(other) = self.seen.get(&(found.dev(), found.ino())) {
                    fs::hard_link(other, &to)?;
                    continue;
                }
                if kind.is_file() {
                    copy_file(&from, &to)?;
                } else if kind.is_symlink() {
                    std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
                } else if FileType::from_raw_mode(found.mode()) == FileType::Fifo {
                    rustix::fs::mknodat(CWD, &to, FileType::Fifo, Mode::from_raw_mode(found.mode() & 0o777), 0)?;
                } else {
                    // A socket is useless without the process that made it.
                    continue;
                }
                if several {
                    self.seen.insert((found.dev(), found.ino()), to.clone());
                }
            }
            copy_attributes(&to, &found)?;
        }
        copy_attributes(to, &fs::symlink_metadata(from)?)
    }
}

/// Copies a file. Its holes stay holes, so that the copy takes no more disk space than was measured.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (source, mut target) = (fs::File::open(from)?, fs::File::create(to)?);
    let length = source.metadata()?.len();
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // The rest is a hole.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data))?;
        rustix::fs::seek(&source, SeekFrom::Start(data))?;
        rustix::fs::seek(&target, SeekFrom::Start(data))?;
        let copied = io::copy(&mut (&source).take(hole - data), &mut target)?;
        if copied < hole - data {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at = hole;
    }
    target.set_len(length)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sets owner, permissions and times.
fn copy_attributes(path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !metadata.file_type().is_symlink() {
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(metadata.mode() & 0o7777), AtFlags::empty())?;
    }
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Removes everything in a volume, and nothing that a link leads to. Folders are moved to the top before they are
/// emptied, so that no depth is too much.
fn empty(volume: &Path) -> io::Result<()> {
    let mut folders = vec![volume.to_owned()];
    let mut moved = 0;
    while let Some(folder) = folders.pop() {
        // A folder may have been moved here and removed since.
        let Some(entries) = if_there(fs::read_dir(&folder))? else { continue };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
            } else if folder == volume {
                folders.push(entry.path());
            } else {
                folders.push(move_up(&entry.path(), volume, &mut moved)?);
            }
        }
        if folder != volume {
            fs::remove_dir(&folder)?;
        }
    }
    Ok(())
}

/// Moves a folder to the top of its volume, under a name that is free.
fn move_up(folder: &Path, volume: &Path, moved: &mut u64) -> io::Result<PathBuf> {
    loop {
        *moved += 1;
        let to = volume.join(format!("longshore-{moved}"));
        match fs::rename(folder, &to) {
            Ok(()) => return Ok(to),
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns a line with the size of a folder, or with the reason why it cannot be measured, so that the other folders'
/// sizes are still reported.
fn size_line(folder: &Path) -> String {
    match measure(folder) {
        Ok(bytes) => format!("{bytes}\n"),
        Err(error) => format!("{error}\n"),
    }
}

/// Returns the disk space of everything in a folder, inodes included. Files with several names count once. Files that a
/// job removes meanwhile do not count.
fn measure(folder: &Path) -> io::Result<u64> {
    fs::symlink_metadata(folder)?;
    let mut bytes = 0;
    let mut seen = HashSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = if_there(fs::read_dir(&folder))? else { continue };
        for entry in entries {
            let Some(entry) = if_there(entry)? else { continue };
            let Some(found) = if_there(fs::symlink_metadata(entry.path()))? else { continue };
            if found.nlink() < 2 || found.is_dir() || seen.insert((found.dev(), found.ino())) {
                bytes += INODE_BYTES + found.blocks() * 512;
            }
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

/// Returns `None` if the file no longer exists.
fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Creates the lower folder that [`try_overlay`] expects.
fn fill_lower(path: &Path) -> io::Result<()> {
    fs::create_dir(path.join("folder"))?;
    fs::write(path.join("folder/old"), "old")?;
    fs::write(path.join("file"), "old")
}

/// Checks whether a folder behaves as an overlay: files of the lower folder are visible, can be changed and removed, and
/// a folder that was removed and created again is empty.
fn try_overlay(path: &Path) -> io::Result<()> {
    let fails = |what: &str| Err(io::Error::other(what.to_owned()));
    if fs::read_to_string(path.join("file"))? != "old" {
        return fails("what is below does not show");
    }
    fs::write(path.join("file"), "new")?;
    fs::remove_dir_all(path.join("folder"))?;
    fs::create_dir(path.join("folder"))?;
    if fs::read_dir(path.join("folder"))?.next().is_some() {
        return fails("a folder that was removed came back with its files");
    }
    fs::remove_file(path.join("file"))?;
    if path.join("file").exists() {
        return fails("a file that was removed came back");
    }
    writeln!(io::stdout(), "works")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_copy_has_the_same_files_links_and_times_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(from.join("a/file"), "text").unwrap();
        fs::set_permissions(from.join("a/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::File::open(from.join("a/file"))
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000))
            .unwrap();
        fs::hard_link(from.join("a/file"), from.join("a/b/again")).unwrap();
        symlink("../secret", from.join("link")).unwrap();
        symlink("..", from.join("up")).unwrap();
        // As a copy that was killed leaves it.
        fs::create_dir(to.join("a")).unwrap();
        fs::write(to.join("a/file"), "te").unwrap();
        copy(&from, &to).unwrap();
        let found = fs::metadata(to.join("a/file")).unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime(), found.nlink()), (0o4750, 1_000_000, 2));
        assert_eq!(fs::metadata(to.join("a/b/again")).unwrap().ino(), found.ino());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("../secret"));
        assert_eq!(fs::read_link(to.join("up")).unwrap(), Path::new(".."));
        assert_eq!(fs::read_to_string(to.join("a/b/again")).unwrap(), "text");
        assert!(measure(&to).unwrap() >= 4096 && measure(&to).unwrap() < 1 << 20);
    }

    #[test]
    fn a_copy_of_a_sparse_file_takes_no_more_of_the_disk_and_has_the_same_bytes() {
        use std::os::unix::fs::FileExt as _;

        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        let sparse = fs::File::create(from.join("sparse")).unwrap();
        sparse.set_len(10 << 40).unwrap();
        fs::File::create(from.join("hole")).unwrap().set_len(1 << 40).unwrap();
        fs::write(from.join("whole"), vec![7; 3 << 20]).unwrap();
        fs::write(from.join("empty"), "").unwrap();
        for at in [0, 1 << 30, (10 << 40) - 3] {
            sparse.write_all_at(b"abc", at).unwrap();
        }
        copy(&from, &to).unwrap();
        let copied = fs::File::open(to.join("sparse")).unwrap();
        for at in [0, 1 << 30, (10 << 40) - 3] {
            let mut bytes = [0; 3];
            copied.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(&bytes, b"abc");
        }
        for name in ["sparse", "hole", "whole", "empty"] {
            let [before, after] = [&from, &to].map(|folder| fs::metadata(folder.join(name)).unwrap());
            assert_eq!((after.len(), after.blocks() / 64), (before.len(), before.blocks() / 64), "{name}");
        }
        assert_eq!(fs::read(to.join("whole")).unwrap(), vec![7; 3 << 20]);
    }

    #[test]
    fn empty_files_take_something_of_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..100 {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        assert!(measure(dir.path()).unwrap() >= 100 * INODE_BYTES);
    }

    #[test]
    fn a_volume_is_emptied_and_what_its_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, outside) = (dir.path().join("volume"), dir.path().join("outside"));
        fs::create_dir_all(volume.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "text").unwrap();
        fs::write(volume.join("a/b/file"), "text").unwrap();
        symlink(&outside, volume.join("link")).unwrap();
        symlink(outside.join("file"), volume.join("a/link")).unwrap();
        empty(&volume).unwrap();
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "text");
    }

    #[test]
    fn a_volume_is_emptied_however_deep_its_folders_are_and_whatever_they_are_called() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("longshore-2"), "").unwrap();
        fs::create_dir_all(dir.path().join("longshore-1/longshore-3/longshore-1")).unwrap();
        for number in 4..9 {
            fs::create_dir(dir.path().join(format!("longshore-{number}"))).unwrap();
            fs::create_dir_all(dir.path().join(format!("a/b{number}/c"))).unwrap();
        }
        let mut folder: std::os::fd::OwnedFd = fs::File::open(dir.path()).unwrap().into();
        for _ in 0..1_500 {
            rustix::fs::mkdirat(&folder, "deep", Mode::RWXU).unwrap();
            folder = rustix::fs::openat(&folder, "deep", rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        drop(folder);
        let volume = dir.path().to_owned();
        let small_stack = std::thread::Builder::new().stack_size(128 << 10);
        small_stack.spawn(move || empty(&volume)).unwrap().join().unwrap().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_nested_too_deep_to_be_measured_says_so_in_one_line() {
        use rustix::fs::OFlags;

        let dir = tempfile::tempdir().unwrap();
        let name = "n".repeat(200);
        let mut folder: std::os::fd::OwnedFd = fs::File::open(dir.path()).unwrap().into();
        for _ in 0..30 {
            rustix::fs::mkdirat(&folder, &name, Mode::RWXU).unwrap();
            folder = rustix::fs::openat(&folder, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let line = size_line(dir.path());
        assert!(line.contains("too long") && line.ends_with('\n') && line.lines().count() == 1, "{line}");
        let flat = tempfile::tempdir().unwrap();
        fs::write(flat.path().join("file"), "text").unwrap();
        assert!(size_line(flat.path()).trim().parse::<u64>().unwrap() >= 4096);
    }

    #[test]
    fn what_is_no_overlay_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fill_lower(dir.path()).unwrap();
        try_overlay(dir.path()).unwrap();
        assert!(try_overlay(dir.path()).is_err());
    }
}
