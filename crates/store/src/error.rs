//! The store's errors, distinguished by what the caller can do about them.

use std::{io, path::Path, path::PathBuf};

use longshore_files::FilesError;
use rustix::io::Errno;

/// A store operation that did not happen. After any error, nothing is half done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another Longshore server uses the data folder {}: stop it first, or give this one a folder of its own", .0.display())]
    Locked(PathBuf),
    #[error("no space left on the disk of the data folder: free some, then try again ({0})")]
    DiskFull(String),
    /// Another program (a foreign backup, a person with `sqlite3`) kept the database locked for longer than we wait.
    #[error("another program keeps the database locked: end it, then try again ({0})")]
    Busy(String),
    /// Not a backup, or one that is cut off, damaged, or does not fit here.
    #[error("{0}")]
    Backup(String),
    /// No such repository, build, job, delivery or token.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The request contradicts the current state: a name is taken, a delivery has ended.
    #[error("{0}")]
    Conflict(String),
    /// The caller's values cannot be stored.
    #[error("{0}")]
    Invalid(String),
    /// The key that seals secrets is missing, is another one, or is malformed.
    #[error("{0}")]
    SecretKey(String),
    /// A file belongs to another user, usually root, because an earlier server ran as that user.
    #[error(
        "{}: permission denied: it belongs to {}:{}, and Longshore runs as {}:{}; give it the data folder, `chown -R {}:{} {}`",
        .path.display(), .owner.0, .owner.1, .us.0, .us.1, .us.0, .us.1, .folder.display()
    )]
    Denied { path: PathBuf, folder: PathBuf, owner: (u32, u32), us: (u32, u32) },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A row that does not parse: another program wrote to the database, or it is damaged.
    #[error("the database contains something that Longshore did not write: {0}")]
    Corrupt(String),
    #[error(
        "the database was made by a newer Longshore (schema {found}, this one knows {known}): run that one or a later one, or restore a backup from before the update into an empty folder"
    )]
    Newer { found: i64, known: i64 },
    #[error("the database cannot be brought to this version's schema: {0}")]
    Migrate(String),
    #[error("database: {0}")]
    Database(DatabaseError),
}

/// Any other error of the database.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DatabaseError(sqlx::Error);

/// SQLite's result code for a full disk (it maps ENOSPC to it).
const SQLITE_FULL: i32 = 13;
/// SQLite's result code if the index of the write-ahead log cannot grow.
const SQLITE_IOERR_SHMSIZE: i32 = 4874;
/// SQLite's result code for a lock that another process holds.
const SQLITE_BUSY: i32 = 5;
const SQLITE_CANTOPEN: &str = "14";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Io(source) = &error
            && source.kind() == io::ErrorKind::StorageFull
        {
            return Self::DiskFull(source.to_string());
        }
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .and_then(|code| code.parse::<i32>().ok());
        let primary_code = code.map(|code| code & 0xff);
        if primary_code == Some(SQLITE_FULL) || code == Some(SQLITE_IOERR_SHMSIZE) {
            return Self::DiskFull(error.to_string());
        }
        if primary_code == Some(SQLITE_BUSY) {
            return Self::Busy(error.to_string());
        }
        Self::Database(DatabaseError(error))
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migrate(error.to_string())
    }
}

impl From<FilesError> for StoreError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Locked(folder) => Self::Locked(folder),
            FilesError::DiskFull(cause) => Self::DiskFull(cause),
            FilesError::Backup(message) => Self::Backup(message),
            FilesError::NotEmpty(message) => Self::Conflict(message),
            FilesError::Denied { path, folder, owner, us } => Self::Denied { path, folder, owner, us },
            FilesError::Io { path, source } => Self::Io { path, source },
        }
    }
}

impl StoreError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        FilesError::io(path, source).into()
    }

    /// Returns whether the error passes by itself: once there is room on the disk, the database is unlocked, or the process
    /// has fewer open files.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::DiskFull(_) | Self::Busy(_) => true,
            Self::Io { source, .. } => matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE)),
            // SQLite cannot open another connection because there is no file descriptor left.
            Self::Database(DatabaseError(error)) => {
                error.as_database_error().is_some_and(|e| e.code().as_deref() == Some(SQLITE_CANTOPEN))
            }
            _ => false,
        }
    }

    /// Returns whether the error is a violation of a unique constraint, which callers turn into a
    /// [`StoreError::Conflict`] with a message.
    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(DatabaseError(error)) if error.as_database_error().is_some_and(|e| e.is_unique_violation()))
    }
}
