//! Removes containers and volumes in the background, two at a time: removals stall starts (moby issue 41738), and nobody waits
//! for them.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::{Engine, Pod};
use crate::error::EngineError;
use crate::names::ContainerId;
use crate::objects::ObjectId;
use crate::starts::Starts;

/// Removals at one time.
const AT_ONCE: usize = 2;
/// How long a removal waits for starts that are under way.
const YIELDS_FOR: Duration = Duration::from_secs(2);
/// The engine's own removals are seldom longer; after that, the next sweep gets it.
const TRIES: usize = 8;
/// Between two tries while something is in the way.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Between two tries on an engine that is away.
const AWAY: Duration = Duration::from_secs(1);
const LONGEST_AWAY: Duration = Duration::from_secs(60);
/// In the background an engine is waited for however long it is away: what it kept alive would run on.
pub(crate) const FOR_EVER: Duration = Duration::MAX;

/// Owns the removals that are under way.
pub(crate) struct Removals {
    engine: Arc<dyn Engine>,
    starts: Arc<Starts>,
    /// Ends them in the middle.
    stop: CancellationToken,
    slots: Semaphore,
    tasks: TaskTracker,
}

impl Removals {
    pub(crate) fn new(engine: Arc<dyn Engine>, starts: Arc<Starts>, stop: CancellationToken) -> Self {
        Self { engine, starts, stop, slots: Semaphore::new(AT_ONCE), tasks: TaskTracker::new() }
    }

    /// Removes one thing in the background.
    pub(crate) fn later(self: &Arc<Self>, object: ObjectId) {
        let removals = Arc::clone(self);
        self.spawn(async move {
            removals.in_turn(removals.now(&object, FOR_EVER)).await;
        });
    }

    /// Removes a container in the background and then drops `held`: a lock that keeps others from finding it until it is gone.
    pub(crate) fn later_holding(self: &Arc<Self>, container: ContainerId, held: impl Send + 'static) {
        let removals = Arc::clone(self);
        self.spawn(async move {
            removals.in_turn(removals.now(&ObjectId::Container(container), FOR_EVER)).await;
            drop(held);
        });
    }

    /// Runs a task that removes something. It ends with the process's removals; [`Removals::drained`] waits for it.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(work));
    }

    /// Runs `work` when its turn comes and, if that is soon, no start is under way.
    pub(crate) async fn in_turn<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let _slot = self.slots.acquire().await.ok()?;
        let _ = tokio::time::timeout(YIELDS_FOR, self.starts.none()).await;
        Some(work.await)
    }

    /// Removes one thing, a container with its processes. `true` if it is gone. An engine that is away is waited for as long
    /// as `patience`.
    pub(crate) async fn now(&self, object: &ObjectId, patience: Duration) -> bool {
        let pauses = ExponentialBuilder::new().with_min_delay(PAUSE).with_max_delay(LONGEST_PAUSE);
        let removed = (|| ask_while_away(patience, || self.engine.remove(object)))
            .retry(pauses.with_max_times(TRIES))
            .when(|error: &EngineError| !error.is_not_found() && !error.is_away())
            .notify(|error, _| tracing::debug!(%object, %error, "not removed yet"))
            .await;
        match removed {
            Ok(()) => true,
            Err(error) if error.is_not_found() => true,
            Err(error) => {
                tracing::warn!(%object, %error, "left on the engine");
                false
            }
        }
    }

    /// Removes a job's container and volume, because another one of the same name is about to be created. The sandbox stays.
    pub(crate) async fn make_way(&self, pod: &Pod, patience: Duration) {
        self.now(&ObjectId::Container(pod.container.clone()), patience).await;
        self.now(&ObjectId::Volume(pod.volume.clone()), patience).await;
    }

    /// Waits until everything that is due to be removed is.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

/// Asks again while the engine is away: what is there is still there when it is back.
pub(crate) async fn ask_while_away<T, F>(patience: Duration, ask: impl Fn() -> F) -> Result<T, EngineError>
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
