//! The reasons why a message did not arrive, by what can be done about it. No text contains a secret.

use std::time::Duration;

/// A message that did not arrive. Texts of the other side are cut to one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nobody answers there, or not in time.
    #[error("{host} cannot be reached: {detail}")]
    Unreachable { host: String, detail: String },
    /// The address is one of the server's own network, and no administrator of the server set it.
    #[error(
        "{host} is at an address of the server's own network: only an administrator of the server may add a notification there"
    )]
    Internal { host: String },
    /// The service has an internal problem.
    #[error("{host} answers {status}: {message}")]
    Unavailable { host: String, status: u16, message: String },
    /// Too many messages.
    #[error("{host} takes no more messages for now")]
    Limited { host: String, wait: Option<Duration> },
    /// The other side does not take it, now or later.
    #[error("{host} refuses it ({status}): {message}")]
    Refused { host: String, status: u16, message: String },
    /// The place is gone for good, as the other side says.
    #[error("{host} says that the address is gone ({status}): add the notification with another one")]
    Gone { host: String, status: u16 },
    #[error("the server has no mail server: set LONGSHORE_SMTP_URL")]
    NoMailServer,
}

impl SendError {
    /// Returns whether another try may succeed without anybody changing anything.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Limited { .. } | Self::NoMailServer => true,
            Self::Internal { .. } | Self::Refused { .. } | Self::Gone { .. } => false,
        }
    }

    /// Returns whether the other side has had the message, and has trouble with it: another one may fare better.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        match self {
            // A gateway answers these while what is behind it is away.
            Self::Unavailable { status, .. } => !matches!(status, 502..=504),
            Self::Refused { .. } => true,
            Self::Unreachable { .. }
            | Self::Internal { .. }
            | Self::Limited { .. }
            | Self::Gone { .. }
            | Self::NoMailServer => false,
        }
    }

    /// Returns whether a retry is pointless.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Gone { .. } | Self::Internal { .. })
    }

    /// Returns how long the other side wants not to be called.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::Limited { wait, .. } => *wait,
            Self::Unreachable { .. }
            | Self::Internal { .. }
            | Self::Unavailable { .. }
            | Self::Refused { .. }
            | Self::Gone { .. }
            | Self::NoMailServer => None,
        }
    }
}
