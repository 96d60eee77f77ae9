//! Starts the execution of jobs: waits for the engine, removes from it what belongs to no running job, and starts the
//! runner. Called by `serve`.
//!
//! Meanwhile the rest of the server runs: deliveries are accepted and planned, and jobs wait for the engine.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use longshore_engine_docker::{DockerEngine, DockerOptions};
use longshore_executor::{AttemptId, Engine as _, EngineError, Executor, ExecutorOptions, Orphans};
use longshore_scheduler::{Order, Report};
use longshore_store::{Store, anything_lasts, jobs};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cache_upkeep::Upkeep,
    caches::Caches,
    checkouts::Sources,
    disk::{Disk, Marks},
    guard_reports::KeptReports,
    late_images,
    runner::{JobDefaults, Runner},
    workspaces::Workspaces,
};

/// The first pause between two attempts to reach the engine.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The attempt whose failure is logged: a guard that was started with this server answers before it.
const LOGGED_ATTEMPT: u32 = 3;

/// The parts of the runner besides the engine.
pub(crate) struct Boot {
    pub(crate) store: Store,
    pub(crate) sources: Sources,
    pub(crate) job_defaults: Arc<JobDefaults>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) tasks: TaskTracker,
    /// The most bytes that all caches take.
    pub(crate) cache_budget: u64,
    pub(crate) disk: Marks,
    /// Why no guard stands between this server and the engine's socket, where one could.
    pub(crate) unguarded: Option<String>,
    /// The socket of the guard that was started with this server, which opens it.
    pub(crate) guard: Option<PathBuf>,
}

impl Boot {
    /// Waits for the engine, then runs jobs until `shutdown`.
    ///
    /// # Errors
    /// If waiting cannot help: no permission, an engine that is too old, an address that is not an engine's.
    pub(crate) async fn run(
        self,
        docker: DockerOptions,
        options: ExecutorOptions,
        orders: mpsc::Receiver<Order>,
        shutdown: CancellationToken,
    ) -> Result<(), EngineError> {
        let found = shutdown.run_until_cancelled(async {
            let guard = self.guard.as_deref();
            let engine = Arc::new(ask_until_answered(guard, || DockerEngine::connect(docker.clone())).await?);
            let executor = Executor::new(Arc::clone(&engine) as Arc<_>, options);
            executor.report_guards_to(Arc::new(KeptReports { store: self.store.clone() }));
            // Before any job creates something on the engine.
            let orphans = ask_until_answered(guard, || self.orphans(&executor)).await?;
            Ok::<_, EngineError>((engine, executor, orphans))
        });
        let Some(found) = found.await else { return Ok(()) };
        let (engine, executor, orphans) = found?;
        if let Some(reason) = self.unguarded.as_ref().filter(|_| !engine.is_guarded()) {
            tracing::warn!(
                "the server itself holds the engine's socket, with no guard before it: {reason} (docs/security.md)"
            );
        }

        let sweeper = executor.clone();
        self.tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
            let removed = sweeper.remove_orphans(orphans).await;
            if !removed.is_empty() {
                tracing::info!(?removed, "removed what was left of earlier jobs");
            }
        }));
        let (warm, kept) = (executor.clone(), self.store.clone());
        self.tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
            match warm.prepare().await {
                Ok(()) => tracing::info!("the engine has what jobs need"),
                Err(error) => {
                    tracing::warn!(%error, "preparing the engine failed; the first job tries again")
                }
            }
            // Finding out takes a few containers, and only what lasts needs to know.
            if anything_lasts(&kept).await.unwrap_or(false)
                && let Err(error) = engine.has_overlays().await
            {
                tracing::debug!(%error, "could not check whether volumes can be layered; the first job that needs to know checks again");
            }
            for gap in engine.gaps().await.unwrap_or_default() {
                tracing::warn!("{gap}");
            }
        }));
        let Self { store, sources, job_defaults, reports, cache_budget, disk, .. } = self;
        self.tasks.spawn(late_images::run(executor.clone(), store.clone(), shutdown.clone()));
        let caches = Caches::new(store.clone(), None, job_defaults.disk_patience);
        let upkeep = Upkeep::new(executor.clone(), caches.clone(), true, cache_budget);
        self.tasks.spawn(upkeep.run(shutdown.clone()));
        let disk = Disk {
            executor: executor.clone(),
            store: store.clone(),
            marks: disk,
            caches_changed: caches.changed.clone(),
        };
        self.tasks.spawn(disk.run(shutdown.clone()));
        let workspaces = Workspaces::new(store.clone(), Arc::clone(&caches.changed));
        self.tasks.spawn(workspaces.clone().run(executor.clone(), shutdown.clone()));
        let runner = Runner { executor: executor.clone(), store, sources, job_defaults, caches, workspaces, reports };
        runner.run(orders, shutdown).await;
        executor.shutdown(false).await;
        Ok(())
    }

    async fn orphans(&self, executor: &Executor) -> Result<Orphans, EngineError> {
        let running = loop {
            match jobs::running(&self.store).await {
                Ok(running) => break running,
                Err(error) => {
                    tracing::error!(%error, "cannot read which jobs were running");
                    tokio::time::sleep(MAX_PAUSE).await;
                }
            }
        };
        let running_attempts = running.iter().map(|running| (running.job.id, running.job.attempt)).collect();
        if let Err(error) = Upkeep::end_uses(&self.store, &running_attempts).await {
            tracing::error!(%error, "caches of finished jobs are still marked as in use");
        }
        let keep =
            running.iter().map(|running| AttemptId { job: running.job.id, attempt: running.job.attempt }).collect();
        let mut orphans = executor.orphans(&keep).await?;
        // A job that this database does not know may belong to another server: the one whose backup this folder is
        // from.
        let mut unknown = BTreeSet::new();
        for job in orphans.running() {
            if matches!(jobs::get(&self.store, job).await, Ok(None)) {
                tracing::warn!(%job, "a container is running that is not in this database: it is left alone; remove it with `docker rm -f` unless another server uses it");
                unknown.insert(job);
            }
        }
        orphans.leave(&unknown);
        Ok(orphans)
    }
}

/// Retries until the engine answers. Logs the reason for waiting once, unless it was short.
async fn ask_until_answered<T, F>(guard: Option<&Path>, ask: impl Fn() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let pauses = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_delay(MAX_PAUSE).without_max_times();
    let mut tries = 0;
    ask.retry(pauses)
        .when(EngineError::is_transient)
        .notify(|error, _| {
            tries += 1;
            if tries == LOGGED_ATTEMPT {
                tracing::error!("{}; jobs wait until it is available", shown(error, guard));
            }
        })
        .await
}

/// Returns why the engine does not answer. Behind a guard that is not there yet, nothing is to be mounted.
fn shown(error: &EngineError, guard: Option<&Path>) -> String {
    match guard.filter(|socket| !socket.exists()) {
        Some(socket) => {
            format!("the guard has not opened {} yet: see its messages in this log", socket.display())
        }
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_guard_that_is_not_there_nobody_is_told_to_mount_a_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let error = EngineError::Away("there is no engine socket: mount it".to_owned());
        assert!(shown(&error, Some(&socket)).starts_with("the guard has not opened "));
        assert_eq!(shown(&error, None), error.to_string());
        std::fs::write(&socket, "").unwrap();
        assert_eq!(shown(&error, Some(&socket)), error.to_string());
    }
}
