//! What a check can find. Whoever shows a finding puts it into words.

use std::path::PathBuf;

use longshore_core::JobId;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost, but something should be done.
    Warning,
    /// Something is lost or damaged.
    Error,
}

/// A problem in the data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The folder holds half of a restore.
    UnfinishedRestore { folder: PathBuf },
    /// The database has another schema than this program: nothing else was checked.
    OtherSchema { found: i64, known: i64 },
    /// In SQLite's words.
    DatabaseDamaged(String),
    /// A row of one table refers to a row of another one that is not there.
    ReferenceBroken { from: String, to: String },
    /// The status of a build or a job says that it is over, and its end does not, or the other way round.
    StatusWithoutEnd { table: &'static str, id: String, status: String },
    /// A build is over, and not all of its jobs are.
    JobsOutliveBuild { build: String },
    /// The log of a job that is over is not what it was.
    Log { job: JobId, path: PathBuf, damage: LogDamage },
    /// A log that belongs to no job.
    LogOrphan(PathBuf),
    /// The file of an artifact is not what it was.
    File { path: PathBuf, damage: FileDamage },
    /// A file that no artifact names.
    FileOrphan(PathBuf),
    /// A file that only the server may read.
    ReadableByOthers { path: PathBuf, mode: u32 },
    /// The database holds sealed values, and the file of their key is not there.
    KeyMissing { path: PathBuf },
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDamage {
    Missing {
        bytes: u64,
    },
    Length {
        found: u64,
        expected: u64,
    },
    /// From this byte on, its records do not hold.
    UnreadableFrom(u64),
    /// Its packed file does not unpack.
    Packed(String),
    /// The job succeeded, and its log does not end.
    Incomplete,
}

/// What is wrong with the file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileDamage {
    Missing {
        bytes: u64,
    },
    /// In the words of the object store's client.
    MissingInObjectStore(String),
    /// It is in an object store that the check was not given.
    Elsewhere,
    Length {
        found: u64,
        expected: u64,
    },
    /// Its packed file does not unpack, or has another SHA-256.
    Packed(String),
}

impl Finding {
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::LogOrphan(_)
            | Self::File { damage: FileDamage::Elsewhere, .. }
            | Self::FileOrphan(_)
            | Self::ReadableByOthers { .. }
            | Self::KeyMissing { .. } => Severity::Warning,
            Self::UnfinishedRestore { .. }
            | Self::OtherSchema { .. }
            | Self::DatabaseDamaged(_)
            | Self::ReferenceBroken { .. }
            | Self::StatusWithoutEnd { .. }
            | Self::JobsOutliveBuild { .. }
            | Self::Log { .. }
            | Self::File { .. } => Severity::Error,
        }
    }

    /// Returns the name of its kind, which is stable, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnfinishedRestore { .. } => "unfinished-restore",
            Self::OtherSchema { .. } => "other-schema",
            Self::DatabaseDamaged(_) => "database-damaged",
            Self::ReferenceBroken { .. } => "reference-broken",
            Self::StatusWithoutEnd { .. } | Self::JobsOutliveBuild { .. } => "status-contradiction",
            Self::Log { damage, .. } => match damage {
                LogDamage::Missing { .. } => "log-missing",
                LogDamage::Length { .. } => "log-length",
                LogDamage::UnreadableFrom(_) | LogDamage::Packed(_) => "log-damaged",
                LogDamage::Incomplete => "log-incomplete",
            },
            Self::LogOrphan(_) => "log-orphan",
            Self::File { damage, .. } => match damage {
                FileDamage::Missing { .. } | FileDamage::MissingInObjectStore(_) => "artifact-file-missing",
                FileDamage::Elsewhere => "artifact-file-elsewhere",
                FileDamage::Length { .. } | FileDamage::Packed(_) => "artifact-file-damaged",
            },
            Self::FileOrphan(_) => "artifact-file-orphan",
            Self::ReadableByOthers { .. } => "file-readable",
            Self::KeyMissing { .. } => "secrets-key-missing",
        }
    }
}
