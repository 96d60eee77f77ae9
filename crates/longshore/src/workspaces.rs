//! The workspaces that jobs leave for other jobs: chooses those that a job begins on, and removes those that no job
//! wants any more. The workspaces of jobs with `reuse` outlive their builds; `cache_upkeep` and `disk` remove them when
//! there is no room.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use longshore_core::{BuildId, ErrorKind, JobId, JobPlan, Outcome, Timestamp};
use longshore_executor::{AttemptId, Executor, Workspace};
use longshore_store::{
    ChangeKind, Store, StoreError, caches, jobs,
    workspaces::{self, Chain, KeptWorkspaces},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    lasting::{self, LastingError},
    store_changes::changed,
};

/// The pause between two passes, in which changes gather.
const PASS_PAUSE: Duration = Duration::from_secs(2);
/// The pause before what could not be removed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// The workspaces that are left after a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remaining {
    Nothing,
    /// Jobs will begin on them.
    Needed,
    /// Something that no job needs is still there.
    Unneeded,
}

/// The workspaces of one server's builds, or of one run.
#[derive(Clone)]
pub(crate) struct Workspaces {
    store: Store,
    /// A job has begun whose workspace outlives it.
    kept: Arc<Notify>,
    /// Wakes the task that keeps the budget, after a workspace was kept for later builds.
    lasting: Arc<Notify>,
}

impl Workspaces {
    pub(crate) fn new(store: Store, lasting: Arc<Notify>) -> Self {
        Self { store, kept: Arc::default(), lasting }
    }

    /// Claims the workspace that an attempt left, for a job that is about to take over the success of that attempt's
    /// job. Returns `false` if it is gone.
    pub(crate) async fn claim(&self, executor: &Executor, by: JobId, left_by: AttemptId) -> Result<bool, LastingError> {
        let AttemptId { job, attempt } = left_by;
        let mut tx = self.store.write().await?;
        let claimed = workspaces::claim(&mut tx, by, (job, attempt), Timestamp::now()).await?;
        tx.commit().await?;
        if !claimed || executor.has_workspace(left_by).await? {
            return Ok(claimed);
        }
        // Somebody has removed it from the engine.
        let mut tx = self.store.write().await?;
        workspaces::forget(&mut tx, job, attempt).await?;
        tx.commit().await?;
        Ok(false)
    }

    /// Returns what a job's workspace begins on, and whether another job begins on it.
    pub(crate) async fn of_job(&self, build: BuildId, plan: &JobPlan) -> Result<Workspace, Outcome> {
        let chain = workspaces::of_job(&self.store, build, &plan.key).await;
        let Chain { base, kept } =
            chain.map_err(|error| Outcome::Error { kind: ErrorKind::Internal, message: error.to_string() })?;
        if let Some(missing) = base.iter().find(|base| base.attempt.is_none()) {
            let message =
                format!("the job starts on the workspace of `{}`, which did not run in this build", missing.name);
            return Err(Outcome::Error { kind: ErrorKind::Lost, message });
        }
        if kept {
            self.kept.notify_one();
        }
        let needed = base.first().map(|base| base.name.clone()).unwrap_or_default();
        let attempt = |base: &workspaces::Base| Some(AttemptId { job: base.job, attempt: base.attempt? });
        Ok(Workspace { base: base.iter().filter_map(attempt).collect(), needed, kept })
    }

    /// Removes workspaces when no job wants them any more, until `shutdown`. Does nothing while no workspace is kept.
    pub(crate) async fn run(self, executor: Executor, shutdown: CancellationToken) {
        let mut changes = self.store.changes();
        let work = async {
            let mut before = KeptWorkspaces::default();
            loop {
                let left = self.pass(&executor, &mut before).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "could not clean up workspaces that are kept for other jobs; it is tried again later");
                    Remaining::Unneeded
                });
                tokio::time::sleep(PASS_PAUSE).await;
                tokio::select! {
                    () = self.kept.notified() => {}
                    () = changed(&mut changes, ChangeKind::Build), if left == Remaining::Needed => {}
                    () = tokio::time::sleep(RETRY_PAUSE), if left == Remaining::Unneeded => {}
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// `before` are those that were kept at the last pass.
    async fn pass(&self, executor: &Executor, before: &mut KeptWorkspaces) -> Result<Remaining, LastingError> {
        let lasting = self.drop_useless().await?;
        // The engine first: a workspace that is made after this belongs to a job that the database knows by then.
        let there = executor.kept_workspaces().await?;
        let kept = workspaces::kept(&self.store).await?;
        let sizes = caches::volume_sizes(&self.store).await?;
        let mut left = if there.is_empty() && kept.is_empty() { Remaining::Nothing } else { Remaining::Needed };
        for volume in &there {
            let is_kept = volume.attempt.is_some_and(|of| kept.contains(&(of.job, of.attempt)));
            if is_kept {
                continue;
            }
            if lasting::remove_volume(executor, &volume.name, &sizes).await {
                let mut tx = self.store.write().await?;
                caches::forget_sizes(&mut tx, &[volume.name.to_string()]).await?;
                tx.commit().await?;
            } else {
                left = Remaining::Unneeded;
            }
        }
        // Those that somebody has removed from the engine.
        for gone in lasting.iter().filter(|of| !there.iter().any(|volume| volume.attempt == Some(**of))) {
            let mut tx = self.store.write().await?;
            workspaces::forget(&mut tx, gone.job, gone.attempt).await?;
            tx.commit().await?;
        }
        let is_idle = |kept: &KeptWorkspaces, of: &(JobId, u32)| kept.lasting.contains(of) && !kept.wanted.contains(of);
        let counts_anew =
            |of: &&(JobId, u32)| !before.lasting.contains(*of) || (is_idle(&kept, of) && !is_idle(before, of));
        if kept.lasting.iter().any(|of| counts_anew(&of)) {
            self.lasting.notify_one();
        }
        *before = kept;
        Ok(left)
    }

    /// Gives up workspaces that no job can use any more. Returns those that outlive their builds.
    async fn drop_useless(&self) -> Result<BTreeSet<AttemptId>, StoreError> {
        let all = workspaces::by_last_use(&self.store).await?;
        if all.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut tx = self.store.write().await?;
        workspaces::forget_useless(&mut tx).await?;
        tx.commit().await?;
        let all = workspaces::by_last_use(&self.store).await?;
        Ok(all.into_iter().map(|one| AttemptId { job: one.job, attempt: one.attempt }).collect())
    }

    /// Removes in the background what was kept in a build that is over, and what builds left that began longer ago than
    /// `abandoned`.
    pub(crate) async fn remove_later(
        &self,
        executor: &Executor,
        build: BuildId,
        abandoned: Duration,
    ) -> Result<(), LastingError> {
        let jobs: HashSet<_> = jobs::of_build(&self.store, build).await?.into_iter().map(|job| job.id).collect();
        for volume in executor.kept_workspaces().await? {
            let is_own = volume.attempt.is_some_and(|attempt| jobs.contains(&attempt.job));
            let age = volume.created.map(|created| Timestamp::now().since(created));
            if is_own || age.is_some_and(|age| u128::from(age) > abandoned.as_millis()) {
                executor.remove_workspace_later(volume.name);
            }
        }
        Ok(())
    }
}
