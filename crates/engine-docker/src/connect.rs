//! Connects to a Docker engine and agrees with it on a version of the API.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use longshore_executor::EngineError;

use crate::error::{ApiResult as _, from_api, io_error, no_socket, socket_denied, too_new, too_old, unsupported_host};
use crate::transport::transport;

/// The oldest API that has everything we need: Docker 20.10's.
const OLDEST_API: (usize, usize) = (1, 41);
/// How long a call may wait for the first byte of its answer.
const CALL_SECONDS: u64 = 120;

/// A connection to an engine.
pub(crate) struct Connected {
    pub(crate) docker: Docker,
    /// A guard answers in its place.
    pub(crate) is_guarded: bool,
}

/// Connects and agrees on a version, in one call.
///
/// # Errors
/// If there is no socket, no permission for it, no answer, or the engine is too old or too new. Each error says what to
/// do.
pub(crate) async fn connect(host: &str) -> Result<Connected, EngineError> {
    let path = host.strip_prefix("unix://").filter(|path| path.starts_with('/'));
    let path = PathBuf::from(path.ok_or_else(|| unsupported_host(host))?);
    let asked = dial(&path, String::new(), API_DEFAULT_VERSION)?.version().await;
    let version = asked.map_err(|error| match io_error(&error).map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => socket_denied(&path, group_of(&path)),
        Some(io::ErrorKind::NotFound) => no_socket(&path),
        _ => from_api("tell its version", error),
    })?;
    let agreed = agree(&version.api_version.unwrap_or_default(), version.min_api_version.as_deref())?;
    let is_guarded = version.platform.is_some_and(|platform| platform.name == longshore_guard::PLATFORM);
    Ok(Connected { docker: dial(&path, format!("/v{agreed}"), &agreed)?, is_guarded })
}

/// Returns the newest API version that both sides support. `newest` and `oldest` come from the engine.
fn agree(newest: &str, oldest: Option<&str>) -> Result<ClientVersion, EngineError> {
    let ours = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
    let theirs = numbers(newest).filter(|theirs| *theirs >= OLDEST_API).ok_or_else(|| too_old(newest))?;
    if let Some(oldest) = oldest
        && numbers(oldest).is_some_and(|oldest| oldest > ours)
    {
        return Err(too_new(oldest, &API_DEFAULT_VERSION.to_string()));
    }
    let (major_version, minor_version) = theirs.min(ours);
    Ok(ClientVersion { major_version, minor_version })
}

fn numbers(version: &str) -> Option<(usize, usize)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Returns the API version that was agreed on, as `1.41`.
pub(crate) fn api_version(docker: &Docker) -> String {
    docker.client_version().to_string()
}

fn dial(socket: &Path, prefix: String, version: &ClientVersion) -> Result<Docker, EngineError> {
    let transport = transport(socket.to_owned(), prefix);
    Docker::connect_with_custom_transport(transport, Some("http://docker"), CALL_SECONDS, version)
        .api("be connected to")
}

fn group_of(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.gid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_api_that_both_sides_speak_is_agreed_on() {
        let ours = API_DEFAULT_VERSION.to_string();
        for (newest, oldest, agreed) in [
            ("1.41", Some("1.12"), "1.41"),
            ("1.45", Some("1.24"), "1.45"),
            ("1.41", None, "1.41"),
            ("1.99", Some("1.44"), &ours),
            ("1.99", Some(&ours), &ours),
            ("2.0", Some("1.44"), &ours),
        ] {
            assert_eq!(agree(newest, oldest).unwrap().to_string(), agreed, "{newest} {oldest:?}");
        }
        for (newest, oldest) in [("1.40", Some("1.12")), ("1.9", None), ("", None), ("new", Some("old"))] {
            let error = agree(newest, oldest).unwrap_err().to_string();
            assert!(error.contains("1.41 or later"), "{newest} {oldest:?}: {error}");
        }
        let error = agree("1.99", Some("1.98")).unwrap_err().to_string();
        assert!(error.contains("1.98") && error.contains(&ours), "{error}");
    }
}
