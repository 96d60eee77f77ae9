//! Turns bollard's errors and the engine's texts into our errors. Apart from `fault`, no other module interprets these
//! texts.

use std::error::Error as _;
use std::io;
use std::path::Path;

use bollard::errors::Error as ApiError;
use longshore_executor::names::NotAName;
use longshore_executor::{EngineError, Refusal};

use crate::transport::TooLong;

/// Converts bollard's errors where they occur.
pub(crate) trait ApiResult<T> {
    /// `what` completes "the engine refused to …".
    fn api(self, what: &'static str) -> Result<T, EngineError>;
}

impl<T> ApiResult<T> for Result<T, ApiError> {
    fn api(self, what: &'static str) -> Result<T, EngineError> {
        self.map_err(|error| from_api(what, error))
    }
}

/// Converts bollard's error.
pub(crate) fn from_api(what: &'static str, error: ApiError) -> EngineError {
    match error {
        ApiError::DockerResponseServerError { status_code, message } => refused(what, status_code, message),
        ApiError::DockerStreamError { error } => refused(what, 500, error),
        ApiError::RequestTimeoutError => no_answer("no answer within two minutes"),
        // Something answered that is not an engine.
        ApiError::JsonDataError { .. }
        | ApiError::JsonSerdeError { .. }
        | ApiError::StrParseError { .. }
        | ApiError::APIVersionParseError {}
        | ApiError::HttpHeaderNotFoundError(_)
        | ApiError::HttpHeaderToStrError { .. } => not_understood(what, chain(&error)),
        ApiError::HyperResponseError { ref err } if err.is_parse() => not_understood(what, chain(&error)),
        other => match too_long(&other) {
            Some(too_long) => not_understood(what, too_long),
            None => no_answer(&chain(&other)),
        },
    }
}

/// Returns the error for an engine that does not answer.
pub(crate) fn no_answer(reason: &str) -> EngineError {
    EngineError::Away(format!(
        "the Docker engine does not respond: {reason}; check that the Docker daemon runs (`docker info`)"
    ))
}

pub(crate) fn not_understood(what: &'static str, reason: impl ToString) -> EngineError {
    EngineError::NotUnderstood { what, reason: reason.to_string() }
}

/// Returns the error for an invalid name in an answer.
pub(crate) fn misnamed(what: &'static str) -> impl FnOnce(NotAName) -> EngineError {
    move |error| not_understood(what, error)
}

pub(crate) fn too_old(version: &str) -> EngineError {
    EngineError::Unsupported(format!(
        "the engine speaks API {version}, Longshore needs 1.41 or later: update Docker to 20.10 or later"
    ))
}

pub(crate) fn too_new(oldest: &str, ours: &str) -> EngineError {
    EngineError::Unsupported(format!(
        "the engine takes no API before {oldest}, Longshore speaks {ours} at most: update Longshore"
    ))
}

pub(crate) fn unsupported_host(host: &str) -> EngineError {
    EngineError::Unsupported(format!(
        "`{host}` is not an engine that can be used: Longshore talks to a unix socket, write unix:///var/run/docker.sock"
    ))
}

pub(crate) fn no_socket(path: &Path) -> EngineError {
    EngineError::Away(format!(
        "there is no engine socket at {}: start Docker, mount its socket (-v /var/run/docker.sock:/var/run/docker.sock), or set LONGSHORE_DOCKER_HOST",
        path.display()
    ))
}

pub(crate) fn socket_denied(path: &Path, gid: u32) -> EngineError {
    EngineError::NotPermitted(format!(
        "permission denied on the engine's socket {}: run Longshore with the socket's group (--group-add {gid}, or `usermod -aG docker USER` and a new login)",
        path.display()
    ))
}

fn refused(what: &'static str, code: u16, message: String) -> EngineError {
    // Only a guard says that the engine behind it does not answer.
    if code == 502 {
        return no_answer(&message);
    }
    let lower = message.to_ascii_lowercase();
    if lower.contains("all predefined address pools") || lower.contains("non-overlapping ipv4 address pool") {
        return EngineError::NoAddresses(
            "the engine has no address pool left for a network: remove unused networks (`docker network prune`), or give Longshore a subnet of its own (network_subnet)"
                .to_owned(),
        );
    }
    if lower.contains("no space left on device") {
        return EngineError::NoRoom(format!(
            "no space left on the engine's disk: free some (`docker system df`, `docker system prune`); it said: {message}"
        ));
    }
    if lower.contains("client version") && (lower.contains("is too new") || lower.contains("is too old")) {
        // The engine can be updated under a running server, and then no longer supports the agreed version.
        return EngineError::Away(format!(
            "the engine was replaced by one of another API: restart Longshore; it said: {message}"
        ));
    }
    let refusal = match code {
        404 => Refusal::NotFound,
        409 => Refusal::Conflict,
        500.. => Refusal::Failed,
        _ => Refusal::Invalid,
    };
    EngineError::Refused { refusal, what, code, message }
}

/// Returns the engine's own text, if the error is nothing but a refusal.
pub(crate) fn engine_text(error: &EngineError) -> &str {
    match error {
        EngineError::Refused { message, .. } => message,
        _ => "",
    }
}

/// Returns the text of an error and of everything below it: hyper's own text is only "client error".
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

/// Returns the I/O error at the bottom of a failed call, if that is what it was.
pub(crate) fn io_error(error: &ApiError) -> Option<&io::Error> {
    if let ApiError::IOError { err } = error {
        return Some(err);
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = inner.source();
    }
    None
}

fn too_long(error: &ApiError) -> Option<&TooLong> {
    io_error(error)?.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use longshore_core::ErrorKind;

    use super::*;

    fn said(status: u16, message: &str) -> EngineError {
        from_api("do it", ApiError::DockerResponseServerError { status_code: status, message: message.to_owned() })
    }

    #[test]
    fn both_texts_of_exhausted_address_pools_are_known() {
        for text in [
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            "all predefined address pools have been fully subnetted",
        ] {
            assert!(matches!(said(500, text), EngineError::NoAddresses(_)), "{text}");
        }
    }

    #[test]
    fn a_full_disk_of_the_engine_is_no_engine_that_is_gone() {
        let error = said(500, "mkdir /var/lib/docker/overlay2/x: no space left on device");
        assert_eq!(error.kind(), ErrorKind::DiskFull);
        assert_eq!(said(500, "something else").kind(), ErrorKind::EngineGone);
    }

    #[test]
    fn an_answer_that_is_none_is_no_engine_that_is_away() {
        let garbage = serde_json::from_str::<u32>("<html>").unwrap_err();
        let error = from_api("inspect a container", ApiError::JsonSerdeError { err: garbage });
        assert!(matches!(error, EngineError::NotUnderstood { .. }) && !error.is_transient(), "{error:?}");
        let error = from_api("inspect a container", ApiError::IOError { err: io::Error::other(TooLong(64 << 20)) });
        assert!(matches!(error, EngineError::NotUnderstood { .. }) && error.to_string().contains("64 MiB"), "{error}");
        let refused = ApiError::IOError { err: io::ErrorKind::ConnectionRefused.into() };
        assert!(from_api("inspect a container", refused).is_away());
    }
}
