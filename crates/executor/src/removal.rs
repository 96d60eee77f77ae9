//! Takes containers and volumes off the engine in the background, two at a time: removals stall starts (moby issue 41738),
//! and nobody waits for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use bollard::query_parameters::{RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::adoption;
use crate::engine::Shared;
use crate::error::{ApiResult as _, EngineError};
use crate::job::ContainerFacts;
use crate::labels::AttemptId;
use crate::link::LinkReader;
use crate::placement::Placed;
use crate::sandbox::{Sandbox, Sandboxes};

/// Removals at one time.
const AT_ONCE: usize = 2;
/// How long a removal makes way for starts.
const MAKES_WAY: Duration = Duration::from_secs(2);
/// How long an agent that has said its last word may take to end.
const LAST_BREATH: Duration = Duration::from_secs(3);
/// The engine's own removals are seldom longer; after that, the next sweep gets it.
const TRIES: usize = 8;
const IN_THE_WAY: Duration = Duration::from_millis(50);
const LONGEST_IN_THE_WAY: Duration = Duration::from_secs(2);
/// Between two tries on an engine that is away.
const AWAY: Duration = Duration::from_secs(1);
const LONGEST_AWAY: Duration = Duration::from_secs(60);
/// In the background an engine is waited for however long it is away: what it kept alive would run on.
pub(crate) const FOR_EVER: Duration = Duration::MAX;

/// Owns what is being removed.
pub(crate) struct Removals {
    slots: Semaphore,
    tasks: TaskTracker,
}

/// What is left of a job.
pub(crate) struct Remains {
    container: String,
    volume: String,
    sandbox: Sandbox,
    /// Of an agent that has said that it leaves the sandbox as it found it. Its end tells that the container's processes are gone.
    reader: Option<LinkReader>,
}

impl Remains {
    pub(crate) fn of(facts: ContainerFacts, sandbox: Sandbox, reader: Option<LinkReader>) -> Self {
        Self { container: facts.container, volume: facts.volume, sandbox, reader }
    }
}

impl Removals {
    pub(crate) fn new() -> Self {
        Self { slots: Semaphore::new(AT_ONCE), tasks: TaskTracker::new() }
    }

    /// A container of its own.
    pub(crate) fn container(&self, shared: &Arc<Shared>, id: String) {
        self.spawn(shared, |shared| async move { remove_container(&shared, &id, FOR_EVER).await });
    }

    /// A sandbox that nobody may have again. Its lock is held until it is gone: the next process would find it else.
    pub(crate) fn sandbox(&self, shared: &Arc<Shared>, sandbox: Sandbox) {
        self.spawn(shared, |shared| async move {
            let gone = remove_container(&shared, &sandbox.id, FOR_EVER).await;
            drop(sandbox);
            gone
        });
    }

    /// A job's container, its volume, and its sandbox back to the pool.
    pub(crate) fn job(&self, shared: &Arc<Shared>, remains: Remains) {
        let of_task = Arc::clone(shared);
        self.tasks.spawn(async move {
            let shared = of_task;
            let Remains { container, volume, sandbox, reader } = remains;
            let as_it_was = reader.is_some();
            let ended = match reader {
                Some(mut reader) => tokio::time::timeout(LAST_BREATH, reader.drain()).await.is_ok(),
                None => false,
            };
            let mut sandbox = Some(sandbox);
            if ended && let Some(sandbox) = sandbox.take() {
                Sandboxes::give_back(&shared, sandbox);
            }
            let stop = shared.stop.clone();
            let work = async {
                let Ok(_slot) = shared.removals.slots.acquire().await else { return };
                let _ = tokio::time::timeout(MAKES_WAY, shared.starts.quiet()).await;
                let gone = remove_container(&shared, &container, FOR_EVER).await;
                // Only an empty namespace may be placed to again.
                match sandbox {
                    Some(sandbox) if gone && as_it_was => Sandboxes::give_back(&shared, sandbox),
                    Some(sandbox) => Sandboxes::discard(&shared, sandbox),
                    None => {}
                }
                remove_volume(&shared, &volume, FOR_EVER).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Whatever is there of an attempt that nobody follows any more, its running steps with it.
    pub(crate) fn attempt(&self, shared: &Arc<Shared>, attempt: AttemptId) {
        self.spawn(shared, move |shared| async move {
            let found = while_away(FOR_EVER, || adoption::inspect(&shared, attempt)).await;
            // Container and volume are made together, and have one owner.
            if let Err(EngineError::Elsewhere { .. }) = found {
                return true;
            }
            if let Some(facts) = found.ok().flatten().and_then(|found| adoption::facts(found, attempt)) {
                remove_container(&shared, &facts.container, FOR_EVER).await;
                // Who used it last is not known: nobody gets it again.
                remove_container(&shared, &facts.sandbox, FOR_EVER).await;
            }
            remove_volume(&shared, &attempt.volume_name(), FOR_EVER).await
        });
    }

    /// A started container whose agent nobody will give a plan.
    pub(crate) fn placed(&self, shared: &Arc<Shared>, placed: Placed) {
        let Placed { facts, sandbox, .. } = placed;
        self.job(shared, Remains::of(facts, sandbox, None));
    }

    /// A start that nobody waits for any more: what comes of it is removed.
    pub(crate) fn abandoned(
        &self,
        shared: &Arc<Shared>,
        placement: JoinHandle<Result<Placed, EngineError>>,
        attempt: AttemptId,
    ) {
        let shared = Arc::clone(shared);
        self.tasks.spawn(async move {
            match placement.await {
                Ok(Ok(placed)) => shared.removals.placed(&shared, placed),
                // What was asked for may have been done though the answer was lost.
                Ok(Err(_)) | Err(_) => shared.removals.attempt(&shared, attempt),
            }
        });
    }

    fn spawn<F>(&self, shared: &Arc<Shared>, work: impl FnOnce(Arc<Shared>) -> F + Send + 'static)
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

/// Removes a job's container and what its agent wrote, for another of the same name; returns when they are gone. The sandbox is the caller's.
pub(crate) async fn make_way(shared: &Shared, facts: &ContainerFacts) {
    let patience = shared.options.patience;
    remove_container(shared, &facts.container, patience).await;
    remove_volume(shared, &facts.volume, patience).await;
}

/// Removes a container with its anonymous volumes, running or not. `true` if it is gone. `patience`: with an engine that is away.
pub(crate) async fn remove_container(shared: &Shared, id: &str, patience: Duration) -> bool {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    insist("container", id, patience, || {
        let options = options.clone();
        async move { shared.docker.remove_container(id, Some(options)).await.api("remove a container") }
    })
    .await
}

/// Removes a volume. `true` if it is gone. `patience`: with an engine that is away.
pub(crate) async fn remove_volume(shared: &Shared, name: &str, patience: Duration) -> bool {
    insist("volume", name, patience, || async move {
        let options = RemoveVolumeOptionsBuilder::new().build();
        shared.docker.remove_volume(name, Some(options)).await.api("remove a volume")
    })
    .await
}

/// Tries again while the engine says that something is in the way, and when it says a passing error of its own.
async fn insist<F>(what: &str, name: &str, patience: Duration, remove: impl Fn() -> F) -> bool
where
    F: Future<Output = Result<(), EngineError>>,
{
    let pauses = ExponentialBuilder::new().with_min_delay(IN_THE_WAY).with_max_delay(LONGEST_IN_THE_WAY);
    let removed = (|| while_away(patience, &remove))
        .retry(pauses.with_max_times(TRIES))
        .when(|error| !error.is_not_found() && !error.is_away())
        .notify(|error, _| tracing::debug!(what, name, %error, "not removed yet"))
        .await;
    match removed {
        Ok(()) => true,
        Err(error) if error.is_not_found() => true,
        Err(error) => {
            tracing::warn!(what, name, %error, "left on the engine");
            false
        }
    }
}

/// Asks again while the engine is away: what is there is still there when it is back.
async fn while_away<T, F>(patience: Duration, ask: impl Fn() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let begun = Instant::now();
    let pauses = ExponentialBuilder::new().with_min_delay(AWAY).with_max_delay(LONGEST_AWAY).without_max_times();
    ask.retry(pauses)
        .when(|error| error.is_away() && begun.elapsed() < patience)
        .notify(|error, _| tracing::debug!(%error, "the engine is away"))
        .await
}
