//! The rules for when registries are asked for images.

use serde::{Deserialize, Serialize};

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Only if the engine does not have the image.
    #[default]
    #[serde(rename = "if-missing")]
    Missing,
    /// Always. If the registry cannot be reached, an image that the engine has is used, with a note.
    #[serde(rename = "always")]
    Always,
    #[serde(rename = "never")]
    Never,
}

impl PullPolicy {
    pub const ALL: [Self; 3] = [Self::Missing, Self::Always, Self::Never];

    /// Returns the word, as in pipelines and settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "if-missing",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl std::str::FromStr for PullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not a pull policy: write if-missing, always or never"))
    }
}
