//! Names and ids as the engine knows them. Each is checked when it is made, so that none can be misread as a path, a
//! query, an option, or the name of another kind of object.

use std::fmt;

/// A text that is not a valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct NotAName {
    what: &'static str,
    rule: &'static str,
    text: String,
}

/// Limit for the characters of a name. Docker's ids have 64, Kubernetes' names up to 253.
const MAX_NAME_CHARS: usize = 255;

/// Letters, digits, `_`, `.` and `-`, the first a letter or a digit.
fn is_word(text: &str) -> bool {
    text.len() <= MAX_NAME_CHARS
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Returns whether a text is a word that can be part of other names.
fn is_short_word(text: &str) -> bool {
    text.len() <= 63 && is_word(text)
}

/// Words with `/`, `:` and `@` between them: a registry with its port, a path, a tag, a digest.
fn is_image(text: &str) -> bool {
    text.len() <= 2 * MAX_NAME_CHARS && text.split(['/', ':', '@']).all(is_word)
}

const WORD: &str = "it has letters, digits, `_`, `.` and `-`, and begins with a letter or a digit";
const SHORT_WORD: &str = "it has at most 63 letters, digits, `_`, `.` and `-`, and begins with a letter or a digit";
const IMAGE: &str = "write it as `name`, `name:tag`, `registry/name:tag` or `name@sha256:digest`";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// The text is not such a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NotAName> {
                let text = text.into();
                if $check(&text) { Ok(Self(text)) } else { Err(NotAName { what: $what, rule: $rule, text }) }
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Makes a name from parts that are known to be valid.
            #[allow(dead_code, reason = "some names are only ever given to us")]
            pub(crate) fn made(text: String) -> Self {
                debug_assert!($check(&text), "{text} is not {}", $what);
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The engine's own id of a container. Two containers are the same only if their ids are.
    ContainerId, "a container's id", WORD, is_word
);
name!(
    /// The name of a container: for people, and to find a container whose id is not known. It does not identify a
    /// container.
    ContainerName, "a container's name", WORD, is_word
);
name!(
    /// The name of a volume, which is its id.
    VolumeName, "a volume's name", WORD, is_word
);
name!(NetworkName, "a network's name", WORD, is_word);
name!(
    /// The name that separates the objects of one Longshore on an engine from another's.
    Instance, "an instance's name", SHORT_WORD, is_short_word
);
name!(
    /// The engine's own id of an image: what a tag meant when it was looked up.
    ImageId, "an image's id", IMAGE, is_image
);

impl Instance {
    /// Name of the instance's network.
    #[must_use]
    pub fn network_name(&self) -> NetworkName {
        NetworkName::made(format!("longshore-{self}"))
    }

    /// Returns a new name for a sandbox.
    #[must_use]
    pub fn sandbox_name(&self) -> ContainerName {
        ContainerName::made(format!("longshore-sandbox-{self}-{:012x}", rand::random::<u64>() >> 16))
    }
}

/// Proves to an agent that a session belongs to its own job. Part of the container's command line, so it is not a
/// secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

impl Nonce {
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_read_as_a_path_a_query_or_an_option_is_no_name() {
        for text in ["", ".", "..", "../x", "-f", "a/b", "a?b", "a#b", "a%2fb", "a b", "a\nb", "ä", &"a".repeat(256)] {
            assert!(ContainerId::new(text).is_err(), "{text:?}");
            assert!(VolumeName::new(text).is_err(), "{text:?}");
        }
        for text in ["0123456789ab", "longshore-job-x-1", "a.b_c-d"] {
            assert_eq!(ContainerName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn an_image_is_one_path_at_most() {
        for text in ["sha256:0123456789", "longshore-agent:0123", "docker.io/library/longshore-agent:0123"] {
            assert!(ImageId::new(text).is_ok(), "{text}");
        }
        for text in ["", "x/../../containers/json?limit=1#", "a//b", "/a", "a/", "a:", "a b", "-a", "a/.b", "a%2e"] {
            assert!(ImageId::new(text).is_err(), "{text}");
        }
    }
}
