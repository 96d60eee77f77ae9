//! The engine's front door: connect, and what every part shares.
//!
//! The server and `longshore run` hold one [`Engine`] each, for as long as they live. Its background work (removals, making
//! sandboxes ready) is owned by it and ends with [`Engine::shutdown`].

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent_image::AgentImage;
use crate::error::{ApiResult as _, EngineError, io_kind};
use crate::image::Images;
use crate::network::Network;
use crate::options::EngineOptions;
use crate::quota::Quotas;
use crate::removal::Removals;
use crate::sandbox::Sandboxes;

/// For the last removals of a process, on an engine that is there.
const DRAIN: Duration = Duration::from_secs(60);
/// The oldest API that has all we need: Docker 20.10's.
const OLDEST_API: (usize, usize) = (1, 41);
/// How long a call may wait for the first byte of its answer.
const CALL_SECONDS: u64 = 120;

/// A connection to the engine with everything of ours on it. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What every part of the executor works with.
pub(crate) struct Shared {
    pub(crate) docker: Docker,
    pub(crate) options: EngineOptions,
    pub(crate) agent: AgentImage,
    pub(crate) network: Network,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) images: Images,
    pub(crate) quotas: Quotas,
    pub(crate) removals: Removals,
    pub(crate) starts: Starts,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Engine {
    /// Connects and agrees on an API version, in one call.
    ///
    /// # Errors
    /// No socket, no permission on it, nobody answering, or an engine that is too old or too new; each says what to do.
    pub async fn connect(options: EngineOptions) -> Result<Self, EngineError> {
        let docker = dial(&options.docker_host).await?;
        let shared = Arc::new(Shared {
            agent: AgentImage::new(&options),
            network: Network::new(&options),
            sandboxes: Sandboxes::new(),
            images: Images::new(),
            quotas: Quotas::default(),
            removals: Removals::new(),
            starts: Starts::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            docker,
            options,
        });
        Ok(Self { shared })
    }

    /// Makes ready what the first job would have to wait for: the agent's image and volume, the network, spare sandboxes.
    ///
    /// # Errors
    /// What the first job would have met.
    pub async fn prepare(&self) -> Result<(), EngineError> {
        self.shared.agent.ready(&self.shared).await?;
        if self.shared.options.sandboxes_ready > 0 {
            self.shared.network.ready(&self.shared).await?;
            Sandboxes::refill(&self.shared);
        }
        Ok(())
    }

    /// Waits until everything that is due to be removed is.
    pub async fn settled(&self) {
        self.shared.removals.drained().await;
    }

    /// Ends the background work. With `drain`, removals that are due are done first, as far as an engine that is away allows;
    /// without, the next start's sweep finds what is left. Idle sandboxes of the pool are removed unless they end by themselves.
    pub async fn shutdown(&self, drain: bool) {
        if drain {
            let drained = async {
                // Removals give sandboxes back to the pool.
                self.shared.removals.drained().await;
                Sandboxes::drain(&self.shared);
                self.shared.removals.drained().await;
            };
            let _ = tokio::time::timeout(self.shared.options.patience.max(DRAIN), drained).await;
        }
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

/// The API version that was agreed on, as `1.41`.
pub(crate) fn api_version(docker: &Docker) -> String {
    docker.client_version().to_string()
}

async fn dial(host: &str) -> Result<Docker, EngineError> {
    let Some(path) = host.strip_prefix("unix://").filter(|path| path.starts_with('/')) else {
        return Err(EngineError::UnsupportedHost(host.to_owned()));
    };
    let path = PathBuf::from(path);
    let docker = Docker::connect_with_unix(host, CALL_SECONDS, API_DEFAULT_VERSION).api("be connected to")?;
    let said = match docker.version().await {
        Ok(said) => said,
        Err(error) => {
            return Err(match io_kind(&error) {
                Some(std::io::ErrorKind::PermissionDenied) => EngineError::SocketDenied { gid: group_of(&path), path },
                Some(std::io::ErrorKind::NotFound) => EngineError::NoSocket(path),
                _ => EngineError::from_api("tell its version", error),
            });
        }
    };
    let agreed = agree(&said.api_version.unwrap_or_default(), said.min_api_version.as_deref())?;
    let docker = Docker::connect_with_unix(host, CALL_SECONDS, &agreed).api("be connected to")?;
    let prefix = format!("/v{agreed}");
    // bollard leaves the version out, and an engine takes that for its newest one.
    Ok(docker.with_request_modifier(move |mut request| {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = parts.path_and_query.and_then(|path| format!("{prefix}{path}").parse().ok());
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
        request
    }))
}

/// The newest API that both sides speak, of what the engine says of its `newest` and its `oldest`.
fn agree(newest: &str, oldest: Option<&str>) -> Result<ClientVersion, EngineError> {
    let ours = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
    let theirs = numbers(newest).filter(|theirs| *theirs >= OLDEST_API);
    let theirs = theirs.ok_or_else(|| EngineError::TooOld(newest.to_owned()))?;
    if let Some(oldest) = oldest
        && numbers(oldest).is_some_and(|oldest| oldest > ours)
    {
        return Err(EngineError::TooNew { oldest: oldest.to_owned(), ours: API_DEFAULT_VERSION.to_string() });
    }
    let (major_version, minor_version) = theirs.min(ours);
    Ok(ClientVersion { major_version, minor_version })
}

fn numbers(version: &str) -> Option<(usize, usize)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn group_of(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.gid())
}

/// How many jobs are being started at the moment: background work waits for none.
#[derive(Default)]
pub(crate) struct Starts {
    count: AtomicUsize,
    none: Notify,
}

impl Starts {
    /// A start is under way until the guard is dropped.
    pub(crate) fn begin(&self) -> StartGuard<'_> {
        self.count.fetch_add(1, Ordering::AcqRel);
        StartGuard(self)
    }

    /// Returns when no start is under way.
    pub(crate) async fn quiet(&self) {
        loop {
            let notified = self.none.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

pub(crate) struct StartGuard<'a>(&'a Starts);

impl Drop for StartGuard<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
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
            assert!(matches!(agree(newest, oldest), Err(EngineError::TooOld(_))), "{newest} {oldest:?}");
        }
        assert!(matches!(agree("1.99", Some("1.98")), Err(EngineError::TooNew { .. })));
    }
}
