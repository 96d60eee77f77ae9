//! The forges that can be called.

use std::{fmt, str::FromStr};

/// The kind of a forge that has an API. The words are those of `longshore_forge::Forge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Github,
    Gitea,
    Forgejo,
    Gitlab,
    Bitbucket,
    Gogs,
}

impl Kind {
    pub const ALL: [Self; 6] = [Self::Github, Self::Gitea, Self::Forgejo, Self::Gitlab, Self::Bitbucket, Self::Gogs];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::Gitlab => "gitlab",
            Self::Bitbucket => "bitbucket",
            Self::Gogs => "gogs",
        }
    }

    /// Returns the forge's own spelling.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Github => "GitHub",
            Self::Gitea => "Gitea",
            Self::Forgejo => "Forgejo",
            Self::Gitlab => "GitLab",
            Self::Bitbucket => "Bitbucket Cloud",
            Self::Gogs => "Gogs",
        }
    }

    /// Returns what a token for it needs, in the forge's own words.
    #[must_use]
    pub const fn rights(self) -> &'static str {
        match self {
            Self::Github => {
                "a classic token with the scope `repo`, or a fine-grained one with the permissions commit statuses: \
                 write, webhooks: write and contents: read"
            }
            Self::Gitea | Self::Forgejo => "a token with the permissions repository: read and write, user: read",
            Self::Gitlab => "a token with the scope `api` and the role Maintainer",
            Self::Bitbucket => {
                "a repository or workspace access token, or EMAIL:TOKEN for an API token, with read:repository, \
                 write:repository, read:webhook and write:webhook"
            }
            Self::Gogs => "a token of an admin of the repositories",
        }
    }

    /// Returns whether the forge shows statuses of commits.
    #[must_use]
    pub const fn has_statuses(self) -> bool {
        match self {
            Self::Github | Self::Gitea | Self::Forgejo | Self::Gitlab | Self::Bitbucket => true,
            Self::Gogs => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no forge with an API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot connect to `{0}`: use github, gitea, forgejo, gitlab, bitbucket or gogs")]
pub struct NotAKind(String);

impl FromStr for Kind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Self, NotAKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| NotAKind(text.chars().take(40).flat_map(char::escape_debug).collect()))
    }
}
