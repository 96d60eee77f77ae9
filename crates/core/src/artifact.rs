//! The files that a job leaves: what identifies their bytes, what they are called, and which names they may have.
//!
//! The agent collects them, the executor receives them, `files` stores their bytes, `store` their names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::plan::ReportFormat;

/// The longest path of a file in an artifact, in bytes.
pub const MAX_PATH: usize = 1024;
/// The longest name of an artifact, in bytes.
pub const MAX_NAME: usize = 200;

/// The SHA-256 of a file's bytes. Files with the same bytes are stored once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId([u8; 32]);

impl BlobId {
    #[must_use]
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no [`BlobId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256: expected 64 hexadecimal digits in lower case")]
pub struct NotABlobId;

impl FromStr for BlobId {
    type Err = NotABlobId;

    fn from_str(text: &str) -> Result<Self, NotABlobId> {
        let digits = text.as_bytes();
        let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if digits.len() != 64 || !digits.iter().all(is_digit) {
            return Err(NotABlobId);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NotABlobId)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotABlobId)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for BlobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What an artifact is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum ArtifactKind {
    /// Files for people and for later jobs: an entry of `artifacts`.
    Files,
    /// Files that the server reads: an entry of `reports`.
    Report(ReportFormat),
}

impl ArtifactKind {
    /// Returns the word in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Report(format) => format.as_str(),
        }
    }
}

impl From<ArtifactKind> for &'static str {
    fn from(kind: ArtifactKind) -> Self {
        kind.as_str()
    }
}

impl TryFrom<String> for ArtifactKind {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl FromStr for ArtifactKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == Self::Files.as_str() { Ok(Self::Files) } else { word.parse().map(Self::Report) }
    }
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactFile {
    /// Relative to the workspace; see [`path_fault`].
    pub path: String,
    pub executable: bool,
    pub bytes: u64,
    pub blob: BlobId,
}

/// Returns why a path cannot be the path of a file in an artifact; `None` if it can. Such a path stays inside the
/// folder that it is unpacked into, on any system, and is not in the `.git` at its root.
#[must_use]
pub fn path_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() || path.len() > MAX_PATH {
        return Some("its path is empty or too long");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some("its path leads out of the workspace");
    }
    if path.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case(".git")) {
        return Some("it belongs to git");
    }
    if path.chars().any(|c| c == '\\' || c.is_control()) {
        return Some("its name contains a backslash or a control character");
    }
    None
}

/// Returns why a text cannot be an artifact's name; `None` if it can.
#[must_use]
pub fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Some("a name has 1 to 200 bytes");
    }
    if matches!(name, "." | "..") || name.chars().any(|c| matches!(c, '/' | '\\') || c.is_control()) {
        return Some("a name cannot contain `/`, backslashes or control characters");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_an_artifact_never_leads_out_of_the_folder_it_is_unpacked_into() {
        for good in ["a", "a/b.txt", ".hidden/x", "a b/ä", "a..b/..c", ".github/x", ".gitignore", "a/.git/x"] {
            assert_eq!(path_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a/.",
            "a\\..\\b",
            "a\nb",
            "a\0b",
            ".git/config",
            ".GIT/hooks/x",
            &"x".repeat(1025),
        ] {
            assert!(path_fault(bad).is_some(), "{bad:?}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a\tb", &"x".repeat(201)] {
            assert!(name_fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn a_blobs_id_is_written_in_one_way_only() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<BlobId>().map(|id| id.to_string()), Ok(text.clone()));
        for bad in [text.to_uppercase(), text[1..].to_owned(), format!("{text}0"), "../".repeat(21) + "x"] {
            assert_eq!(bad.parse::<BlobId>(), Err(NotABlobId));
        }
    }
}
