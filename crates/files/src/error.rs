//! What can go wrong with the files of a data folder, told apart by what the caller can do about it.

use std::{
    io,
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
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl FilesError {
    /// An error of the operating system at a path; a full disk is told apart.
    #[must_use]
    pub fn io(path: &Path, source: io::Error) -> Self {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::DiskFull(format!("{}: {source}", path.display()));
        }
        Self::Io { path: path.to_owned(), source }
    }
}

impl FilesError {
    /// Whether it passes when somebody makes room: on the disk, among the process's open files.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::DiskFull(_) => true,
            Self::Io { source, .. } => matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE)),
            Self::Locked(_) | Self::Backup(_) | Self::NotEmpty(_) => false,
        }
    }
}

impl From<FilesError> for io::Error {
    fn from(error: FilesError) -> Self {
        let kind = match &error {
            FilesError::DiskFull(_) => io::ErrorKind::StorageFull,
            FilesError::Io { source, .. } => source.kind(),
            FilesError::Locked(_) | FilesError::Backup(_) | FilesError::NotEmpty(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
