//! What a guard knows of the engine behind it and of its host.

use serde_json::Value;

use crate::refusal::{Judged, refuse};
use crate::server_own;
use crate::target::{NEWEST_API, OLDEST_ENGINE};

/// The engine behind the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// The minor version of the API that requests to the engine use.
    pub api: u32,
    pub version: String,
    pub os: String,
    pub arch: String,
    /// The engine's processors, in units of 10^-9. The engine refuses to give a container more.
    pub nano_cpus: i64,
}

impl EngineFacts {
    /// Reads the engine's `/version` and `/info`.
    ///
    /// # Errors
    /// If the engine is too old or too new for the guard, or the answers are not those of an engine.
    pub fn read(version: &Value, info: &Value) -> Result<Self, String> {
        let text = |key: &str| version.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let minor = |key: &str| text(key).strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
        let newest = minor("ApiVersion").ok_or("it does not tell its API version")?;
        if newest < OLDEST_ENGINE {
            return Err(format!(
                "its API version is 1.{newest}: the guard needs 1.{OLDEST_ENGINE} (Docker 20.10) or later"
            ));
        }
        let api = newest.min(NEWEST_API);
        if minor("MinAPIVersion").is_some_and(|oldest| oldest > api) {
            return Err(format!("it supports only API versions newer than 1.{NEWEST_API}: update Longshore"));
        }
        let cpus = info.get("NCPU").and_then(Value::as_i64).filter(|cpus| *cpus > 0).unwrap_or(1);
        Ok(Self {
            api,
            version: text("Version"),
            os: text("Os"),
            arch: text("Arch"),
            nano_cpus: cpus.saturating_mul(1_000_000_000),
        })
    }
}

/// What a server's guard knows of itself and its host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// The first 12 hexadecimal digits of the SHA-256 of the guard's own program.
    pub program: String,
    /// The path of the engine's socket on its host. `None` if it could not be determined.
    pub socket: Option<String>,
}

impl Host {
    /// Returns the name of the image that holds the guard's own program.
    pub(crate) fn image(&self) -> String {
        format!("{}:{}", server_own::AGENT, self.program)
    }

    pub(crate) fn socket(&self) -> Judged<&str> {
        match &self.socket {
            Some(path) => Ok(path),
            None => refuse!(Server, "the guard does not know the path of the engine's socket on its host"),
        }
    }
}
