//! The engine's front door: connect, and what every part shares.
//!
//! The server and `longshore run` hold one [`Engine`] each, for as long as they live. Its background work (removals, making
//! sandboxes ready) is owned by it and ends with [`Engine::shutdown`].

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bollard::Docker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent_image::AgentImage;
use crate::error::{ApiResult as _, EngineError, io_kind};
use crate::image::Images;
use crate::network::Network;
use crate::options::EngineOptions;
use crate::removal::Removals;
use crate::sandbox::Sandboxes;

/// For the last removals of a process, on an engine that is there.
const DRAIN: Duration = Duration::from_secs(60);
/// The oldest API that has all we need: Docker 20.10's.
const OLDEST_API: (usize, usize) = (1, 41);

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
    pub(crate) removals: Removals,
    pub(crate) starts: Starts,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Engine {
    /// Connects and agrees on an API version, in one call.
    ///
    /// # Errors
    /// No socket, no permission on it, nobody answering, or an engine that is too old; each says what to do.
    pub async fn connect(options: EngineOptions) -> Result<Self, EngineError> {
        let docker = dial(&options.docker_host).await?;
        let shared = Arc::new(Shared {
            agent: AgentImage::new(&options),
            network: Network::new(&options),
            sandboxes: Sandboxes::new(),
            images: Images::new(),
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
    let version = docker.client_version();
    format!("{}.{}", version.major_version, version.minor_version)
}

async fn dial(host: &str) -> Result<Docker, EngineError> {
    let Some(path) = host.strip_prefix("unix://").filter(|path| path.starts_with('/')) else {
        return Err(EngineError::UnsupportedHost(host.to_owned()));
    };
    let path = PathBuf::from(path);
    let docker = Docker::connect_with_unix(host, 120, bollard::API_DEFAULT_VERSION).api("be connected to")?;
    let docker = match docker.negotiate_version().await {
        Ok(docker) => docker,
        Err(error) => {
            return Err(match io_kind(&error) {
                Some(std::io::ErrorKind::PermissionDenied) => EngineError::SocketDenied { gid: group_of(&path), path },
                Some(std::io::ErrorKind::NotFound) => EngineError::NoSocket(path),
                _ => EngineError::from_api("tell its version", error),
            });
        }
    };
    let version = docker.client_version();
    if (version.major_version, version.minor_version) < OLDEST_API {
        return Err(EngineError::TooOld(api_version(&docker)));
    }
    Ok(docker)
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
