//! What can go wrong with the files of a data folder, told apart by what the caller can do about it.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

/// An operation on the data folder's files that did not happen. Whatever the error, nothing was half done.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("another Longshore server uses the data folder {}: stop it first, or give this one a folder of its own", .0.display())]
    Locked(PathBuf),
    #[error("no space left on the disk of the data folder: free some, then try again ({0})")]
    DiskFull(String),
    /// A backup that is none, is cut off or damaged, or does not fit here.
    #[error("{0}")]
    Backup(String),
    /// The folder to restore into is not empty.
    #[error("{0}")]
    NotEmpty(String),
    #[error(
        "{}: permission denied: it belongs to {}:{}, and Longshore runs as {}:{}; give it the data folder, `chown -R {}:{} {}`",
        .path.display(), .owner.0, .owner.1, .us.0, .us.1, .us.0, .us.1, .folder.display()
    )]
    Denied { path: PathBuf, folder: PathBuf, owner: (u32, u32), us: (u32, u32) },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl FilesError {
    /// An error of the operating system at a path; a full disk, and a file of another user, are told apart.
    #[must_use]
    pub fn io(path: &Path, source: io::Error) -> Self {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::DiskFull(format!("{}: {source}", path.display()));
        }
        if source.kind() == io::ErrorKind::PermissionDenied
            && let Some(denied) = Self::denied(path)
        {
            return denied;
        }
        Self::Io { path: path.to_owned(), source }
    }

    /// Whose the file is, or the folder where it should be made; nothing if it is ours, and something else is in the way.
    fn denied(path: &Path) -> Option<Self> {
        let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let folder = path.parent()?;
        let (of, file) = [path, folder].into_iter().find_map(|of| Some((of, std::fs::metadata(of).ok()?)))?;
        let owner = (file.uid(), file.gid());
        (owner.0 != us.0).then(|| Self::Denied { path: of.to_owned(), folder: folder.to_owned(), owner, us })
    }
}

impl FilesError {
    /// Whether it passes when somebody makes room: on the disk, among the process's open files.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::DiskFull(_) => true,
            Self::Io { source, .. } => matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE)),
            Self::Locked(_) | Self::Backup(_) | Self::NotEmpty(_) | Self::Denied { .. } => false,
        }
    }
}

impl From<FilesError> for io::Error {
    fn from(error: FilesError) -> Self {
        let kind = match &error {
            FilesError::DiskFull(_) => io::ErrorKind::StorageFull,
            FilesError::Io { source, .. } => source.kind(),
            FilesError::Locked(_) | FilesError::Backup(_) | FilesError::NotEmpty(_) => io::ErrorKind::Other,
            FilesError::Denied { .. } => io::ErrorKind::PermissionDenied,
        };
        Self::new(kind, error)
    }
}
