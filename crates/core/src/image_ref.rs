//! Parses names of images, such as `registry.example:5000/team/tool:1@sha256:...`, by the grammar of the distribution
//! project (<https://pkg.go.dev/github.com/distribution/reference>).
//!
//! A name from a pipeline is parsed as soon as it is known: when the build is planned, or when the job starts. Anything
//! else must not reach the engine, because names become part of its request paths.

use std::{fmt, str::FromStr};

/// Limit for the registry and the path together, in bytes.
const NAME_BYTES: usize = 255;
/// Limit for a tag, in characters.
const TAG_CHARS: usize = 128;

/// An image's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef {
    text: String,
    registry: usize,
    path: usize,
    tag: Option<usize>,
    digest: Option<usize>,
}

/// Why a text is not an image's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadImageRef(String);

impl ImageRef {
    /// Parses a name as people write it.
    ///
    /// # Errors
    ///
    /// If the text is not a name; the error says why.
    pub fn parse(text: &str) -> Result<Self, BadImageRef> {
        let bad = |reason: &str| Err(BadImageRef(reason.to_owned()));
        if text.is_empty() {
            return bad("the image has no name");
        }
        if text.chars().any(char::is_whitespace) {
            return bad("an image name cannot contain spaces");
        }
        if let Some(other) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-/:@+[]".contains(*c))) {
            return Err(BadImageRef(format!("an image name cannot contain `{}`", other.escape_debug())));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return bad("expected a digest after the `@`, such as `sha256:` and 64 hexadecimal digits");
        }
        // A colon before the last `/` belongs to the registry's port.
        let slash = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[slash..].find(':') {
            Some(colon) => (&name[..slash + colon], Some(&name[slash + colon + 1..])),
            None => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return bad("expected a tag after the `:`, such as `debian:12`: letters, digits, `_`, `.` and `-`");
        }
        // A first part with a dot or a port, or `localhost`, is a registry, which may contain upper-case letters.
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
            _ => (None, name),
        };
        if registry.is_some_and(|registry| !is_registry(registry)) {
            return bad("a registry is a host name, optionally with a port: `registry.example:5000/team/tool`");
        }
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return bad("an image's repository must be lower case");
        }
        if path.contains(':') {
            return bad("an image name can have only one tag");
        }
        if path.is_empty() || !path.split('/').all(is_path_part) {
            return bad("invalid image name: write it like `debian:12` or `registry.example/team/tool:1`");
        }
        if name.len() > NAME_BYTES {
            return Err(BadImageRef(format!("an image name can have at most {NAME_BYTES} characters before its tag")));
        }
        if registry.is_none() && tag.is_none() && digest.is_none() && is_hex(path, 64) {
            return bad("this is an image ID, which exists on one engine only: use the image's name");
        }
        Ok(Self {
            registry: registry.map_or(0, str::len),
            path: name.len(),
            tag: tag.map(|tag| name.len() + 1 + tag.len()),
            digest: digest.map(str::len),
            text: text.to_owned(),
        })
    }

    /// Returns the name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host and port to pull from, if the name has one.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        (self.registry > 0).then(|| &self.text[..self.registry])
    }

    /// Returns the path within the registry: `team/tool`.
    #[must_use]
    pub fn path(&self) -> &str {
        let start = if self.registry > 0 { self.registry + 1 } else { 0 };
        &self.text[start..self.path]
    }

    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.map(|end| &self.text[self.path + 1..end])
    }

    /// Returns the digest: `sha256:...`.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.map(|length| &self.text[self.text.len() - length..])
    }
}

impl FromStr for ImageRef {
    type Err = BadImageRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Matches `host`, `host:5000` and `[::1]:5000`.
pub(crate) fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (Err(address), None),
        Some((address, rest)) => (Err(address), Some(rest.strip_prefix(':').unwrap_or(""))),
        None => match registry.split_once(':') {
            Some((host, port)) => (Ok(host), Some(port)),
            None => (Ok(registry), None),
        },
    };
    let host = match host {
        Ok(host) => host.split('.').all(|part| {
            part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.ends_with(|c: char| c.is_ascii_alphanumeric())
        }),
        Err(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
    };
    host && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.len() <= 5)
}

/// Matches lower-case letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let mut separator = String::new();
    let mut begun = false;
    for c in part.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            let fits = separator.is_empty()
                || begun && (matches!(separator.as_str(), "." | "_" | "__") || separator.chars().all(|c| c == '-'));
            if !fits {
                return false;
            }
            begun = true;
            separator.clear();
        } else if matches!(c, '.' | '_' | '-') {
            separator.push(c);
        } else {
            return false;
        }
    }
    begun && separator.is_empty()
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= TAG_CHARS
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hash)) = digest.split_once(':') else { return false };
    let named = algorithm.split(['-', '_', '+', '.']).all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    named
        && match algorithm {
            "sha256" => is_hex(hash, 64),
            "sha512" => is_hex(hash, 128),
            _ => (32..=128).contains(&hash.len()) && is_hex(hash, hash.len()),
        }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::ImageRef;

    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_that_engines_take_are_taken_apart() {
        let digest = format!("sha256:{HASH}");
        let whole = format!("Registry.example:5000/team/my__tool/a-b--c:V1.0_x@{digest}");
        for (text, registry, path, tag, of) in [
            ("debian", None, "debian", None, None),
            ("debian:12", None, "debian", Some("12"), None),
            ("rust:1.95-bookworm", None, "rust", Some("1.95-bookworm"), None),
            ("localhost/x", Some("localhost"), "x", None, None),
            ("localhost:5000/x:1", Some("localhost:5000"), "x", Some("1"), None),
            ("[::1]:5000/x", Some("[::1]:5000"), "x", None, None),
            ("team/tool", None, "team/tool", None, None),
            (&whole, Some("Registry.example:5000"), "team/my__tool/a-b--c", Some("V1.0_x"), Some(digest.as_str())),
            (&format!("a/b@{digest}"), None, "a/b", None, Some(digest.as_str())),
        ] {
            let image = ImageRef::parse(text).unwrap();
            assert_eq!(image.to_string(), text);
            assert_eq!(
                (image.registry(), image.path(), image.tag(), image.digest()),
                (registry, path, tag, of),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        for text in [
            "",
            "a b",
            "a\n",
            "a\u{0}b",
            "x/../../containers/json?limit=1#",
            "..",
            "a/..",
            "a/./b",
            "../a",
            "a//b",
            "/a",
            "a/",
            "-x",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "_a",
            "Rust:1",
            "team/Tool",
            "Team/tool",
            "debian:",
            "debian:-1",
            "debian:.1",
            "a:b:c",
            "a:b/c:d:e",
            "a$b",
            "a?b",
            "a#b",
            "a%2fb",
            "a\\b",
            "é",
            "registry.example:port/x",
            "registry.example:/x",
            "-registry.example/x",
            "registry..example/x",
            ".example/x",
            "[::zz]/x",
            "a@",
            "a@sha256:",
            "a@sha256:abc",
            "a@sha256:0123@x",
            "[x]",
            "a+b",
            HASH,
            &long,
            &format!("a@sha256:{}", HASH.to_uppercase()),
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert!(ImageRef::parse(text).is_err(), "{text:?}");
        }
    }
}
