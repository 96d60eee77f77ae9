//! Unpacks the checkout, a tar of the workspace, as it arrives.
//!
//! Nothing else uses the workspace meanwhile, because the steps wait. Even so, the archive is not trusted: no path
//! may leave the workspace or lead through a symbolic link, and only files, directories and links are created. Runs on
//! its own thread, one per job.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::Receiver;

use bytes::{Buf as _, Bytes};
use tar::{Archive, Entry, EntryType};

/// A piece of the stream.
#[derive(Debug)]
pub(crate) enum Chunk {
    Data(Bytes),
    End,
}

/// Why a checkout was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckoutError {
    #[error("the archive cannot be read: {0}")]
    Archive(io::Error),
    #[error("{path} leaves the workspace, or leads through a link")]
    Outside { path: String },
    #[error("{path} is neither a file, a directory nor a link")]
    Unsupported { path: String },
    #[error("could not create {path}: {source}")]
    Make { path: String, source: io::Error },
}

/// Unpacks the archive from `chunks` into `workspace`, for `owner` (uid and gid; `None` keeps the agent's own).
pub(crate) fn unpack(
    chunks: Receiver<Chunk>,
    workspace: &Path,
    owner: Option<(u32, u32)>,
) -> Result<(), CheckoutError> {
    let mut stream = Stream { chunks, current: Bytes::new(), ended: false };
    let mut unpacking =
        Unpacking { workspace, owner, known: HashSet::new(), links: HashSet::new(), buffer: vec![0; 128 << 10] };
    let mut archive = Archive::new(&mut stream);
    // The files of other jobs follow in a second archive, concatenated to the commit's.
    archive.set_ignore_zeros(true);
    for entry in archive.entries().map_err(CheckoutError::Archive)? {
        unpacking.unpack_entry(&mut entry.map_err(CheckoutError::Archive)?)?;
    }
    Ok(())
}

struct Unpacking<'a> {
    workspace: &'a Path,
    owner: Option<(u32, u32)>,
    /// Relative paths that are known to be directories.
    known: HashSet<PathBuf>,
    /// Relative paths of links that this archive has made.
    links: HashSet<PathBuf>,
    buffer: Vec<u8>,
}

impl Unpacking<'_> {
    fn unpack_entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), CheckoutError> {
        let relative = path_in_workspace(&entry.path().map_err(CheckoutError::Archive)?)?;
        let path = self.workspace.join(&relative);
        let failed = |source| CheckoutError::Make { path: relative.display().to_string(), source };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            return self.make_directory(&relative);
        }
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        if relative.as_os_str().is_empty() {
            return Err(CheckoutError::Outside { path: ".".to_owned() });
        }
        self.make_directory(relative.parent().unwrap_or(Path::new("")))?;
        // A cache that is mounted here may have a directory of that name, left by an earlier job. That one is removed;
        // one that this archive created is never replaced.
        if !self.known.contains(&relative) && fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            fs::remove_dir_all(&path).map_err(failed)?;
        }
        if kind.is_file() || kind == EntryType::Continuous {
            let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
            let modified = entry.header().mtime().unwrap_or(0);
            self.write_file(entry, &path, mode, modified).map_err(failed)?;
        } else if kind.is_symlink() {
            let target = entry.link_name().map_err(CheckoutError::Archive)?.unwrap_or_default();
            create_or_replace(&path, || symlink(&target, &path)).map_err(failed)?;
            self.set_owner(&path).map_err(failed)?;
            self.links.insert(relative);
        } else if kind.is_hard_link() {
            let target = entry.link_name().map_err(CheckoutError::Archive)?.unwrap_or_default();
            let target = path_in_workspace(&target)?;
            self.check_parents(&target)?;
            let target = self.workspace.join(target);
            create_or_replace(&path, || fs::hard_link(&target, &path)).map_err(failed)?;
        } else {
            return Err(CheckoutError::Unsupported { path: relative.display().to_string() });
        }
        Ok(())
    }

    fn write_file(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        path: &Path,
        mode: u32,
        modified: u64,
    ) -> io::Result<()> {
        let open = || File::options().write(true).create_new(true).mode(mode).open(path);
        let mut file = create_or_replace(path, open)?;
        loop {
            let count = entry.read(&mut self.buffer)?;
            if count == 0 {
                break;
            }
            io::Write::write_all(&mut file, &self.buffer[..count])?;
        }
        if mode & 0o022 != 0 {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        // Git's index compares modification times: with any other time the file would count as modified.
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified))
    }

    /// Creates a directory and its parents, none of which may be a link.
    fn make_directory(&mut self, relative: &Path) -> Result<(), CheckoutError> {
        if relative.as_os_str().is_empty() || self.known.contains(relative) {
            return Ok(());
        }
        self.make_directory(relative.parent().unwrap_or(Path::new("")))?;
        let path = self.workspace.join(relative);
        let failed = |source| CheckoutError::Make { path: relative.display().to_string(), source };
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) if self.links.contains(relative) => {
                return Err(CheckoutError::Outside { path: relative.display().to_string() });
            }
            found => {
                if found.is_ok() {
                    // A file or link that an earlier job left in a cache mounted here is in the way.
                    fs::remove_file(&path).map_err(failed)?;
                }
                fs::DirBuilder::new().mode(0o755).create(&path).map_err(failed)?;
                self.set_owner(&path).map_err(failed)?;
            }
        }
        self.known.insert(relative.to_owned());
        Ok(())
    }

    fn check_parents(&self, relative: &Path) -> Result<(), CheckoutError> {
        let parent = relative.parent().unwrap_or(Path::new(""));
        if parent.as_os_str().is_empty() || self.known.contains(parent) {
            return Ok(());
        }
        Err(CheckoutError::Outside { path: relative.display().to_string() })
    }

    fn set_owner(&self, path: &Path) -> io::Result<()> {
        self.owner.map_or(Ok(()), |(uid, gid)| lchown(path, Some(uid), Some(gid)))
    }
}

/// Returns the path relative to the workspace. Refuses a path that leads out of it.
fn path_in_workspace(path: &Path) -> Result<PathBuf, CheckoutError> {
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => relative.push(name),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(CheckoutError::Outside { path: path.display().to_string() });
            }
        }
    }
    Ok(relative)
}

/// Creates something in place of an existing file or link.
fn create_or_replace<T>(path: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            make()
        }
        made => made,
    }
}

/// Reads the chunks as one stream.
struct Stream {
    chunks: Receiver<Chunk>,
    current: Bytes,
    ended: bool,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.recv() {
                Ok(Chunk::Data(data)) => self.current = data,
                Ok(Chunk::End) => self.ended = true,
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn entry(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: EntryType, link: &str, data: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(1_000_000);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    fn unpack_bytes(bytes: Vec<u8>, into: &Path) -> Result<(), CheckoutError> {
        let (sender, receiver) = sync_channel(1024);
        for chunk in bytes.chunks(100) {
            sender.send(Chunk::Data(Bytes::copy_from_slice(chunk))).unwrap();
        }
        sender.send(Chunk::End).unwrap();
        unpack(receiver, into, None)
    }

    #[test]
    fn files_directories_and_links_arrive_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, "./src/", EntryType::Directory, "", b"");
        entry(&mut tar, "src/run.sh", EntryType::Regular, "", b"echo hello\n");
        entry(&mut tar, "link", EntryType::Symlink, "../../anywhere", b"");
        entry(&mut tar, "hard", EntryType::Link, "src/run.sh", b"");
        entry(&mut tar, "src/run.sh", EntryType::Regular, "", b"again\n");
        unpack_bytes(tar.into_inner().unwrap(), folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("src/run.sh")).unwrap(), b"again\n");
        assert_eq!(fs::read(folder.path().join("hard")).unwrap(), b"echo hello\n");
        assert_eq!(fs::read_link(folder.path().join("link")).unwrap(), Path::new("../../anywhere"));
        let found = fs::metadata(folder.path().join("src/run.sh")).unwrap();
        assert_eq!((found.mode() & 0o777, found.mtime()), (0o755, 1_000_000));
    }

    #[test]
    fn a_path_that_leaves_the_workspace_is_refused() {
        for (path, kind, link) in [
            ("../evil", EntryType::Regular, ""),
            ("/etc/evil", EntryType::Regular, ""),
            ("a/../../evil", EntryType::Regular, ""),
            ("out/evil", EntryType::Regular, ""),
            ("out/deep/", EntryType::Directory, ""),
            ("hard", EntryType::Link, "../secret"),
            ("hard", EntryType::Link, "out/secret"),
            ("device", EntryType::Char, ""),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("secret"), "secret").unwrap();
            let workspace = folder.path().join("workspace");
            fs::create_dir(&workspace).unwrap();
            let mut tar = tar::Builder::new(Vec::new());
            entry(&mut tar, "out", EntryType::Symlink, "..", b"");
            entry(&mut tar, path, kind, link, b"");
            let refused = unpack_bytes(tar.into_inner().unwrap(), &workspace);
            assert!(
                matches!(refused, Err(CheckoutError::Outside { .. } | CheckoutError::Unsupported { .. })),
                "{path} {refused:?}"
            );
            assert!(!folder.path().join("evil").exists());
        }
    }

    #[test]
    fn the_commits_files_replace_what_a_cache_left() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, workspace) = (folder.path().join("outside"), folder.path().join("workspace"));
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(workspace.join("cache/file/deep")).unwrap();
        symlink(&outside, workspace.join("cache/folder")).unwrap();
        symlink(outside.join("x"), workspace.join("cache/x")).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, "cache/file", EntryType::Regular, "", b"new");
        entry(&mut tar, "cache/folder/in", EntryType::Regular, "", b"new");
        entry(&mut tar, "cache/x", EntryType::Regular, "", b"new");
        unpack_bytes(tar.into_inner().unwrap(), &workspace).unwrap();
        for path in ["cache/file", "cache/folder/in", "cache/x"] {
            assert_eq!(fs::read(workspace.join(path)).unwrap(), b"new", "{path}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "a link of the cache led out of the workspace");
        // A folder that this archive made is not replaced by a link, which would lead the next entry out.
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, "a/b", EntryType::Regular, "", b"");
        entry(&mut tar, "a", EntryType::Symlink, "../outside", b"");
        entry(&mut tar, "a/evil", EntryType::Regular, "", b"");
        assert!(unpack_bytes(tar.into_inner().unwrap(), &workspace).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn an_archive_that_ends_early_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, "file", EntryType::Regular, "", &[7; 3000]);
        let mut bytes = tar.into_inner().unwrap();
        bytes.truncate(2000);
        assert!(unpack_bytes(bytes, folder.path()).is_err());
    }
}
