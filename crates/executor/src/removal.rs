//! Takes containers and volumes off the engine in the background, two at a time: removals stall starts (moby issue 41738),
//! and nobody waits for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::query_parameters::{RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::berth::{Berth, Berths};
use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::link::LinkReader;
use crate::mooring::Moored;

/// Removals at one time.
const AT_ONCE: usize = 2;
/// How long a removal makes way for starts.
const MAKES_WAY: Duration = Duration::from_secs(2);
/// How long an agent that has said its last word may take to end.
const LAST_BREATH: Duration = Duration::from_secs(3);
/// The engine's own removals are seldom longer; after that, the next sweep gets it.
const TRIES: u32 = 8;
/// Between two tries on an engine that is away.
const AWAY: Duration = Duration::from_secs(1);

/// Owns what is being removed.
pub(crate) struct Removals {
    slots: Semaphore,
    tasks: TaskTracker,
}

/// What is left of a job.
pub(crate) struct Remains {
    pub(crate) container: Option<String>,
    pub(crate) volume: String,
    pub(crate) berth: Option<Berth>,
    /// Its end tells that the container's processes are gone.
    pub(crate) reader: Option<LinkReader>,
}

impl Removals {
    pub(crate) fn new() -> Self {
        Self { slots: Semaphore::new(AT_ONCE), tasks: TaskTracker::new() }
    }

    /// A container of its own: a berth.
    pub(crate) fn container(&self, shared: &Arc<Shared>, id: String) {
        self.spawn(shared, |shared| async move { remove_container(&shared, &id).await });
    }

    /// A job's container, its volume, and its berth back to the pool.
    pub(crate) fn job(&self, shared: &Arc<Shared>, remains: Remains) {
        let of_task = Arc::clone(shared);
        self.tasks.spawn(async move {
            let shared = of_task;
            let Remains { container, volume, berth, reader } = remains;
            let ended = match reader {
                Some(mut reader) => tokio::time::timeout(LAST_BREATH, reader.drain()).await.is_ok(),
                None => false,
            };
            let mut berth = berth;
            if ended && let Some(berth) = berth.take() {
                Berths::give_back(&shared, berth);
            }
            let stop = shared.stop.clone();
            let work = async {
                let Ok(_slot) = shared.removals.slots.acquire().await else { return };
                let _ = tokio::time::timeout(MAKES_WAY, shared.starts.quiet()).await;
                let gone = match &container {
                    Some(id) => remove_container(&shared, id).await,
                    None => true,
                };
                // Only an empty namespace may be moored to again.
                match berth {
                    Some(berth) if gone => Berths::give_back(&shared, berth),
                    Some(berth) => Berths::discard(&shared, berth),
                    None => {}
                }
                remove_volume(&shared, &volume).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// A volume without a container.
    pub(crate) fn volume(&self, shared: &Arc<Shared>, name: String) {
        self.spawn(shared, |shared| async move { remove_volume(&shared, &name).await });
    }

    /// A start that nobody waits for any more: what comes of it is removed.
    pub(crate) fn abandoned(
        &self,
        shared: &Arc<Shared>,
        mooring: JoinHandle<Result<Moored, EngineError>>,
        volume: String,
    ) {
        let shared = Arc::clone(shared);
        self.tasks.spawn(async move {
            match mooring.await {
                Ok(Ok(moored)) => {
                    let Moored { facts, berth, .. } = moored;
                    let remains = Remains {
                        container: Some(facts.container),
                        volume: facts.volume,
                        berth: Some(berth),
                        reader: None,
                    };
                    shared.removals.job(&shared, remains);
                }
                Ok(Err(_)) | Err(_) => shared.removals.volume(&shared, volume),
            }
        });
    }

    pub(crate) fn spawn<F>(&self, shared: &Arc<Shared>, work: impl FnOnce(Arc<Shared>) -> F + Send + 'static)
    where
        F: Future<Output = bool> + Send,
    {
        let shared = Arc::clone(shared);
        self.tasks.spawn(async move {
            let stop = shared.stop.clone();
            let work = async {
                let Ok(_slot) = shared.removals.slots.acquire().await else { return };
                let _ = tokio::time::timeout(MAKES_WAY, shared.starts.quiet()).await;
                work(Arc::clone(&shared)).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Waits for everything that is due.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

/// Removes a container with its anonymous volumes, running or not. `true` if it is gone.
pub(crate) async fn remove_container(shared: &Shared, id: &str) -> bool {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    insist(shared, "container", id, || {
        let options = options.clone();
        async move { shared.docker.remove_container(id, Some(options)).await.api("remove a container") }
    })
    .await
}

/// Removes a volume. `true` if it is gone.
pub(crate) async fn remove_volume(shared: &Shared, name: &str) -> bool {
    insist(shared, "volume", name, || async move {
        let options = RemoveVolumeOptionsBuilder::new().build();
        shared.docker.remove_volume(name, Some(options)).await.api("remove a volume")
    })
    .await
}

/// Tries again while the engine says that something is in the way, and when it says a passing error of its own.
async fn insist<F>(shared: &Shared, what: &str, name: &str, remove: impl Fn() -> F) -> bool
where
    F: Future<Output = Result<(), EngineError>>,
{
    let mut pause = Duration::from_millis(50);
    let patient_until = Instant::now() + shared.options.patience;
    let mut tries = 0;
    loop {
        match remove().await {
            Ok(()) => return true,
            Err(error) if error.is_not_found() => return true,
            // It is still there when the engine is back.
            Err(error) if error.is_away() && Instant::now() < patient_until => {
                tracing::debug!(what, name, %error, "the engine is away");
                tokio::time::sleep(AWAY).await;
            }
            Err(error) if tries >= TRIES => {
                tracing::warn!(what, name, %error, "left on the engine");
                return false;
            }
            Err(error) => {
                tries += 1;
                tracing::debug!(what, name, %error, "not removed yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        }
    }
}
