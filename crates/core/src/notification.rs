//! The events that people are notified of, away from the pages: that a build failed, that it works again, that a job
//! waits for an approval, that something stands out in the audit log.
//!
//! The store calls this in the transaction that changes a build, and keeps the messages; the outbox sends them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Event, Status};

/// A stranger's pull request makes one message in this time, whatever is pushed to it.
pub const PAUSE_OF_STRANGERS_MS: u64 = 24 * 60 * 60 * 1000;
/// The number of strangers' pull requests of one repository that one place hears about in that time.
pub const MAX_OF_STRANGERS: i64 = 20;

/// The events that people may be notified about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotificationEvent {
    /// A build failed.
    Failure,
    /// A pipeline works again: the build before it on the same branch failed.
    Fixed,
    /// A job waits for somebody to approve it.
    Approval,
    /// Something stands out in the audit log.
    Anomaly,
}

impl NotificationEvent {
    pub const ALL: [Self; 4] = [Self::Failure, Self::Fixed, Self::Approval, Self::Anomaly];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Fixed => "fixed",
            Self::Approval => "approval",
            Self::Anomaly => "anomaly",
        }
    }
}

impl fmt::Display for NotificationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no such event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nothing to be told of: use failure, fixed, approval or anomaly")]
pub struct NotANotificationEvent(String);

impl FromStr for NotificationEvent {
    type Err = NotANotificationEvent;

    fn from_str(text: &str) -> Result<Self, NotANotificationEvent> {
        let found = Self::ALL.into_iter().find(|event| event.as_str() == text);
        found.ok_or_else(|| NotANotificationEvent(text.chars().take(40).flat_map(char::escape_debug).collect()))
    }
}

/// Returns whether the end of a build is reported: those of pull requests are shown at the pull request, and strangers
/// could cause a flood of them.
#[must_use]
pub const fn tells_ends(event: &Event) -> bool {
    event.pull_request.is_none()
}

/// Whether a pipeline works, as the end of a build shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Works,
    Fails,
    /// It was canceled or skipped, or is not over.
    Unknown,
}

/// Returns the result of a pipeline whose final status is this.
#[must_use]
pub const fn health(status: Status) -> Health {
    match status {
        Status::Success => Health::Works,
        Status::Failure | Status::Error | Status::TimedOut => Health::Fails,
        Status::Canceled | Status::Skipped | Status::Blocked | Status::Queued | Status::Running | Status::Canceling => {
            Health::Unknown
        }
    }
}

/// Returns whether a pipeline that works was broken, by its builds before on the same branch, newest first. Those that
/// say nothing are passed over.
#[must_use]
pub fn is_fixed(before: impl IntoIterator<Item = Health>) -> bool {
    before.into_iter().find(|health| *health != Health::Unknown) == Some(Health::Fails)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_fixed_when_the_last_build_that_says_something_failed() {
        use Health::{Fails, Unknown, Works};
        for (before, fixed) in [
            (&[][..], false),
            (&[Fails][..], true),
            (&[Works, Fails][..], false),
            (&[Unknown, Fails, Works][..], true),
            (&[Unknown][..], false),
        ] {
            assert_eq!(is_fixed(before.iter().copied()), fixed, "{before:?}");
        }
    }
}
