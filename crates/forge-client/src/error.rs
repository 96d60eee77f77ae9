//! Errors of calls, distinguished by what the caller can do about them. No message contains a token.

use std::time::Duration;

/// A call that failed. `message` is the forge's, cut to one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The forge does not answer, or not in time.
    #[error("{host} cannot be reached: {detail}")]
    Unreachable { host: String, detail: String },
    /// The forge has an internal problem.
    #[error("{host} answered {status}: {message}")]
    Unavailable { host: String, status: u16, message: String },
    /// Too many requests.
    #[error("{host} limits requests for now: {message}")]
    Limited { host: String, message: String, wait: Option<Duration> },
    /// The token is unknown to the forge.
    #[error("{host} rejected the token ({message}): it is wrong, was revoked or has expired")]
    BadToken { host: String, message: String },
    /// The token lacks a right.
    #[error("the token lacks a permission on {host}: {needs}")]
    MissingRight { host: String, needs: String },
    /// The object does not exist, or the account may not see it.
    #[error("{host} has no {what} that the token can see")]
    NotFound { host: String, what: String },
    /// The forge refuses the call, now and later.
    #[error("{host} refused the request ({status}): {message}")]
    Refused { host: String, status: u16, message: String },
    /// The answer is not one that such a forge gives.
    #[error("{host} does not respond like {expected}: check the address")]
    NotUnderstood { host: String, expected: &'static str },
    /// The forge has nothing of the kind.
    #[error("{0}")]
    NotSupported(&'static str),
}

impl CallError {
    /// Returns whether the same call may succeed later, without anybody changing the connection.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Limited { .. } => true,
            Self::BadToken { .. }
            | Self::MissingRight { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::NotUnderstood { .. }
            | Self::NotSupported(_) => false,
        }
    }

    /// Returns how long the forge asks us to wait.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::Limited { wait, .. } => *wait,
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::BadToken { .. }
            | Self::MissingRight { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::NotUnderstood { .. }
            | Self::NotSupported(_) => None,
        }
    }
}
