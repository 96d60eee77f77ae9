//! Cleans up after attempts, in the background: removes container, volume and sandbox of an attempt that has ended, was
//! given up, or whose start nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::Outcome;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::attempt::AttemptId;
use crate::engine::{Engine, Pod, Standing};
use crate::error::EngineError;
use crate::following::follow::JobLeft;
use crate::lasting::caches::Caches;
use crate::lasting::workspaces::AttemptWorkspace;
use crate::members::Members;
use crate::names::ContainerId;
use crate::objects::ObjectId;
use crate::placement::Placed;
use crate::removing::removal::{FOR_EVER, Removals, ask_while_away};
use crate::request::JobRequest;
use crate::sandboxes::{Sandbox, Sandboxes};

/// How long an agent may take to exit after it has reported its job's end.
const LAST_BREATH: Duration = Duration::from_secs(3);
const END_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Resolves when the objects that a job with Docker made are gone.
#[must_use = "a job with Docker keeps its slot until then"]
pub(crate) struct ObjectsRemoved(Option<oneshot::Receiver<()>>);

impl ObjectsRemoved {
    /// Waits until they are gone, at most for `patience`. A job without Docker has nothing to wait for.
    pub(crate) async fn wait(self, patience: Duration) {
        if let Some(told) = self.0 {
            let _ = tokio::time::timeout(patience, told).await;
        }
    }

    /// Does not wait: the removal goes on in the background.
    pub(crate) fn in_background(self) {}
}

/// Cleans up after attempts.
#[derive(Clone)]
pub(crate) struct Cleanup {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) removals: Arc<Removals>,
    pub(crate) sandboxes: Arc<Sandboxes>,
}

impl Cleanup {
    /// Removes a job's container and volume, and returns its sandbox to the pool if the sandbox is restored.
    ///
    /// The agent reports whether it has restored the sandbox, and whether the workspace has many files: then they are
    /// deleted before the engine is asked to remove the volume. The sandbox is returned once all containers of the job
    /// have ended.
    ///
    /// The objects that a job with Docker made are removed with it. The result says when they are gone: the job's slot
    /// is given to no other before. `outcome` decides which of its caches are kept.
    pub(crate) fn job(
        &self,
        request: &Arc<JobRequest>,
        outcome: &Outcome,
        (pod, sandbox): (Pod, Sandbox),
        JobLeft { reader, many_files }: JobLeft,
        members: Option<Arc<Members>>,
    ) -> ObjectsRemoved {
        let Self { engine, sandboxes, removals } = self.clone();
        let (request, outcome) = (Arc::clone(request), outcome.clone());
        announce(&request);
        let owner = sandbox.owner();
        let (gone, told) = oneshot::channel();
        self.removals.spawn(async move {
            let is_restored = reader.is_some();
            let ended = match reader {
                Some(mut reader) => tokio::time::timeout(LAST_BREATH, reader.drain()).await.is_ok(),
                None => false,
            };
            let workspace = AttemptWorkspace::new(&*engine, &request);
            let mut sandbox = Some(sandbox);
            // Another job may join only an empty namespace, and an image can put a program in the agent's place that
            // ends its output and runs on.
            if ended
                && members.is_none()
                && has_ended(&*engine, &pod.container).await
                && let Some(sandbox) = sandbox.take()
            {
                sandboxes.give_back(sandbox);
            }
            let work = async {
                let is_gone = removals.now(&ObjectId::Container(pod.container), FOR_EVER).await;
                let mut are_members_gone = true;
                if let Some(members) = members {
                    members.end().await;
                    are_members_gone = removals.members(members.attempt(), FOR_EVER).await;
                }
                match sandbox {
                    Some(sandbox) if is_gone && are_members_gone && is_restored => sandboxes.give_back(sandbox),
                    Some(sandbox) => sandboxes.discard(sandbox),
                    None => {}
                }
                if let Some(attempt) = owner {
                    removals.docker_objects(attempt, FOR_EVER).await;
                    let _ = gone.send(());
                }
                if is_gone {
                    Caches::of(&*engine, &request).finish(&removals, Some(&outcome), FOR_EVER).await;
                }
                let is_large = is_gone && many_files;
                if !is_large {
                    removals.deleting_files(workspace.finish(&removals, FOR_EVER)).await;
                }
                is_large
            };
            let is_large = match owner {
                // Somebody waits for it.
                Some(_) => work.await,
                None => removals.in_turn(work).await.unwrap_or(false),
            };
            if is_large {
                // Takes as long as it takes, and holds up no other removal.
                removals.one_by_one(workspace.empty(&removals)).await;
                removals.in_turn(removals.deleting_files(workspace.finish(&removals, FOR_EVER))).await;
            }
        });
        ObjectsRemoved(owner.map(|_| told))
    }

    /// Removes everything of an attempt that nobody follows any more, including its running steps.
    pub(crate) fn attempt(&self, attempt: AttemptId) -> ObjectsRemoved {
        self.unfollowed(attempt, None, None)
    }

    /// Like [`attempt`](Self::attempt), for an attempt whose request is known. `outcome` is set if its job ended.
    pub(crate) fn request(&self, request: &Arc<JobRequest>, outcome: Option<&Outcome>) -> ObjectsRemoved {
        announce(request);
        self.unfollowed(request.attempt_id(), Some(Arc::clone(request)), outcome.cloned())
    }

    fn unfollowed(
        &self,
        attempt: AttemptId,
        request: Option<Arc<JobRequest>>,
        outcome: Option<Outcome>,
    ) -> ObjectsRemoved {
        let Self { engine, removals, .. } = self.clone();
        let (gone, told) = oneshot::channel();
        self.removals.spawn(async move {
            let work = async {
                let found = ask_while_away(FOR_EVER, || engine.find(attempt)).await;
                // Container and volume are created together, and have one owner.
                if let Err(EngineError::Elsewhere { .. }) = found {
                    return;
                }
                if found.as_ref().is_err_and(EngineError::is_unanswered) {
                    removals.unanswered.remove_later(ObjectId::NamedContainer(attempt.container_name()));
                }
                if let Ok(Some(found)) = found {
                    removals.now(&ObjectId::Container(found.pod.container), FOR_EVER).await;
                    // Its agent may not have restored the sandbox, so no other job gets it.
                    removals.now(&ObjectId::Container(found.pod.sandbox), FOR_EVER).await;
                }
                removals.members(attempt, FOR_EVER).await;
                removals.docker_objects(attempt, FOR_EVER).await;
                match request {
                    Some(request) => {
                        Caches::of(&*engine, &request).finish(&removals, outcome.as_ref(), FOR_EVER).await;
                        removals
                            .deleting_files(AttemptWorkspace::new(&*engine, &request).finish(&removals, FOR_EVER))
                            .await;
                    }
                    None => {
                        let volume = ObjectId::Volume(attempt.volume_name());
                        removals.deleting_files(removals.now(&volume, FOR_EVER)).await;
                    }
                }
                let _ = gone.send(());
            };
            removals.in_turn(work).await;
        });
        ObjectsRemoved(Some(told))
    }

    /// Removes a started container whose agent will get no plan.
    pub(crate) fn placed(&self, request: &Arc<JobRequest>, placed: Placed) {
        let Placed { pod, sandbox, .. } = placed;
        self.job(request, &Outcome::Canceled, (pod, sandbox), JobLeft::default(), None).in_background();
    }

    /// Removes the result of a start that nobody waits for any more.
    pub(crate) fn abandoned(&self, placement: JoinHandle<Result<Placed, EngineError>>, request: &Arc<JobRequest>) {
        let (cleanup, request) = (self.clone(), Arc::clone(request));
        self.removals.spawn(async move {
            match placement.await {
                Ok(Ok(placed)) => cleanup.placed(&request, placed),
                // The engine may have created it although the answer was lost.
                Ok(Err(_)) | Err(_) => cleanup.request(&request, None).in_background(),
            }
        });
    }
}

/// Waits until the engine says that a container has ended whose output has, at most for [`LAST_BREATH`]. Returns whether
/// it has.
async fn has_ended(engine: &dyn Engine, container: &ContainerId) -> bool {
    let ended = async {
        while !matches!(engine.standing(container).await, Ok(Standing::Ended(_) | Standing::Vanished)) {
            tokio::time::sleep(END_CHECK_INTERVAL).await;
        }
    };
    tokio::time::timeout(LAST_BREATH, ended).await.is_ok()
}

/// Reports that the job's caches are about to be kept or not.
fn announce(request: &JobRequest) {
    if let Some(records) = request.caches.records.as_ref().filter(|_| !request.caches.wanted.is_empty()) {
        records.ending();
    }
}
