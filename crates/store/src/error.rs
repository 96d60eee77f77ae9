//! The store's errors, distinguished by what the caller can do about them.

use std::{io, path::Path};

use longshore_core::{
    JobId, RepoId, SecretName,
    limits::{Limited, Unfit},
    rules::Refused,
    sealing::{Damaged, KeyProblem},
};
use longshore_files::FilesError;

/// A store operation that did not happen. After any error, nothing is half done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An error with the files of the data folder, other than a full disk.
    #[error(transparent)]
    Files(FilesError),
    #[error("no space left on the disk of the data folder: free some, then try again ({0})")]
    DiskFull(String),
    /// Another program (a foreign backup, a person with `sqlite3`) kept the database locked for longer than we wait.
    #[error("another program keeps the database locked: end it, then try again ({0})")]
    Busy(String),
    /// No such repository, build, job, delivery or token.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The request contradicts the present state.
    #[error("conflict: {0:?}")]
    Conflict(Conflict),
    /// The caller's values cannot be stored.
    #[error("invalid: {0:?}")]
    Invalid(Invalid),
    /// The key that seals secrets is missing, is another one, or is malformed.
    #[error(transparent)]
    SecretKey(KeyProblem),
    /// A sealed value does not open, although the key is the right one.
    #[error("the database contains something that Longshore did not write: {0}")]
    Unopened(Damaged),
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

/// What of the present state a request contradicts. Whoever shows it says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    RepoNameTaken(String),
    /// A repository's forge is that of its connection.
    RepoHasConnection,
    /// So many builds of a repository are not over.
    BuildsUnfinished(i64),
    /// The connection of this name is one to another forge.
    ConnectionToAnother {
        name: String,
        kind: String,
        url: String,
    },
    /// So many connections to this address could be meant.
    SeveralConnections {
        count: usize,
        url: String,
    },
    /// Both names that a connection would get are taken.
    ConnectionNamesTaken {
        kind: String,
        host: String,
    },
    /// These repositories use the connection, and possibly more.
    ConnectionInUse {
        repos: Vec<String>,
        more: bool,
    },
    /// There are as many as there may be.
    Full(Limited),
    DeliveryPending,
    DeliveryEnded,
    /// The rules of the queue refuse it.
    Refused(Refused),
    /// The attempt is not the running one.
    AttemptEnded(u32),
    /// The artifacts of the job that was to stand for another are gone.
    OriginalGone,
    /// The job that was to be carried over is gone.
    CarriedOverGone(JobId),
    /// Another transaction changed the job's status.
    StatusChanged,
    /// Another transaction changed the schedule.
    ScheduleChanged,
}

/// Why the caller's values cannot be stored. Whoever shows it says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    Unfit(Unfit),
    /// A secret that does not exist yet needs a value.
    NewSecretWithoutValue(SecretName),
    /// A token's list names a repository that does not exist.
    UnknownRepo(RepoId),
    /// The jobs of a build contradict each other.
    Plan(PlanFault),
    Unsealable,
    NotJson(String),
}

/// What is wrong with the jobs of a build. The planner makes no such plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanFault {
    NoJob,
    SameKey(String),
    UnknownNeed {
        job: String,
        need: String,
    },
    UnknownCarriedOver(String),
    /// The job that is to be carried over has not succeeded.
    NotSucceeded(JobId),
}

impl From<Conflict> for StoreError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl From<Invalid> for StoreError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<PlanFault> for StoreError {
    fn from(fault: PlanFault) -> Self {
        Self::Invalid(Invalid::Plan(fault))
    }
}

impl From<Unfit> for StoreError {
    fn from(unfit: Unfit) -> Self {
        Self::Invalid(Invalid::Unfit(unfit))
    }
}

/// An error of the database without a variant of its own here.
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
            FilesError::DiskFull(cause) => Self::DiskFull(cause),
            other => Self::Files(other),
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
            Self::Files(error) => error.is_transient(),
            // SQLite cannot open another connection because there is no file descriptor left.
            Self::Database(DatabaseError(error)) => {
                error.as_database_error().is_some_and(|e| e.code().as_deref() == Some(SQLITE_CANTOPEN))
            }
            _ => false,
        }
    }

    /// Returns why a credential cannot be used, if that is what is wrong: to give it again repairs it.
    pub fn into_unusable(self) -> Result<String, Self> {
        match self {
            Self::SecretKey(problem) => Ok(problem.to_string()),
            Self::Unopened(damaged) => Ok(damaged.to_string()),
            Self::Corrupt(why) => Ok(why),
            other => Err(other),
        }
    }

    /// Returns whether the error is a violated uniqueness, which callers turn into a [`Conflict`].
    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(DatabaseError(error)) if error.as_database_error().is_some_and(|e| e.is_unique_violation()))
    }
}
