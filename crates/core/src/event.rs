//! What happened at a forge (or at a keyboard) that may become a build.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventName {
    Push,
    Tag,
    PullRequest,
    Schedule,
    Manual,
}

impl EventName {
    /// The word, as in pipelines, the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Tag => "tag",
            Self::PullRequest => "pull-request",
            Self::Schedule => "schedule",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event, with its commit resolved. Every text in it is an outsider's: never a path, an argument or an address by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub name: EventName,
    /// The full name, `refs/heads/main` or `refs/tags/v1`.
    pub git_ref: String,
    /// The commit to build: 40 (or 64) hexadecimal digits.
    pub commit: String,
    /// The commit before a push; absent for a new branch, a tag, a manual build.
    pub before: Option<String>,
    /// The commit's message, whole.
    pub message: String,
    /// The commit's author: name and address.
    pub author: String,
    pub author_email: String,
    /// Who pushed or asked, by the forge's name for them; empty where unknown.
    pub sender: String,
    /// A page of the forge that shows the change.
    pub url: Option<String>,
    /// The repository's default branch where known.
    pub default_branch: Option<String>,
    /// Inputs of a manual build.
    #[serde(default)]
    pub inputs: std::collections::BTreeMap<String, String>,
}

impl Event {
    /// The branch's short name; nothing for a tag.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.git_ref.strip_prefix("refs/heads/")
    }

    /// The tag's short name; nothing for a branch.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.git_ref.strip_prefix("refs/tags/")
    }
}
