//! A job's workspace, where it begins on the one that another job of the build left, or another job begins on it.
//!
//! A workspace that another job begins on is a volume that outlives its job; its owner removes it once no job wants it.
//! A job begins on one as on an entry of a cache: it gets an overlay over it, so that ten jobs begin on one workspace
//! at once and none sees what the others write. Where the engine has no overlays it is copied.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::attempt::AttemptId;
use crate::engine::{Engine, Standing, VolumeContent, VolumeSpec};
use crate::error::EngineError;
use crate::lasting::caches::copy;
use crate::names::VolumeName;
use crate::objects::ObjectId;
use crate::removing::removal::{Removals, ask_while_away};
use crate::request::{JobRequest, Workspace};

/// How long the agent of the job whose workspace another begins on may take to exit.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// How long a start waits for what was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);
const KILL_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The workspace of one attempt on an engine.
pub(crate) struct AttemptWorkspace<'a> {
    engine: &'a dyn Engine,
    request: &'a JobRequest,
}

impl<'a> AttemptWorkspace<'a> {
    pub(crate) fn new(engine: &'a dyn Engine, request: &'a JobRequest) -> Self {
        Self { engine, request }
    }

    /// Creates the volumes. Returns a line for the job's log.
    pub(crate) async fn prepare(&self) -> Result<Option<String>, EngineError> {
        let Workspace { base, needed, kept } = &self.request.workspace;
        let attempt = self.request.attempt_id();
        // A volume that ends with its job is made with the container.
        let own = if *kept { VolumeContent::Workspace } else { VolumeContent::Passing };
        if base.is_empty() {
            if *kept {
                self.create(&attempt.volume_name(), own).await?;
            }
            return Ok(None);
        }
        self.end_writers(base[0]).await?;
        let begun = Instant::now();
        let lower = match self.layers().await {
            Err(EngineError::VolumeGone(_)) => {
                return Err(EngineError::VolumeGone(format!(
                    "the workspace of `{needed}` is not on the engine: the job ended before it had one, or it was deleted; rerun the build"
                )));
            }
            lower => lower?,
        };
        let how = if self.engine.has_overlays().await? {
            let (upper, work) = (attempt.upper_name(), attempt.work_name());
            tokio::try_join!(self.create(&upper, own), self.create(&work, VolumeContent::Passing))?;
            let content = VolumeContent::Overlay { upper: &upper, work: &work, lower: &lower };
            self.create(&attempt.volume_name(), content).await?;
            "begins on"
        } else {
            self.create(&attempt.volume_name(), own).await?;
            for layer in lower.iter().rev() {
                copy(self.engine, layer, &attempt.volume_name()).await?;
            }
            "begins on a copy (this engine has no overlays) of"
        };
        Ok(Some(format!("{how} the workspace of {needed}, in {} ms", begun.elapsed().as_millis())))
    }

    async fn create(&self, name: &VolumeName, content: VolumeContent<'_>) -> Result<(), EngineError> {
        let owner = Some((self.request.build, self.request.attempt_id()));
        self.engine.create_volume(&VolumeSpec { name, owner, content, disk: self.request.limits.disk }).await
    }

    /// Returns the volumes that the workspace begins on, the topmost first.
    async fn layers(&self) -> Result<Vec<VolumeName>, EngineError> {
        let base = &self.request.workspace.base;
        let there = try_join_all(base.iter().map(|attempt| existing_volumes(self.engine, *attempt))).await?;
        let mut layers = Vec::new();
        for (attempt, there) in base.iter().zip(there) {
            let upper = attempt.upper_name();
            if there.contains(&upper) {
                layers.push(upper);
            } else if there.contains(&attempt.volume_name()) {
                layers.push(attempt.volume_name());
                return Ok(layers);
            } else {
                break;
            }
        }
        Err(EngineError::VolumeGone("a layer is missing".to_owned()))
    }

    /// Waits until nothing of the needed job runs: nothing may write below an overlay. Its end has been reported, and
    /// its containers are removed in the background, so what still runs has nothing more to say and is killed.
    async fn end_writers(&self, needed: AttemptId) -> Result<(), EngineError> {
        let (members, own) = tokio::try_join!(self.engine.list_members(needed), self.engine.find(needed))?;
        let members = members.into_iter().map(|container| (container, Duration::ZERO));
        // The job's agent exits by itself.
        let own = own.into_iter().map(|found| (found.pod.container, LAST_BREATH));
        for (container, last_breath) in own.chain(members) {
            let begun = Instant::now();
            let mut killed = false;
            while self.engine.standing(&container).await? == Standing::Running {
                if begun.elapsed() >= KILL_TIMEOUT {
                    tracing::warn!(%container, "could not kill a container of a job whose workspace another job begins on");
                    break;
                }
                if !killed && begun.elapsed() >= last_breath {
                    killed = true;
                    self.engine
                        .kill(&container)
                        .await
                        .or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })?;
                }
                tokio::time::sleep(KILL_CHECK_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Deletes the files of a workspace that ends with the job, after its containers are gone.
    pub(crate) async fn empty(&self, removals: &Removals) {
        if self.request.workspace.kept {
            return;
        }
        let attempt = self.request.attempt_id();
        let (whole, upper) = (attempt.volume_name(), attempt.upper_name());
        if let Ok(there) = existing_volumes(self.engine, attempt).await
            && let Some(volume) = [upper, whole].iter().find(|volume| there.contains(*volume))
        {
            removals.delete_files(volume).await;
        }
    }

    /// Removes the volumes that end with the job, after its containers are gone.
    pub(crate) async fn finish(&self, removals: &Removals, patience: Duration) {
        let attempt = self.request.attempt_id();
        let Workspace { base, kept, .. } = &self.request.workspace;
        let mut ends = Vec::new();
        match (base.is_empty(), kept) {
            (true, true) => {}
            (true, false) => ends.push(attempt.volume_name()),
            (false, _) => {
                let there =
                    ask_while_away(patience, || existing_volumes(self.engine, attempt)).await.unwrap_or_default();
                let is_overlay = there.contains(&attempt.upper_name());
                if is_overlay || !kept {
                    ends.extend([attempt.volume_name(), attempt.work_name()]);
                }
                if !kept {
                    ends.push(attempt.upper_name());
                }
            }
        }
        for volume in ends {
            removals.now(&ObjectId::Volume(volume), patience).await;
        }
    }

    /// Removes what the attempt has written so far, because it is about to start once more.
    pub(crate) async fn discard(&self, removals: &Removals, patience: Duration) {
        let attempt = self.request.attempt_id();
        let mut volumes = vec![attempt.volume_name()];
        if !self.request.workspace.base.is_empty() {
            volumes.extend([attempt.work_name(), attempt.upper_name()]);
        }
        for volume in volumes {
            removals.now(&ObjectId::Volume(volume), patience).await;
        }
    }
}

async fn existing_volumes(engine: &dyn Engine, attempt: AttemptId) -> Result<BTreeSet<VolumeName>, EngineError> {
    Ok(engine.list_volumes(attempt).await?.into_iter().map(|volume| volume.name).collect())
}
