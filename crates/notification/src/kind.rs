//! The kinds of places to which messages are sent.

use std::{fmt, str::FromStr};

/// The kind of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Email,
    Slack,
    Discord,
    Matrix,
    Mattermost,
    Teams,
    /// A signed webhook for programs.
    Webhook,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Email, Self::Slack, Self::Discord, Self::Matrix, Self::Mattermost, Self::Teams, Self::Webhook];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Matrix => "matrix",
            Self::Mattermost => "mattermost",
            Self::Teams => "teams",
            Self::Webhook => "webhook",
        }
    }

    /// Returns the service's own spelling.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Email => "E-mail",
            Self::Slack => "Slack",
            Self::Discord => "Discord",
            Self::Matrix => "Matrix",
            Self::Mattermost => "Mattermost",
            Self::Teams => "Microsoft Teams",
            Self::Webhook => "Signed webhook",
        }
    }

    /// Returns the form of its address, for messages.
    #[must_use]
    pub const fn address_form(self) -> &'static str {
        match self {
            Self::Email => "one or more addresses, separated by commas",
            Self::Slack => "the URL of an incoming webhook",
            Self::Discord => "the URL of the channel's webhook",
            Self::Matrix => {
                "the homeserver's address with the room's internal ID, https://matrix.example.org/!id:example.org; the secret is the access token of an account in that room"
            }
            Self::Mattermost => "the URL of an incoming webhook",
            Self::Teams => "the URL of a workflow that posts to a channel when a webhook request is received",
            Self::Webhook => "the URL of your program; the requests are signed with a key that is shown once",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of notification: use email, slack, discord, matrix, mattermost, teams or webhook")]
pub struct NotAKind(String);

impl FromStr for Kind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Self, NotAKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| NotAKind(text.chars().take(40).flat_map(char::escape_debug).collect()))
    }
}
