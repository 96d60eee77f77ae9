//! Errors with the files of a data folder, distinguished by what the caller can do about them.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::folder;

/// Why an operation on the data folder's files did not happen. With every error, nothing was half done.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("another Longshore server uses the data folder {}: stop it first, or give this one a folder of its own", .0.display())]
    Locked(PathBuf),
    #[error("no space left on the disk of the data folder: free some, then try again ({0})")]
    DiskFull(String),
    /// The backup is not one, is cut off or damaged, or does not fit this program.
    #[error("{0}")]
    Backup(String),
    /// The folder to restore into is not empty.
    #[error("{0}")]
    NotEmpty(String),
    #[error("a restore into {} was not completed: run `longshore restore` again", .0.display())]
    UnfinishedRestore(PathBuf),
    #[error(
        "{} is not a data folder: there is no {} in it; name the server's with --data",
        .0.display(), folder::DATABASE
    )]
    NoDataFolder(PathBuf),
    #[error("the work broke off: {0}")]
    BrokenOff(String),
    #[error(
        "{}: permission denied: it belongs to {}:{}, and Longshore runs as {}:{}; give it the data folder, `chown -R {}:{} {}`",
        .path.display(), .owner.0, .owner.1, .us.0, .us.1, .us.0, .us.1, .folder.display()
    )]
    Denied { path: PathBuf, folder: PathBuf, owner: (u32, u32), us: (u32, u32) },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl FilesError {
    /// Wraps an error of the operating system at a path. A full disk, and a file of another user, get their own
    /// variants.
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

    /// Returns the error for a file, or the folder that should hold it, that belongs to another user. `None` if it
    /// belongs to this user and something else is wrong.
    fn denied(path: &Path) -> Option<Self> {
        let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let folder = path.parent()?;
        let (at, file) = [path, folder].into_iter().find_map(|at| Some((at, std::fs::metadata(at).ok()?)))?;
        let owner = (file.uid(), file.gid());
        (owner.0 != us.0).then(|| Self::Denied { path: at.to_owned(), folder: folder.to_owned(), owner, us })
    }
}

impl FilesError {
    /// Returns whether the error passes when somebody frees resources: space on the disk, or the process's open files.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::DiskFull(_) => true,
            Self::Io { source, .. } => matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE)),
            Self::Locked(_)
            | Self::Backup(_)
            | Self::NotEmpty(_)
            | Self::UnfinishedRestore(_)
            | Self::NoDataFolder(_)
            | Self::BrokenOff(_)
            | Self::Denied { .. } => false,
        }
    }
}

impl From<FilesError> for io::Error {
    fn from(error: FilesError) -> Self {
        let kind = match &error {
            FilesError::DiskFull(_) => io::ErrorKind::StorageFull,
            FilesError::Io { source, .. } => source.kind(),
            FilesError::Locked(_)
            | FilesError::Backup(_)
            | FilesError::NotEmpty(_)
            | FilesError::UnfinishedRestore(_)
            | FilesError::NoDataFolder(_)
            | FilesError::BrokenOff(_) => io::ErrorKind::Other,
            FilesError::Denied { .. } => io::ErrorKind::PermissionDenied,
        };
        Self::new(kind, error)
    }
}
