//! Removes containers and volumes in the background, two at a time: removals stall starts (moby issue 41738), and
//! nobody waits for them.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::AttemptId;
use crate::engine::{Engine, Pod, ToolSpec};
use crate::error::EngineError;
use crate::guarding::guard_log::GuardReports;
use crate::names::{ContainerId, ContainerName, VolumeName};
use crate::objects::{DockerPart, ObjectId};
use crate::removing::unanswered::Unanswered;
use crate::starts::Starts;

/// Number of concurrent removals.
const CONCURRENT_REMOVALS: usize = 2;
/// Number of further concurrent removals once nothing is started any more.
const EXTRA_REMOVALS_AT_SHUTDOWN: usize = 30;
/// How long a removal waits for starts in progress.
const MAX_WAIT_FOR_STARTS: Duration = Duration::from_secs(2);
/// With more removals than this in the queue, none waits for starts: where jobs start all the time, the engine would
/// otherwise accumulate objects.
const MAX_YIELDING_BACKLOG: usize = 8;
/// Number of objects of one job that are removed at once.
const CONCURRENT_OBJECTS: usize = 4;
/// A call that has not returned after this has reached the engine, and nothing that is in the way made it fail.
const CALL_TAKEN_AFTER: Duration = Duration::from_secs(1);
/// How many times the objects that a job with Docker made are listed and removed.
const DOCKER_ROUNDS: usize = 6;
/// How many times, and after which pauses, this is repeated in the background if those rounds were not enough.
const LATE_DOCKER_ROUNDS: usize = 60;
const LATE_ROUND_PAUSE: Duration = Duration::from_secs(60);
/// How long to wait for an engine that returns only some of the lists of these objects.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// The engine's own removals seldom take longer; after that, the next sweep removes the object.
const MAX_TRIES: usize = 8;
/// Pause between two tries while something is in the way.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Pause between two tries while the engine is away.
const ENGINE_AWAY_PAUSE: Duration = Duration::from_secs(1);
const MAX_ENGINE_AWAY_PAUSE: Duration = Duration::from_secs(60);
/// In the background, an engine that is away is waited for without limit, because its containers would otherwise run
/// on.
pub(crate) const FOR_EVER: Duration = Duration::MAX;

/// What was found of a job's Docker.
struct Round {
    left: Vec<String>,
    /// Some of it could not be listed.
    is_unknown: bool,
}

/// Owns the removals in progress.
pub(crate) struct Removals {
    engine: Arc<dyn Engine>,
    starts: Arc<Starts>,
    /// Ends the removals before they are done.
    stop: CancellationToken,
    slots: Semaphore,
    /// Held while the files of a large workspace are deleted.
    deleting_workspace: tokio::sync::Mutex<()>,
    /// Nothing is started any more.
    shutting_down: CancellationToken,
    /// Number of removals that wait for a slot.
    waiting: AtomicUsize,
    guard_reports: OnceLock<Arc<dyn GuardReports>>,
    /// Attempts whose guards refuse everything, as was reported already.
    frozen: Mutex<HashSet<AttemptId>>,
    /// Objects whose removal the engine does not answer.
    pub(crate) unanswered: Unanswered,
    tasks: TaskTracker,
    under_way: Counter,
    /// Number of removals that only wait for the engine to delete files.
    deleting: Counter,
}

/// Counts, and notifies of every change.
#[derive(Default)]
struct Counter {
    count: Arc<AtomicUsize>,
    changed: Arc<Notify>,
}

impl Counter {
    /// Counts one more until the guard is dropped.
    fn count_one(&self) -> Counted {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
        Counted { count: Arc::clone(&self.count), changed: Arc::clone(&self.changed) }
    }

    fn get(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

struct Counted {
    count: Arc<AtomicUsize>,
    changed: Arc<Notify>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

impl Removals {
    pub(crate) fn new(engine: Arc<dyn Engine>, starts: Arc<Starts>, stop: CancellationToken) -> Self {
        let unanswered = Unanswered::new(Arc::clone(&engine), stop.clone());
        Self {
            engine,
            starts,
            stop,
            slots: Semaphore::new(CONCURRENT_REMOVALS),
            deleting_workspace: tokio::sync::Mutex::default(),
            shutting_down: CancellationToken::new(),
            waiting: AtomicUsize::new(0),
            guard_reports: OnceLock::new(),
            frozen: Mutex::default(),
            unanswered,
            tasks: TaskTracker::new(),
            under_way: Counter::default(),
            deleting: Counter::default(),
        }
    }

    /// Removes an object in the background.
    pub(crate) fn later(self: &Arc<Self>, object: ObjectId) {
        let removals = Arc::clone(self);
        self.spawn(async move {
            removals.in_turn(removals.now(&object, FOR_EVER)).await;
        });
    }

    /// Removes a container in the background, then drops `held`: a lock that keeps others from finding the container
    /// until it is gone.
    pub(crate) fn later_holding(self: &Arc<Self>, container: ContainerId, held: impl Send + 'static) {
        let removals = Arc::clone(self);
        self.spawn(async move {
            removals.in_turn(removals.now(&ObjectId::Container(container), FOR_EVER)).await;
            drop(held);
        });
    }

    /// Runs a task that removes something. It ends with the process's removals; [`Removals::drained`] waits for it.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let counted = self.under_way.count_one();
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(async move {
            let _counted = counted;
            work.await;
        }));
    }

    /// Removes a volume that nothing uses in the background.
    pub(crate) fn volume_later(self: &Arc<Self>, volume: VolumeName) {
        let removals = Arc::clone(self);
        self.spawn(async move {
            let volume = ObjectId::Volume(volume);
            removals.in_turn(removals.deleting_files(removals.now(&volume, FOR_EVER))).await;
        });
    }

    /// Runs the last part of a removal, in which the engine deletes files.
    pub(crate) async fn deleting_files<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        // An engine that has not been asked yet does not continue on its own.
        if let Ok(done) = tokio::time::timeout(CALL_TAKEN_AFTER, &mut work).await {
            return done;
        }
        let _counted = self.deleting.count_one();
        work.await
    }

    /// Deletes all files of a volume that nothing uses and that may have very many. The engine creates no volume, and
    /// starts no container with one, while it deletes the files of another; so Longshore deletes the files before it
    /// asks the engine to remove the volume. When the process ends, it asks without waiting, because the engine then
    /// continues on its own.
    pub(crate) async fn delete_files(&self, volume: &VolumeName) {
        let tool =
            ToolSpec { arguments: &["empty", "/longshore/volumes/0"], read: &[], write: std::slice::from_ref(volume) };
        if let Some(Err(error)) = self.shutting_down.run_until_cancelled(self.engine.run_tool(&tool)).await {
            tracing::debug!(%volume, %error, "the engine deletes its files");
        }
    }

    /// Runs `work`, which deletes the files of a workspace, when no other is being deleted.
    pub(crate) async fn one_by_one(&self, work: impl Future<Output = ()>) {
        let _one = self.deleting_workspace.lock().await;
        work.await;
    }

    /// Runs `work` when a slot is free. Waits for starts in progress first, for at most [`MAX_WAIT_FOR_STARTS`], unless
    /// there is a backlog.
    pub(crate) async fn in_turn<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let slot = self.slots.acquire().await;
        let behind = self.waiting.fetch_sub(1, Ordering::Relaxed) - 1;
        let _slot = slot.ok()?;
        if behind <= MAX_YIELDING_BACKLOG {
            let _ = tokio::time::timeout(MAX_WAIT_FOR_STARTS, self.starts.none()).await;
        }
        Some(work.await)
    }

    /// Removes an object; a container with its processes. Returns `true` if it is gone. Waits up to `patience` for an
    /// engine that is away. What an engine that is there does not answer is removed later, if ever, and nothing waits for
    /// it.
    pub(crate) async fn now(&self, object: &ObjectId, patience: Duration) -> bool {
        if self.unanswered.contains(object) {
            return false;
        }
        let removed = remove_patiently(object, || ask_while_away(patience, || self.engine.remove(object))).await;
        if removed.as_ref().is_err_and(EngineError::is_unanswered) {
            self.unanswered.remove_later(object.clone());
        }
        removed
            .inspect_err(|error| tracing::warn!(%object, %error, "could not remove an object from the engine"))
            .is_ok()
    }

    /// Creates a container of a job. One of its name that an earlier try left is removed before.
    pub(crate) async fn create_replacing<F>(
        &self,
        name: ContainerName,
        patience: Duration,
        create: impl Fn() -> F,
    ) -> Result<ContainerId, EngineError>
    where
        F: Future<Output = Result<ContainerId, EngineError>>,
    {
        match create().await {
            Err(EngineError::NameTaken(_)) => {
                self.now(&ObjectId::NamedContainer(name), patience).await;
                create().await
            }
            created => created,
        }
    }

    /// Removes a job's container and volume, because another container with the same name is about to be created. The
    /// sandbox stays.
    pub(crate) async fn make_way(&self, pod: &Pod, patience: Duration) {
        self.now(&ObjectId::Container(pod.container.clone()), patience).await;
        self.now(&ObjectId::Volume(pod.volume.clone()), patience).await;
    }

    /// Removes all containers beside the attempt's own, no matter who started them. Returns `true` if they are gone.
    pub(crate) async fn members(&self, attempt: AttemptId, patience: Duration) -> bool {
        let Ok(found) = ask_while_away(patience, || self.engine.list_members(attempt)).await else { return false };
        let mut are_gone = true;
        for member in found {
            are_gone &= self.now(&ObjectId::Container(member), patience).await;
        }
        are_gone
    }

    /// Reports the records of guards before they are removed.
    pub(crate) fn report_guards_to(&self, reports: Arc<dyn GuardReports>) {
        self.guard_reports.get_or_init(|| reports);
    }

    /// Reports that a guard refuses its job everything from now on.
    pub(crate) async fn report_frozen(&self, attempt: AttemptId, reason: String) {
        let is_new = self.frozen.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt);
        if let Some(reports) = self.guard_reports.get().filter(|_| is_new) {
            reports.frozen(attempt, reason).await;
        }
    }

    async fn report_guard(&self, attempt: AttemptId, patience: Duration) {
        let Some(reports) = self.guard_reports.get() else { return };
        match ask_while_away(patience, || self.engine.read_guard_log(attempt)).await {
            Ok(Some(mut log)) => {
                if self.frozen.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt) {
                    log.frozen = None;
                }
                reports.report(attempt, log).await;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(?attempt, %error, "could not read what a job asked of its Docker API"),
        }
    }

    /// Removes everything that a job with Docker has besides its pod, no matter who made it, until nothing is left.
    /// What cannot be listed keeps nothing else.
    pub(crate) async fn docker_objects(self: &Arc<Self>, attempt: AttemptId, patience: Duration) {
        let mut is_reported = false;
        for _ in 0..DOCKER_ROUNDS {
            let Round { left, is_unknown } = self.round(attempt, patience, true, &mut is_reported).await;
            if left.is_empty() {
                return;
            }
            if is_unknown {
                tokio::time::sleep(MAX_RETRY_PAUSE).await;
            }
        }
        let Round { left, .. } = self.round(attempt, patience, false, &mut is_reported).await;
        if left.is_empty() {
            return;
        }
        tracing::warn!(?attempt, ?left, "some of a job's Docker objects are left on the engine");
        if let Some(reports) = self.guard_reports.get() {
            reports.outlived(attempt, left).await;
        }
        self.go_on_with(attempt);
    }

    /// Goes on in the background with what is left of a job's Docker: an engine under load may let go of it minutes
    /// later. Nobody waits for that, and what this process does not come to, the next sweep does.
    fn go_on_with(self: &Arc<Self>, attempt: AttemptId) {
        let removals = Arc::clone(self);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move {
            for _ in 0..LATE_DOCKER_ROUNDS {
                tokio::time::sleep(LATE_ROUND_PAUSE).await;
                if removals.round(attempt, LIST_TIMEOUT, true, &mut true).await.left.is_empty() {
                    tracing::info!(?attempt, "the rest of a job's Docker objects is removed");
                    return;
                }
            }
        }));
    }

    /// Looks once for what is left, and removes it if it `removes`.
    async fn round(&self, attempt: AttemptId, patience: Duration, removes: bool, is_reported: &mut bool) -> Round {
        let mut left = Vec::new();
        let (mut is_unknown, mut keeps_networks) = (false, false);
        for part in DockerPart::ALL {
            // The first waits for an engine that is away. One that answers there and not here may never do so.
            let within = if part == DockerPart::Guard { patience } else { patience.min(LIST_TIMEOUT) };
            let found = match ask_while_away(within, || self.engine.list_guarded(attempt, part)).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(?attempt, %part, %error, "could not list what is left of a job's Docker objects");
                    left.push(format!("{part} that cannot be listed ({error})"));
                    is_unknown = true;
                    // The next sweep finds them by the job's networks. For images alone none stays, since an engine
                    // has few.
                    keeps_networks |= part != DockerPart::Images;
                    continue;
                }
            };
            left.extend(found.iter().map(ToString::to_string));
            if part == DockerPart::Guard && !found.is_empty() && !*is_reported {
                *is_reported = true;
                self.report_guard(attempt, patience.min(LIST_TIMEOUT)).await;
            }
            let is_kept = !removes || (part == DockerPart::Networks && keeps_networks);
            for some in found.chunks(CONCURRENT_OBJECTS).filter(|_| !is_kept) {
                let removals = some.iter().map(|object| self.now(object, patience));
                futures_util::future::join_all(removals).await;
            }
        }
        Round { left, is_unknown }
    }

    /// Waits until all queued removals are done or, after `patience`, until only files are left, which the engine goes
    /// on to delete when this process is gone. Returns whether nothing is left. Nothing may be started meanwhile.
    pub(crate) async fn drained_or_deleting(&self, patience: Duration) -> bool {
        // Nobody's start is held up any more.
        self.shutting_down.cancel();
        self.slots.add_permits(EXTRA_REMOVALS_AT_SHUTDOWN);
        if tokio::time::timeout(patience, self.drained()).await.is_ok() {
            return true;
        }
        loop {
            let (less, more) = (self.under_way.changed.notified(), self.deleting.changed.notified());
            let left = self.under_way.get();
            if left <= self.deleting.get() {
                return left == 0;
            }
            tokio::select! {
                () = less => {}
                () = more => {}
            }
        }
    }

    /// Waits until all queued removals are done.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

/// Removes an object, which is gone on success. A removal that something is in the way of is repeated for some seconds:
/// under load, an engine releases a container or a volume long after it was asked to.
///
/// # Errors
/// That of the last try.
pub async fn remove_patiently<F>(object: &impl fmt::Display, remove: impl Fn() -> F) -> Result<(), EngineError>
where
    F: Future<Output = Result<(), EngineError>>,
{
    let pauses = ExponentialBuilder::new().with_min_delay(RETRY_PAUSE).with_max_delay(MAX_RETRY_PAUSE);
    let removed = remove
        .retry(pauses.with_max_times(MAX_TRIES))
        .when(|error: &EngineError| !error.is_not_found() && !error.is_away() && !error.is_unanswered())
        .notify(|error, _| tracing::debug!(%object, %error, "not removed yet"))
        .await;
    removed.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
}

/// Repeats the call while the engine is away: what exists there still exists when it is back.
pub(crate) async fn ask_while_away<T, F>(patience: Duration, ask: impl Fn() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let begun = Instant::now();
    let pauses = ExponentialBuilder::new()
        .with_min_delay(ENGINE_AWAY_PAUSE)
        .with_max_delay(MAX_ENGINE_AWAY_PAUSE)
        .without_max_times();
    ask.retry(pauses)
        .when(|error| error.is_away() && begun.elapsed() < patience)
        .notify(|error, _| tracing::debug!(%error, "the engine is away"))
        .await
}
