//! What can go wrong in the store, told apart by what the caller can do about it.

use std::{io, path::Path, path::PathBuf};

use longshore_files::FilesError;
use rustix::io::Errno;

/// A store operation that did not happen. Whatever the error, nothing was half done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another Longshore server uses the data folder {}: stop it first, or give this one a folder of its own", .0.display())]
    Locked(PathBuf),
    #[error("no space left on the disk of the data folder: free some, then try again ({0})")]
    DiskFull(String),
    /// Another program (a backup of its own making, a person with `sqlite3`) kept the database locked for longer than we wait.
    #[error("another program keeps the database locked: end it, then try again ({0})")]
    Busy(String),
    /// A backup that is none, is cut off or damaged, or does not fit here.
    #[error("{0}")]
    Backup(String),
    /// No such repository, build, job, delivery or token.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The caller's wish contradicts what is there: a name that is taken, a delivery that is finished.
    #[error("{0}")]
    Conflict(String),
    /// The caller's values cannot be stored.
    #[error("{0}")]
    Invalid(String),
    /// The key that seals secrets is gone, is another one, or is none.
    #[error("{0}")]
    SecretKey(String),
    /// Files of another user: those of root, mostly, whose server used the folder before.
    #[error(
        "{}: permission denied: it belongs to {}:{}, and Longshore runs as {}:{}; give it the data folder, `chown -R {}:{} {}`",
        .path.display(), .owner.0, .owner.1, .us.0, .us.1, .us.0, .us.1, .folder.display()
    )]
    Denied { path: PathBuf, folder: PathBuf, owner: (u32, u32), us: (u32, u32) },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A row that does not read back: another program wrote to the database, or it is damaged.
    #[error("the database holds what Longshore did not write: {0}")]
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

/// An error of the database that has no name of its own here.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DatabaseError(sqlx::Error);

/// SQLite's result code for a full disk (it maps ENOSPC to it).
const SQLITE_FULL: i32 = 13;
/// The same where it is the index of the write-ahead log that cannot grow.
const SQLITE_IOERR_SHMSIZE: i32 = 4874;
/// And for a lock that another process holds.
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

    /// Whether it passes when somebody makes room or lets go: on a disk, among the process's open files.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::DiskFull(_) | Self::Busy(_) => true,
            Self::Io { source, .. } => matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE)),
            // Another connection, for which there is no descriptor.
            Self::Database(DatabaseError(error)) => {
                error.as_database_error().is_some_and(|e| e.code().as_deref() == Some(SQLITE_CANTOPEN))
            }
            _ => false,
        }
    }

    /// Whether the error is a broken uniqueness, which callers turn into a [`StoreError::Conflict`] with words.
    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(DatabaseError(error)) if error.as_database_error().is_some_and(|e| e.is_unique_violation()))
    }
}
