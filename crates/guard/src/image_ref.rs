//! Image references in their full form: registry, repository, and a tag or a digest.

use std::fmt;

use crate::refusal::{Judged, Refusal, refuse};

const DEFAULT_REGISTRY: &str = "docker.io";

/// An image reference in its full form. Two references that mean the same image are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRef {
    pub registry: String,
    pub repository: String,
    tag: Version,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Tag(String),
    Digest(String),
}

impl ImageRef {
    /// Parses a reference as Docker does: the registry defaults to Docker Hub, the tag to `latest`.
    ///
    /// # Errors
    /// If it is not a reference. If it has both a tag and a digest, the digest counts, as in Docker.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::new(crate::Rule::Image, format!("{text:?} is not an image reference"));
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let last = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[last..].split_once(':') {
            Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag)),
            None => (name, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, name.to_owned()),
            None => (DEFAULT_REGISTRY, format!("library/{name}")),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let path = match (registry, path.contains('/')) {
            (DEFAULT_REGISTRY, false) => format!("library/{path}"),
            _ => path,
        };
        if !is_registry(registry) || path.len() > 255 || !path.split('/').all(is_component) {
            return Err(wrong());
        }
        let tag = match (tag, digest) {
            (None, None) => Version::Tag("latest".to_owned()),
            (Some(tag), None) if is_tag(tag) => Version::Tag(tag.to_owned()),
            (_, Some(digest)) if tag.is_none_or(is_tag) && is_digest(digest) => Version::Digest(digest.to_owned()),
            _ => return Err(wrong()),
        };
        Ok(Self { registry: registry.to_owned(), repository: path, tag })
    }

    /// Returns the registry and the repository, without tag or digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match &self.tag {
            Version::Tag(tag) => Some(tag),
            Version::Digest(_) => None,
        }
    }

    /// Returns the tag or the digest, as the engine expects it next to the repository.
    #[must_use]
    pub fn version(&self) -> &str {
        match &self.tag {
            Version::Tag(text) | Version::Digest(text) => text,
        }
    }

    /// Returns the short form that Docker shows.
    #[must_use]
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        let short = text.strip_prefix("docker.io/").unwrap_or(&text);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Version::Tag(tag) => write!(f, "{}/{}:{tag}", self.registry, self.repository),
            Version::Digest(digest) => write!(f, "{}/{}@{digest}", self.registry, self.repository),
        }
    }
}

/// What a client may write to name an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageName {
    /// A full id, without `sha256:`.
    Id(String),
    /// A reference. `prefix` is set if it could also be the start of an id.
    Ref { reference: ImageRef, prefix: Option<String> },
}

impl ImageName {
    pub(crate) fn parse(text: &str) -> Judged<Self> {
        if let Some(id) = text.strip_prefix("sha256:") {
            if crate::names::is_full_id(id) {
                return Ok(Self::Id(id.to_owned()));
            }
            return refuse!(Image, "{text} is not the full id of an image");
        }
        if crate::names::is_full_id(text) {
            return Ok(Self::Id(text.to_owned()));
        }
        let prefix = crate::names::looks_like_id(text).then(|| text.to_owned());
        Ok(Self::Ref { reference: ImageRef::parse(text)?, prefix })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "sha256:{id}"),
            Self::Ref { reference, .. } => f.write_str(&reference.familiar()),
        }
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "1"));
    crate::names::is_host_name(host) && (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_component(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty()
        && text.bytes().all(|b| edge(b) || b"_.-".contains(&b))
        && text.bytes().next().is_some_and(edge)
        && text.bytes().last().is_some_and(edge)
        && !text.contains("..")
        && !text.contains("___")
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(crate::names::is_full_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_that_mean_the_same_are_equal() {
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("docker.io/busybox:1", "docker.io/library/busybox:1"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
            ("a/b", "docker.io/a/b:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("ghcr.io/a/b:v1.2", "ghcr.io/a/b:v1.2"),
        ] {
            assert_eq!(ImageRef::parse(text).unwrap().to_string(), full);
        }
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        assert_eq!(ImageRef::parse(&digest).unwrap().to_string(), format!("docker.io/{digest}"));
        for text in [
            "",
            "A",
            "a/",
            "/a",
            "a:",
            "a:b:c",
            "a@b",
            "a@sha256:00",
            "a b",
            "a//b",
            "../a",
            "-a",
            "http://a/b",
            "a:b/c:d",
        ] {
            assert!(ImageRef::parse(text).is_err(), "{text}");
        }
        assert_eq!(ImageRef::parse("library/x:1").unwrap().familiar(), "x:1");
    }
}
