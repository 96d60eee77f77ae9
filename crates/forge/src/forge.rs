//! The supported kinds of forge.

use std::{fmt, str::FromStr};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::{
    forges,
    webhooks::{Sends, Webhooks},
};

/// The forge of a repository. Taken from the repository's registration, never from a delivery's headers: Forgejo sends
/// the names of Gitea, Gogs and GitHub too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Forge {
    /// A plain git remote with its owner's hook script.
    Git,
    Github,
    Gitea,
    Forgejo,
    Gitlab,
    /// Bitbucket Cloud.
    Bitbucket,
    Gogs,
}

impl Forge {
    pub const ALL: [Self; 7] =
        [Self::Git, Self::Github, Self::Gitea, Self::Forgejo, Self::Gitlab, Self::Bitbucket, Self::Gogs];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Github => "github",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::Gitlab => "gitlab",
            Self::Bitbucket => "bitbucket",
            Self::Gogs => "gogs",
        }
    }

    /// Returns what its webhooks look like.
    pub(crate) const fn webhooks(self) -> &'static dyn Webhooks {
        match self {
            Self::Git => &forges::Plain,
            Self::Github => &forges::Github,
            Self::Gitea => &forges::Gitea,
            Self::Forgejo => &forges::Forgejo,
            Self::Gitlab => &forges::Gitlab,
            Self::Bitbucket => &forges::Bitbucket,
            Self::Gogs => &forges::Gogs,
        }
    }

    /// Returns the header with the proof of who sent a delivery.
    #[must_use]
    pub fn signature_header(self) -> &'static str {
        self.webhooks().signature_header()
    }

    /// Returns the header that names the event; `None` for a plain git remote, which only sends pushes.
    #[must_use]
    pub fn event_header(self) -> Option<&'static str> {
        self.webhooks().event_header()
    }

    /// Returns whether this forge's webhooks report this kind of event. A filter for any other kind never matches.
    #[must_use]
    pub fn sends(self, kind: Sends) -> bool {
        self.webhooks().sends(kind)
    }

    /// Returns the forge's name as it writes it itself.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Git => "a plain git remote",
            Self::Github => "GitHub",
            Self::Gitea => "Gitea",
            Self::Forgejo => "Forgejo",
            Self::Gitlab => "GitLab",
            Self::Bitbucket => "Bitbucket Cloud",
            Self::Gogs => "Gogs",
        }
    }
}

impl fmt::Display for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Forge> for &'static str {
    fn from(forge: Forge) -> Self {
        forge.as_str()
    }
}

/// Guesses the forge from a delivery's headers. Use it only in messages: the sender can forge the headers.
#[must_use]
pub fn sender_of(headers: &HeaderMap) -> Option<Forge> {
    // Forgejo sends the headers of Gitea, Gogs and GitHub too, Gitea those of Gogs and GitHub.
    let in_order =
        [Forge::Forgejo, Forge::Gitea, Forge::Gogs, Forge::Github, Forge::Gitlab, Forge::Bitbucket, Forge::Git];
    let sent = |forge: &Forge| headers.contains_key(forge.event_header().unwrap_or(forge.signature_header()));
    in_order.into_iter().find(sent)
}

/// A word that names no forge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a forge: use git, github, gitea, forgejo, gitlab, bitbucket or gogs")]
pub struct NotAForge(pub String);

impl FromStr for Forge {
    type Err = NotAForge;

    fn from_str(text: &str) -> Result<Self, NotAForge> {
        let known = Self::ALL.into_iter().find(|forge| forge.as_str() == text);
        known.ok_or_else(|| NotAForge(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Forge {
    type Error = NotAForge;

    fn try_from(text: String) -> Result<Self, NotAForge> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forge_is_its_word_and_an_unknown_one_is_refused_by_name() {
        for forge in Forge::ALL {
            assert_eq!(forge.as_str().parse(), Ok(forge));
            assert_eq!(serde_json::to_string(&forge).unwrap(), format!("\"{forge}\""));
            assert_eq!(serde_json::from_str::<Forge>(&format!("\"{forge}\"")).unwrap(), forge);
        }
        assert_eq!("GitHub".parse::<Forge>(), Err(NotAForge("GitHub".to_owned())));
        let error = "sourcehut".parse::<Forge>().unwrap_err().to_string();
        assert!(Forge::ALL.iter().all(|forge| error.contains(forge.as_str())), "{error}");
    }
}
