//! The entry point: one executor for the lifetime of the process, and the parts that its jobs share.
//!
//! Each part gets what it needs when it is made; none holds the executor. Background work (removals, preparing
//! sandboxes) ends with [`Executor::shutdown`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::AgentHealth;
use crate::cleanup::Cleanup;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::Images;
use crate::options::ExecutorOptions;
use crate::placement::Placement;
use crate::removal::Removals;
use crate::sandboxes::Sandboxes;
use crate::starts::Starts;

/// Limit for the last removals of a process, if the engine answers.
const DRAIN: Duration = Duration::from_secs(60);

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
            removals: Arc::clone(&removals),
            starts,
            patience: options.patience,
        };
        let cleanup =
            Cleanup { engine: Arc::clone(&engine), removals: Arc::clone(&removals), sandboxes: Arc::clone(&sandboxes) };
        Self { engine, options, placement, agent, sandboxes, removals, cleanup, tasks, stop }
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

    /// Waits until all queued removals are done.
    pub async fn settled(&self) {
        self.removals.drained().await;
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
            let _ = tokio::time::timeout(self.options.patience.max(DRAIN), drained).await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("engine", &self.engine).field("options", &self.options).finish_non_exhaustive()
    }
}
