//! What can go wrong between us and the engine, told apart in one place.
//!
//! Made from bollard's errors by [`EngineError::from_api`]; turned into a job's outcome by [`EngineError::outcome`]. Every
//! text says what to do.

use std::error::Error as _;
use std::path::PathBuf;

use bollard::errors::Error as ApiError;
use longshore_core::{ErrorKind, Outcome};

/// A call or a piece of work on the engine that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    #[error(
        "`{0}` is not an engine that can be used: Longshore talks to a unix socket, write unix:///var/run/docker.sock"
    )]
    UnsupportedHost(String),
    #[error(
        "there is no engine socket at {}: start Docker, mount its socket (-v /var/run/docker.sock:/var/run/docker.sock), or set LONGSHORE_DOCKER_HOST",
        .0.display()
    )]
    NoSocket(PathBuf),
    #[error(
        "permission denied on the engine's socket {}: run Longshore with the socket's group (--group-add {gid}, or `usermod -aG docker USER` and a new login)",
        .path.display()
    )]
    SocketDenied { path: PathBuf, gid: u32 },
    #[error("the engine does not answer: {0}; check that the Docker daemon runs (`docker info`)")]
    Gone(String),
    #[error("the engine speaks API {0}, Longshore needs 1.41 or later: update Docker to 20.10 or later")]
    TooOld(String),
    #[error("the engine takes no API before {oldest}, Longshore speaks {ours} at most: update Longshore")]
    TooNew { oldest: String, ours: String },
    #[error("the engine was replaced by one of another API: restart Longshore; it said: {0}")]
    Replaced(String),
    #[error(
        "the engine has no address pool left for a network: remove unused networks (`docker network prune`), or give Longshore a subnet of its own (network_subnet)"
    )]
    AddressPoolsExhausted,
    #[error("no space left on the engine's disk: free some (`docker system df`, `docker system prune`); it said: {0}")]
    DiskFull(String),
    #[error("Longshore's own program could not be started in a container: {0}; {hint}", hint = AGENT_HINT)]
    AgentFailed(String),
    #[error(
        "image `{image}` cannot be had: {reason}; check its name, or `docker login` on the engine's host for a private registry"
    )]
    ImageMissing { image: String, reason: String },
    #[error(
        "image `{image}` is not on this engine and could not be pulled: {reason}; check that the engine's host reaches the registry, or `docker load` the image there"
    )]
    PullFailed { image: String, reason: String },
    #[error(
        "container {container} is another Longshore's (instance {instance}), which runs this job: it is left alone. The data folder of this server is a copy of that one's; `longshore restore --take-over` before its first start takes jobs over"
    )]
    Elsewhere { container: String, instance: String },
    #[error("the engine refused to {what} ({status}): {message}")]
    Refused { what: &'static str, status: u16, message: String },
    #[error("{what}: {reason}")]
    Local { what: &'static str, reason: String },
}

const AGENT_HINT: &str =
    "the program has to be of the engine's architecture, and the engine's data folder must not be mounted noexec";

impl EngineError {
    /// What bollard says, in our words. `what` completes "the engine refused to …".
    pub(crate) fn from_api(what: &'static str, error: ApiError) -> Self {
        match error {
            ApiError::DockerResponseServerError { status_code, message } => Self::refused(what, status_code, message),
            ApiError::DockerStreamError { error } => Self::refused(what, 500, error),
            ApiError::SocketNotFoundError(path) => Self::NoSocket(path.into()),
            ApiError::RequestTimeoutError => Self::Gone("no answer within two minutes".to_owned()),
            other => Self::Gone(chain(&other)),
        }
    }

    fn refused(what: &'static str, status: u16, message: String) -> Self {
        let lower = message.to_ascii_lowercase();
        if lower.contains("all predefined address pools") || lower.contains("non-overlapping ipv4 address pool") {
            Self::AddressPoolsExhausted
        } else if lower.contains("no space left on device") {
            Self::DiskFull(message)
        } else if lower.contains("client version") && (lower.contains("is too new") || lower.contains("is too old")) {
            // An agreed version fits until the engine under a running server is updated.
            Self::Replaced(message)
        } else {
            Self::Refused { what, status, message }
        }
    }

    /// Whether the engine said that the thing does not exist.
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether nobody answers that we can talk to: the engine may come back, or Longshore be started again.
    pub(crate) const fn is_away(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::NoSocket(_) | Self::Replaced(_))
    }

    /// Whether a job that should start waits for it to pass: somebody has to do something on the engine's host.
    pub(crate) const fn is_waited_for(&self) -> bool {
        self.is_away() || matches!(self, Self::DiskFull(_))
    }

    /// Whether the same question may have another answer soon: nobody is there, the engine is just starting or ending, or
    /// a container is just changing.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        self.is_away() || matches!(self, Self::Refused { status: 409 | 500.., .. })
    }

    /// Whether the engine said that something is in the way (a name taken, a removal under way, a volume in use).
    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// What the engine said, if it said anything.
    pub(crate) fn engine_text(&self) -> &str {
        match self {
            Self::Refused { message, .. } => message,
            _ => "",
        }
    }

    /// Whose fault it was, for the job that met it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnsupportedHost(_)
            | Self::NoSocket(_)
            | Self::SocketDenied { .. }
            | Self::Gone(_)
            | Self::TooOld(_)
            | Self::TooNew { .. }
            | Self::Replaced(_)
            | Self::AddressPoolsExhausted
            | Self::Refused { .. } => ErrorKind::EngineGone,
            Self::DiskFull(_) => ErrorKind::DiskFull,
            Self::AgentFailed(_) => ErrorKind::AgentFailed,
            Self::ImageMissing { .. } => ErrorKind::ImageMissing,
            Self::PullFailed { .. } => ErrorKind::PullFailed,
            Self::Elsewhere { .. } => ErrorKind::Lost,
            Self::Local { .. } => ErrorKind::Internal,
        }
    }

    /// The outcome of a job that met it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome::Error { kind: self.kind(), message: self.to_string() }
    }
}

/// Puts bollard's errors into our words where they come up.
pub(crate) trait ApiResult<T> {
    /// `what` completes "the engine refused to …".
    fn api(self, what: &'static str) -> Result<T, EngineError>;
}

impl<T> ApiResult<T> for Result<T, ApiError> {
    fn api(self, what: &'static str) -> Result<T, EngineError> {
        self.map_err(|error| EngineError::from_api(what, error))
    }
}

/// The error and everything below it: hyper's own text is only "client error".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

/// The kind of the I/O error at the bottom of a failed connection, if that is what it was.
pub(crate) fn io_kind(error: &ApiError) -> Option<std::io::ErrorKind> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        source = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, message: &str) -> EngineError {
        EngineError::from_api(
            "do it",
            ApiError::DockerResponseServerError { status_code: status, message: message.to_owned() },
        )
    }

    #[test]
    fn both_texts_of_exhausted_address_pools_are_known() {
        for text in [
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            "all predefined address pools have been fully subnetted",
        ] {
            assert!(matches!(said(500, text), EngineError::AddressPoolsExhausted), "{text}");
        }
    }

    #[test]
    fn a_full_disk_of_the_engine_is_no_engine_that_is_gone() {
        let error = said(500, "mkdir /var/lib/docker/overlay2/x: no space left on device");
        assert_eq!(error.kind(), ErrorKind::DiskFull);
        assert_eq!(said(500, "something else").kind(), ErrorKind::EngineGone);
    }
}
