//! The entry point: one executor for the lifetime of the process, and the parts that its jobs share.
//!
//! Each part gets what it needs when it is made; none holds the executor. Background work (removals, preparing
//! sandboxes) ends with [`Executor::shutdown`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::{BuildId, ImageRef, JobPlan};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::following::agent::AgentHealth;
use crate::guarding::guard_log::GuardReports;
use crate::options::{ExecutorOptions, PullPolicy};
use crate::placement::Placement;
use crate::pulling::image_access::ImageAccess;
use crate::pulling::images::Images;
use crate::removing::cleanup::Cleanup;
use crate::removing::removal::Removals;
use crate::room::Room;
use crate::sandboxes::Sandboxes;
use crate::starts::Starts;

/// Limit for the last removals of a process, if the engine answers.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs jobs on an engine. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) options: ExecutorOptions,
    pub(crate) placement: Placement,
    pub(crate) agent: Arc<AgentHealth>,
    pub(crate) sandboxes: Arc<Sandboxes>,
    pub(crate) removals: Arc<Removals>,
    pub(crate) cleanup: Cleanup,
    pub(crate) tasks: TaskTracker,
    stop: CancellationToken,
}

impl Executor {
    /// Makes an executor on this engine.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, options: ExecutorOptions) -> Self {
        let (tasks, stop, starts) = (TaskTracker::new(), CancellationToken::new(), Arc::new(Starts::default()));
        let images = Arc::new(Images::new(Arc::clone(&engine), options.pull_patience));
        let agent = Arc::new(AgentHealth::new(Arc::clone(&engine)));
        let removals = Arc::new(Removals::new(Arc::clone(&engine), Arc::clone(&starts), stop.clone()));
        let sandboxes = Arc::new(Sandboxes::new(
            Arc::clone(&engine),
            Arc::clone(&removals),
            Arc::clone(&starts),
            tasks.clone(),
            stop.clone(),
            &options,
        ));
        let placement = Placement {
            engine: Arc::clone(&engine),
            images,
            sandboxes: Arc::clone(&sandboxes),
            agent: Arc::clone(&agent),
            accounts: Arc::new(Accounts::new(Arc::clone(&engine))),
            room: Room::default(),
            removals: Arc::clone(&removals),
            starts,
            patience: options.patience,
        };
        let cleanup =
            Cleanup { engine: Arc::clone(&engine), removals: Arc::clone(&removals), sandboxes: Arc::clone(&sandboxes) };
        Self { engine, options, placement, agent, sandboxes, removals, cleanup, tasks, stop }
    }

    /// Sets the receiver of the guards' records, which are read before the guards are removed. Only the first call has
    /// an effect.
    pub fn report_guards_to(&self, reports: Arc<dyn GuardReports>) {
        self.removals.report_guards_to(reports);
    }

    /// Prepares what the first job would have to wait for: the agent, the network, fresh sandboxes.
    ///
    /// # Errors
    /// Those that the first job would meet.
    pub async fn prepare(&self) -> Result<(), EngineError> {
        self.engine.prepare().await?;
        self.sandboxes.refill();
        Ok(())
    }

    /// Pulls the images of a job that waits for its turn, as far as their names are known. A pull that fails is tried
    /// again when the job starts.
    pub async fn pull_ahead(&self, build: BuildId, plan: &JobPlan, access: &ImageAccess, policy: PullPolicy) {
        if self.placement.room.check().is_err() {
            return;
        }
        for (image, policy) in images_of(plan, policy) {
            if let Err(error) = self.placement.images.pull_ahead(build, access, &image, policy).await {
                tracing::debug!(%image, %error, "an image was not pulled ahead of its job");
            }
        }
    }

    /// Returns which images an attempt with this plan is started from, pulled if the policy says so. `None` if one of
    /// them is known only while the job runs.
    ///
    /// # Errors
    /// If one of them is not available.
    pub async fn resolve_images(
        &self,
        build: BuildId,
        plan: &JobPlan,
        access: &ImageAccess,
        policy: PullPolicy,
    ) -> Result<Option<String>, EngineError> {
        let images = images_of(plan, policy);
        if images.len() < plan.images().count() {
            return Ok(None);
        }
        for (image, policy) in images {
            self.placement.images.agree(build, access, &image, policy).await?;
        }
        Ok(self.agreed_images(build, plan))
    }

    /// Returns which images the jobs of a build with this plan are started from. `None` if this process has not decided
    /// it.
    #[must_use]
    pub fn agreed_images(&self, build: BuildId, plan: &JobPlan) -> Option<String> {
        let images = images_of(plan, PullPolicy::Missing);
        if images.len() < plan.images().count() {
            return None;
        }
        let agreed = |(image, _): (ImageRef, PullPolicy)| {
            let image = self.placement.images.agreed(build, &image)?;
            Some(image.digest.unwrap_or_else(|| image.id.to_string()))
        };
        Some(images.into_iter().map(agreed).collect::<Option<Vec<_>>>()?.join(" "))
    }

    /// Waits until all queued removals are done.
    pub async fn settled(&self) {
        self.removals.drained().await;
    }

    /// Waits until all queued removals are done or, after `patience`, until only files are left that the engine goes on
    /// to delete without this process. Returns whether nothing is left. For the end of a process: nothing may be
    /// started meanwhile.
    pub async fn settled_or_deleting(&self, patience: Duration) -> bool {
        self.removals.drained_or_deleting(patience).await
    }

    /// Ends the background work. With `drain`, queued removals are done first, as far as an engine that is away allows;
    /// without it, the next start's sweep removes what is left. Idle sandboxes of the pool are removed unless they end
    /// by themselves.
    pub async fn shutdown(&self, drain: bool) {
        if drain {
            let drained = async {
                // Removals return sandboxes to the pool.
                self.removals.drained().await;
                self.sandboxes.drain();
                self.removals.drained().await;
            };
            let _ = tokio::time::timeout(self.options.patience.max(DRAIN_TIMEOUT), drained).await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Returns the images of a job's containers that are known before it runs, and when each is pulled.
fn images_of(plan: &JobPlan, policy: PullPolicy) -> Vec<(ImageRef, PullPolicy)> {
    let of_job = plan.pull.unwrap_or(policy);
    let services = plan.services.iter().map(|service| (&service.image, service.pull.unwrap_or(of_job)));
    let steps = plan.steps.iter().filter(|step| step.condition.is_none());
    let steps = steps.filter_map(|step| Some((step.image.as_ref()?, step.pull.unwrap_or(of_job))));
    let all = std::iter::once((&plan.image, of_job)).chain(services).chain(steps);
    all.filter_map(|(image, policy)| Some((ImageRef::parse(image.as_known()?).ok()?, policy))).collect()
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("engine", &self.engine).field("options", &self.options).finish_non_exhaustive()
    }
}
