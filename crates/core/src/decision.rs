//! The decisions that the audit log records.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What was decided about something that somebody wanted to do, as the audit log records it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    #[default]
    Allowed,
    /// The caller may not do it.
    Denied,
    /// They may, and it could not be done.
    Failed,
}

impl Decision {
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Denied, Self::Failed];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for Decision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|decision| decision.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a decision: use allowed, denied or failed"))
    }
}
