//! Docker for a job: what a job asks for, and what a repository's administrator grants.

use std::{fmt, str::FromStr};

use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a job's own builder is called, for `docker buildx`.
pub const BUILDER: &str = "longshore";
/// Where it listens, on the loopback of the job's pod.
pub const BUILDER_ADDRESS: &str = "tcp://127.0.0.1:8372";
/// The folder in a job's containers in which `docker buildx` finds it.
pub const BUILDX_FOLDER: &str = "/longshore/buildx";

/// The word for the engine's own socket.
const RAW: &str = "raw";

/// What a job asks for, as its `docker` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Docker {
    #[default]
    None,
    /// `true`: a guarded API.
    Guarded,
    /// `raw`: the engine's own socket, which is root on its host.
    Raw,
}

impl Docker {
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    #[must_use]
    pub const fn is_raw(&self) -> bool {
        matches!(self, Self::Raw)
    }
}

/// A repository's setting: which of its jobs may have Docker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DockerGrant {
    /// `false`: none.
    #[default]
    None,
    /// Jobs of these branches may have a guarded API, and with `buildkit` a builder of their own.
    Branches { branches: Vec<String>, buildkit: bool },
    /// `"raw"`: every job may have what it asks for, also the engine's own socket.
    Raw,
}

/// A text that is not a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`docker` says which jobs may have Docker: write false, {{\"branches\": [\"main\"]}} for a guarded API, {{\"branches\": [\"main\"], \"buildkit\": true}} for one and a builder of the job's own, or \"raw\" for the engine's own socket"
)]
pub struct NotAGrant;

impl DockerGrant {
    /// Whether its jobs with a guarded API may have a builder of their own.
    #[must_use]
    pub const fn allows_builder(&self) -> bool {
        match self {
            Self::None => false,
            Self::Branches { buildkit, .. } => *buildkit,
            Self::Raw => true,
        }
    }

    /// Returns the form that the database keeps, and the API shows.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "false".to_owned())
    }
}

impl FromStr for DockerGrant {
    type Err = NotAGrant;

    fn from_str(text: &str) -> Result<Self, NotAGrant> {
        serde_json::from_str(text).map_err(|_| NotAGrant)
    }
}

impl Serialize for Docker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_bool(false),
            Self::Guarded => serializer.serialize_bool(true),
            Self::Raw => serializer.serialize_str(RAW),
        }
    }
}

impl<'de> Deserialize<'de> for Docker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Docker;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or \"raw\"")
            }

            fn visit_bool<E: serde::de::Error>(self, asked: bool) -> Result<Docker, E> {
                Ok(if asked { Docker::Guarded } else { Docker::None })
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Docker, E> {
                match word {
                    RAW => Ok(Docker::Raw),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl Serialize for DockerGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_bool(false),
            Self::Raw => serializer.serialize_str(RAW),
            Self::Branches { branches, buildkit } => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("branches", branches)?;
                if *buildkit {
                    map.serialize_entry("buildkit", buildkit)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for DockerGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Guarded {
            branches: Vec<String>,
            #[serde(default)]
            buildkit: bool,
        }

        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = DockerGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, {\"branches\": [...]} or \"raw\"")
            }

            fn visit_bool<E: serde::de::Error>(self, granted: bool) -> Result<DockerGrant, E> {
                match granted {
                    false => Ok(DockerGrant::None),
                    true => Err(E::invalid_value(serde::de::Unexpected::Bool(true), &self)),
                }
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<DockerGrant, E> {
                match word {
                    RAW => Ok(DockerGrant::Raw),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DockerGrant, A::Error> {
                let Guarded { branches, buildkit } = Guarded::deserialize(MapAccessDeserializer::new(map))?;
                Ok(if branches.is_empty() { DockerGrant::None } else { DockerGrant::Branches { branches, buildkit } })
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_granted_is_written_as_people_write_it() {
        for (text, asked) in [("true", Docker::Guarded), ("false", Docker::None), ("\"raw\"", Docker::Raw)] {
            assert_eq!(serde_json::from_str::<Docker>(text).unwrap(), asked);
            assert_eq!(serde_json::to_string(&asked).unwrap(), text);
        }
        let main = |buildkit| DockerGrant::Branches { branches: vec!["main".to_owned()], buildkit };
        for (text, grant) in [
            ("false", DockerGrant::None),
            ("{\"branches\":[\"main\"]}", main(false)),
            ("{\"branches\":[\"main\"],\"buildkit\":true}", main(true)),
            ("\"raw\"", DockerGrant::Raw),
        ] {
            assert_eq!(text.parse::<DockerGrant>().unwrap(), grant);
            assert_eq!(grant.to_json(), text);
        }
        assert_eq!("{\"branches\":[]}".parse::<DockerGrant>().unwrap(), DockerGrant::None);
        for wrong in ["true", "\"all\"", "{}", "{\"branches\":\"main\"}", "{\"branches\":[],\"tags\":[]}", "1", ""] {
            assert!(wrong.parse::<DockerGrant>().is_err(), "{wrong}");
        }
    }
}
