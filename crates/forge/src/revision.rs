//! Names of refs and commits, checked once: a parsed name is safe as an argument of git.

use std::{fmt, str::FromStr};

/// The longest accepted name. A ref is a path in git's folder, where each part is limited anyway.
const MAX_REF_LEN: usize = 1000;

/// Why a text is not a branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRevision {
    #[error("a ref's name of {length} bytes is too long: {MAX_REF_LEN} at most")]
    TooLong { length: usize },
    #[error("{name:?} is not a ref that can be built: expected refs/heads/… or refs/tags/… as git allows them")]
    NotARef { name: String },
    #[error("{name:?} is not a commit: expected its 40 (or 64) hexadecimal digits, lower case")]
    NotACommit { name: String },
}

/// A full name of a branch or tag that git accepts: `refs/heads/main`, `refs/tags/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefName(String);

impl RefName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the branch's short name; `None` for a tag.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.0.strip_prefix("refs/heads/")
    }
}

impl FromStr for RefName {
    type Err = InvalidRevision;

    /// Applies the rules of `git check-ref-format`.
    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        if text.len() > MAX_REF_LEN {
            return Err(InvalidRevision::TooLong { length: text.len() });
        }
        let short = text.strip_prefix("refs/heads/").or_else(|| text.strip_prefix("refs/tags/"));
        let forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
        let part_is_bad = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
        let good = short.is_some_and(|short| {
            !short.contains(forbidden)
                && !short.contains("..")
                && !short.contains("@{")
                && !short.ends_with('.')
                && !short.split('/').any(part_is_bad)
        });
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidRevision::NotARef { name: text.to_owned() }) }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A full commit name: 40 hexadecimal digits (64 in a repository with SHA-256 names).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(String);

impl CommitId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it is what forges send for "no commit": before a ref's creation, after its deletion.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

impl FromStr for CommitId {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        let good = matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRevision::NotACommit { name: text.chars().take(100).collect() })
        }
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A commit, or the full name of a branch or tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revision {
    Ref(RefName),
    Commit(CommitId),
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        text.parse().map(Self::Commit).or_else(|_| text.parse().map(Self::Ref))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ref(name) => name.fmt(f),
            Self::Commit(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_that_looks_like_an_option_is_a_branch() {
        let name: RefName = "refs/heads/--upload-pack=x".parse().unwrap();
        assert_eq!(name.branch(), Some("--upload-pack=x"));
    }

    #[test]
    fn names_that_git_refuses_are_refused() {
        for bad in [
            "",
            "main",
            "--upload-pack=x",
            "refs/heads/",
            "refs/heads/a..b",
            "refs/heads/a b",
            "refs/heads/a\0b",
            "refs/heads/a\n",
            "refs/heads/.a",
            "refs/heads/a/.b",
            "refs/heads/a.lock",
            "refs/heads/a//b",
            "refs/heads/a/",
            "refs/heads/a@{1}",
            "refs/heads/a^",
            "refs/heads/a:b",
            "refs/heads/a\\b",
            "refs/heads/a.",
            "refs/notes/x",
            "refs/pull/1/head",
            "HEAD",
        ] {
            assert!(bad.parse::<RefName>().is_err(), "{bad:?}");
        }
        for good in ["refs/heads/main", "refs/heads/ünï🚢", "refs/tags/v1.0", "refs/heads/a/b", "refs/heads/@"] {
            assert_eq!(good.parse::<RefName>().unwrap().as_str(), good);
        }
        let long = format!("refs/heads/{}", "x".repeat(100 * 1024));
        assert!(matches!(long.parse::<RefName>(), Err(InvalidRevision::TooLong { .. })));
    }

    #[test]
    fn a_commit_is_forty_or_sixty_four_digits() {
        assert!("0123456789abcdef0123456789abcdef01234567".parse::<CommitId>().is_ok());
        assert!("a".repeat(64).parse::<CommitId>().is_ok());
        assert!("0".repeat(40).parse::<CommitId>().unwrap().is_zero());
        for bad in ["", "HEAD", "0123", "0123456789ABCDEF0123456789ABCDEF01234567", &"g".repeat(40)] {
            assert!(bad.parse::<CommitId>().is_err(), "{bad}");
        }
    }
}
