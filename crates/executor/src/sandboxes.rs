//! The pool of sandboxes: containers that hold a network namespace and do nothing else.
//!
//! A job's container joins one, and so starts in half the time. A sandbox serves one job at a time. It serves another
//! one only if that job has the same scope, and only after an agent has reported that it restored everything the
//! sandbox shares with its jobs, above all `/etc/hosts`. A server keeps its pool in memory and some fresh sandboxes
//! ready. Short-lived processes leave theirs to the next process, which finds them on the engine and locks them by
//! files. A marked lock file belongs to a process that died before its job's end; nobody takes that sandbox.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_core::BuildId;
use longshore_core::plan::Network;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::AttemptId;
use crate::engine::{Engine, SandboxSpec};
use crate::error::EngineError;
use crate::names::ContainerId;
use crate::objects::ObjectId;
use crate::options::ExecutorOptions;
use crate::removing::removal::Removals;
use crate::runtime_dir::{self, FileLock};
use crate::starts::Starts;

/// Limit for tries to create a sandbox, while something that all sandboxes need is prepared again.
const MAX_TRIES: u32 = 3;

/// A sandbox that belongs to the caller until it is given back.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: ContainerId,
    scope: String,
    /// The lock against other processes; `None` in a server.
    lock: Option<FileLock>,
    /// The job that it was made for, and that no other job follows.
    owner: Option<AttemptId>,
}

impl Sandbox {
    /// Returns the sandbox of a job that is adopted.
    pub(crate) fn adopted(id: ContainerId, scope: &str, network: Network, owner: Option<AttemptId>) -> Self {
        Self { id, scope: with_network(scope, network), lock: None, owner }
    }

    /// Returns the job with Docker that it was made for.
    pub(crate) const fn owner(&self) -> Option<AttemptId> {
        self.owner
    }
}

/// Sandboxes with and without a network are never exchanged.
fn with_network(scope: &str, network: Network) -> String {
    if network.is_open() { scope.to_owned() } else { format!("{scope}, without a network") }
}

/// The pool.
pub(crate) struct Sandboxes {
    engine: Arc<dyn Engine>,
    removals: Arc<Removals>,
    starts: Arc<Starts>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Number of fresh sandboxes to keep ready.
    ready: usize,
    /// Limit for the sandboxes in the pool.
    limit: usize,
    runtime_dir: Option<PathBuf>,
    /// How long a removal is tried.
    patience: Duration,
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    /// Sandboxes that were never used.
    fresh: Vec<ContainerId>,
    /// Used sandboxes with their scope; the one that has been idle longest comes first.
    idle: VecDeque<(String, ContainerId)>,
    refilling: bool,
}

impl Sandboxes {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        removals: Arc<Removals>,
        starts: Arc<Starts>,
        tasks: TaskTracker,
        stop: CancellationToken,
        options: &ExecutorOptions,
    ) -> Self {
        Self {
            engine,
            removals,
            starts,
            tasks,
            stop,
            ready: options.sandboxes_ready,
            limit: options.sandbox_limit,
            runtime_dir: options.runtime_dir.clone(),
            patience: options.patience,
            pool: Mutex::default(),
        }
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a sandbox that only jobs of `scope` and with the same network have used. It may have ended meanwhile;
    /// then the start of a container fails and the caller takes another.
    pub(crate) async fn take(self: &Arc<Self>, scope: &str, network: Network) -> Result<Sandbox, EngineError> {
        let open = network.is_open();
        let scope = with_network(scope, network);
        if let Some(dir) = &self.runtime_dir {
            if let Some(sandbox) = self.find(dir, &scope).await? {
                return Ok(sandbox);
            }
            let (id, lock) = self.create(Some(&scope), open, None).await?;
            return Ok(Sandbox { id, scope, lock, owner: None });
        }
        let pooled = {
            let mut pool = self.pool();
            match pool.idle.iter().rposition(|(of, _)| *of == scope) {
                Some(at) => pool.idle.remove(at).map(|(_, id)| id),
                None if open => pool.fresh.pop(),
                None => None,
            }
        };
        self.refill();
        let (id, lock) = match pooled {
            Some(id) => (id, None),
            None => self.create(None, open, None).await?,
        };
        Ok(Sandbox { id, scope, lock, owner: None })
    }

    /// Creates a sandbox for a job with Docker, in a network of the job's own. It is never pooled.
    pub(crate) async fn create_own(&self, build: BuildId, attempt: AttemptId) -> Result<Sandbox, EngineError> {
        let (id, lock) = self.create(None, true, Some((build, attempt))).await?;
        Ok(Sandbox { id, scope: String::new(), lock, owner: Some(attempt) })
    }

    /// Returns a sandbox to the pool. Its job has ended, and its container's processes are gone.
    pub(crate) fn give_back(&self, sandbox: Sandbox) {
        if sandbox.owner.is_some() {
            return self.discard(sandbox);
        }
        if self.runtime_dir.is_some() {
            // The lock is released here. The sandbox ends by itself if nobody takes it.
            if let Some(Err(error)) = sandbox.lock.as_ref().map(FileLock::unmark) {
                tracing::debug!(%error, "a sandbox is not left to the next process");
            }
            return;
        }
        let surplus = {
            let mut pool = self.pool();
            pool.idle.push_back((sandbox.scope, sandbox.id));
            if pool.idle.len() + pool.fresh.len() > self.limit { pool.idle.pop_front() } else { None }
        };
        if let Some((_, id)) = surplus {
            self.removals.later(ObjectId::Container(id));
        }
    }

    /// Removes a sandbox that has ended, or that a job may have changed.
    pub(crate) fn discard(&self, sandbox: Sandbox) {
        // Its lock is held until it is removed, because the next process would find it otherwise.
        self.removals.later_holding(sandbox.id, sandbox.lock);
    }

    /// Creates fresh sandboxes in the background until there are enough, one at a time, and never while a job is being
    /// started.
    pub(crate) fn refill(self: &Arc<Self>) {
        {
            let mut pool = self.pool();
            if pool.refilling || pool.fresh.len() >= self.ready || self.runtime_dir.is_some() {
                return;
            }
            pool.refilling = true;
        }
        let sandboxes = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = sandboxes.stop.cancelled() => break,
                    () = sandboxes.starts.none() => {}
                }
                match sandboxes.create(None, true, None).await {
                    Ok((id, _)) => {
                        let mut pool = sandboxes.pool();
                        pool.fresh.push(id);
                        if pool.fresh.len() >= sandboxes.ready {
                            pool.refilling = false;
                            return;
                        }
                    }
                    Err(error) => {
                        // The next job gets the same error, and its log shows it.
                        tracing::warn!(%error, "could not prepare a sandbox");
                        break;
                    }
                }
            }
            sandboxes.pool().refilling = false;
        });
    }

    /// Removes all idle sandboxes of the pool.
    pub(crate) fn drain(&self) {
        let (fresh, idle) = {
            let mut pool = self.pool();
            (std::mem::take(&mut pool.fresh), std::mem::take(&mut pool.idle))
        };
        for id in fresh.into_iter().chain(idle.into_iter().map(|(_, id)| id)) {
            self.removals.later(ObjectId::Container(id));
        }
    }

    /// Returns the ids of the idle sandboxes in the pool.
    pub(crate) fn pooled(&self) -> Vec<ContainerId> {
        let pool = self.pool();
        pool.fresh.iter().cloned().chain(pool.idle.iter().map(|(_, id)| id.clone())).collect()
    }

    /// Finds and locks a running sandbox that an earlier process left for this scope and nobody uses.
    async fn find(&self, dir: &Path, scope: &str) -> Result<Option<Sandbox>, EngineError> {
        for id in self.engine.find_sandboxes(scope).await? {
            match runtime_dir::try_lock(dir, id.as_str()).and_then(|lock| lock.map_or(Ok(None), FileLock::mark)) {
                Ok(Some(lock)) => {
                    return Ok(Some(Sandbox { id, scope: scope.to_owned(), lock: Some(lock), owner: None }));
                }
                Ok(None) => {}
                Err(error) => {
                    // Without locks, two runs could share one namespace.
                    tracing::warn!(%error, dir = %dir.display(), "the runtime folder cannot be used: no sandbox is reused");
                    return Ok(None);
                }
            }
        }
        runtime_dir::forget_old(dir);
        Ok(None)
    }

    /// Creates and starts a sandbox. With a scope, the next process can find it.
    async fn create(
        &self,
        scope: Option<&str>,
        open: bool,
        owner: Option<(BuildId, AttemptId)>,
    ) -> Result<(ContainerId, Option<FileLock>), EngineError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_create(scope, open, owner).await {
                Err(EngineError::Stale(error)) if tries < MAX_TRIES => tracing::debug!(%error, tries, "no sandbox yet"),
                Err(EngineError::Stale(error)) => return Err(*error),
                answer => return answer,
            }
        }
    }

    async fn try_create(
        &self,
        scope: Option<&str>,
        open: bool,
        owner: Option<(BuildId, AttemptId)>,
    ) -> Result<(ContainerId, Option<FileLock>), EngineError> {
        let name = match owner {
            Some((_, attempt)) => attempt.sandbox_name(self.engine.instance()),
            None => self.engine.instance().sandbox_name(),
        };
        let spec = SandboxSpec { name, scope: scope.map(str::to_owned), open, owner };
        let create = || self.engine.create_sandbox(&spec);
        let id = match self.removals.create_replacing(spec.name.clone(), self.patience, create).await {
            Ok(id) => id,
            Err(error) => {
                // The next try of an attempt replaces its own.
                if error.is_away() && owner.is_none() {
                    self.removals.later(ObjectId::NamedContainer(spec.name));
                }
                return Err(error);
            }
        };
        // Lock it before it runs: other processes look only for running sandboxes.
        let lock = match (&self.runtime_dir, scope) {
            (Some(dir), Some(_)) => runtime_dir::try_lock(dir, id.as_str())
                .and_then(|lock| lock.map_or(Ok(None), FileLock::mark))
                .unwrap_or_else(|error| {
                    tracing::warn!(%error, dir = %dir.display(), "the runtime folder cannot be used");
                    None
                }),
            _ => None,
        };
        match self.engine.start_sandbox(&id).await {
            Ok(()) => Ok((id, lock)),
            Err(error) => {
                self.removals.later(ObjectId::Container(id));
                Err(error)
            }
        }
    }
}
