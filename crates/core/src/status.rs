//! The ten statuses of builds, jobs and steps. They have the same words everywhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The status of a build, a job or a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Waits for needs, approval or a group: anything but capacity.
    Blocked,
    /// Ready to start; waits for capacity.
    Queued,
    Running,
    /// Asked to stop, and still running.
    Canceling,
    Success,
    /// The user's fault: an exit code, out of memory.
    Failure,
    /// Not the commands' fault: a failed pull, an engine that is gone, a lost job, a broken pipeline file.
    Error,
    Canceled,
    Skipped,
    TimedOut,
}

impl Status {
    pub const ALL: [Self; 10] = [
        Self::Blocked,
        Self::Queued,
        Self::Running,
        Self::Canceling,
        Self::Success,
        Self::Failure,
        Self::Error,
        Self::Canceled,
        Self::Skipped,
        Self::TimedOut,
    ];

    /// Returns whether no other status can follow.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Blocked | Self::Queued | Self::Running | Self::Canceling => false,
            Self::Success | Self::Failure | Self::Error | Self::Canceled | Self::Skipped | Self::TimedOut => true,
        }
    }

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Canceling => "canceling",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
            Self::TimedOut => "timed-out",
        }
    }
}

impl Status {
    /// Returns what people see in place of this status of a build: blocked if it only waits, which its reason then
    /// tells, and queued if it has not begun.
    #[must_use]
    pub const fn shown_of_build(self, has_reason: bool, has_begun: bool) -> Self {
        match (self, has_reason, has_begun) {
            (Self::Running, true, _) => Self::Blocked,
            (Self::Running, false, false) => Self::Queued,
            (status, ..) => status,
        }
    }

    /// Returns the word that people read: on pages, on the command line and in sentences.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Blocked => "waiting",
            Self::TimedOut => "timed out",
            Self::Queued
            | Self::Running
            | Self::Canceling
            | Self::Success
            | Self::Failure
            | Self::Error
            | Self::Canceled
            | Self::Skipped => self.as_str(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is not a status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a status")]
pub struct NotAStatus(pub String);

impl FromStr for Status {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| NotAStatus(text.to_owned()))
    }
}
