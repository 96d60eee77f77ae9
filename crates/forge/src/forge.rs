//! The supported kinds of forge, and their header names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

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
}

impl Forge {
    pub const ALL: [Self; 4] = [Self::Git, Self::Github, Self::Gitea, Self::Forgejo];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Github => "github",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
        }
    }

    /// Returns the header with the body's HMAC-SHA256.
    #[must_use]
    pub const fn signature_header(self) -> &'static str {
        match self {
            Self::Git => "x-longshore-signature-256",
            Self::Github => "x-hub-signature-256",
            Self::Gitea => "x-gitea-signature",
            Self::Forgejo => "x-forgejo-signature",
        }
    }

    /// Returns what precedes the hexadecimal digits in the signature's header.
    pub(crate) const fn signature_prefix(self) -> &'static str {
        match self {
            Self::Git | Self::Github => "sha256=",
            Self::Gitea | Self::Forgejo => "",
        }
    }

    /// Returns the header with the delivery's id; a repeated delivery repeats it.
    #[must_use]
    pub const fn delivery_header(self) -> &'static str {
        match self {
            Self::Git => "x-longshore-delivery",
            Self::Github => "x-github-delivery",
            Self::Gitea => "x-gitea-delivery",
            Self::Forgejo => "x-forgejo-delivery",
        }
    }

    /// Returns the header that names the event; `None` for a plain git remote, which only sends pushes.
    #[must_use]
    pub const fn event_header(self) -> Option<&'static str> {
        match self {
            Self::Git => None,
            Self::Github => Some("x-github-event"),
            Self::Gitea => Some("x-gitea-event"),
            Self::Forgejo => Some("x-forgejo-event"),
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

/// A word that names no supported forge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAForge {
    #[error("the forge `{0}` is not supported yet: use git, github, gitea or forgejo")]
    NotSupportedYet(String),
    #[error("`{0}` is not a forge: use git, github, gitea or forgejo")]
    Unknown(String),
}

impl FromStr for Forge {
    type Err = NotAForge;

    fn from_str(text: &str) -> Result<Self, NotAForge> {
        match text {
            "git" => Ok(Self::Git),
            "github" => Ok(Self::Github),
            "gitea" => Ok(Self::Gitea),
            "forgejo" => Ok(Self::Forgejo),
            "gitlab" | "gogs" | "bitbucket" => Err(NotAForge::NotSupportedYet(text.to_owned())),
            _ => Err(NotAForge::Unknown(text.chars().take(40).collect())),
        }
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
    fn a_forge_is_its_word_and_an_unsupported_one_is_refused_by_name() {
        for forge in Forge::ALL {
            assert_eq!(forge.as_str().parse(), Ok(forge));
            assert_eq!(serde_json::to_string(&forge).unwrap(), format!("\"{forge}\""));
            assert_eq!(serde_json::from_str::<Forge>(&format!("\"{forge}\"")).unwrap(), forge);
        }
        for word in ["gitlab", "gogs", "bitbucket"] {
            let error = word.parse::<Forge>().unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("not supported yet"), "{error}");
        }
        assert_eq!("GitHub".parse::<Forge>(), Err(NotAForge::Unknown("GitHub".to_owned())));
    }
}
