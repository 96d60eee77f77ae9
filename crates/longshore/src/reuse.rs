//! Finds the earlier success that a job with `reuse` can use instead of running. Called by `runner` before a job
//! starts, and after it has succeeded. If other jobs begin on its workspace, a success is reused only while its
//! workspace exists.
//!
//! A job with `reuse` depends on nothing but these, so two jobs with the same hash would do the same: the files that
//! its globs name (its workspace has no others), its definition, the outputs of the jobs that it needs, the operator's
//! variables, its images, and, if it has caches, whose they are. `store/lasting/reuse.rs` decides whether a job's success
//! may be reused.

use longshore_core::{CacheAccess, JobId, JobPlan, Outcome, plan::ArtifactWhen};
use longshore_executor::{AttemptId, Executor, JobRequest};
use longshore_scheduler::Reused;
use longshore_store::{
    Store,
    builds::Build,
    jobs,
    repos::Repo,
    reuse::{self, Inputs},
};
use sha2::{Digest as _, Sha256};

use crate::{checkouts::Sources, lasting::LastingError, runner::needed_files, workspaces::Workspaces};

/// Changes when the same inputs mean something else.
const VERSION: &str = "1";

/// A job with `reuse` whose earlier success is looked for.
pub(crate) struct ReuseLookup<'a> {
    pub(crate) store: &'a Store,
    pub(crate) sources: &'a Sources,
    pub(crate) workspaces: &'a Workspaces,
    pub(crate) repo: &'a Repo,
    pub(crate) build: &'a Build,
    /// As it was frozen, before anything was filled in.
    pub(crate) plan: &'a JobPlan,
    pub(crate) job: JobId,
}

/// What to do with a job with `reuse`.
pub(crate) enum Lookup {
    /// Run it. With the hash of its inputs, its success can be reused later.
    Run(Option<String>),
    /// Reuse an earlier success of a job with the same inputs.
    Reuse(Box<Reused>),
}

impl ReuseLookup<'_> {
    /// Looks for an earlier success to reuse. A rerun always runs, and so does a second attempt.
    pub(crate) async fn find(&self, executor: &Executor, request: &JobRequest) -> Lookup {
        if self.plan.reuse.is_empty() {
            return Lookup::Run(None);
        }
        let Some(hash) = self.hash(request).await else { return Lookup::Run(None) };
        if self.build.rerun_of.is_some() || request.attempt > 1 {
            return Lookup::Run(Some(hash));
        }
        match self.find_success(executor, request, &hash).await {
            Ok(Some(reused)) => Lookup::Reuse(Box::new(reused)),
            Ok(None) => Lookup::Run(Some(hash)),
            Err(error) => {
                tracing::warn!(job = %self.job, %error, "could not look for an earlier success; the job runs");
                Lookup::Run(Some(hash))
            }
        }
    }

    async fn find_success(
        &self,
        executor: &Executor,
        request: &JobRequest,
        hash: &str,
    ) -> Result<Option<Reused>, LastingError> {
        let lane = reuse::lane(self.store, self.job).await?;
        let leaves = self.plan.artifacts.iter().filter(|artifact| artifact.when != ArtifactWhen::Failure).count();
        let candidates = reuse::candidates(self.store, self.job, lane, hash, leaves).await?;
        if candidates.is_empty() {
            return Ok(None);
        }
        let images = executor.resolve_images(request.build, &request.plan, &request.images, request.pull).await;
        // If an image is not available, the job's start reports it.
        let Ok(Some(images)) = images else { return Ok(None) };
        // A pull may have taken minutes.
        let candidates = reuse::candidates(self.store, self.job, lane, hash, leaves).await?;
        for from in candidates.into_iter().filter(|candidate| candidate.images == images) {
            // Other jobs begin on its workspace, so that must still exist.
            let usable = match from.workspace {
                _ if !request.workspace.kept => true,
                Some((job, attempt)) => self.workspaces.claim(executor, self.job, AttemptId { job, attempt }).await?,
                None => false,
            };
            if usable {
                let inputs = Inputs { hash: hash.to_owned(), images, has_workspace: false };
                return Ok(Some(Reused { from, inputs }));
            }
        }
        Ok(None)
    }

    /// Returns the hash of the job's inputs without its images; `None` if one of them is not available.
    async fn hash(&self, request: &JobRequest) -> Option<String> {
        let tree = self.sources.hash_tree(self.repo, &self.build.event, &self.plan.reuse).await?;
        let needs = jobs::needs(self.store, self.job).await.ok()?;
        let needs: Vec<String> =
            needs.iter().map(|need| format!("{:?} {} {:?}", need.key, need.status, need.outputs)).collect();
        let files = needed_files::fingerprint(self.store, self.build, self.plan).await.ok()?;
        // The approval decides whether it runs, not what it does.
        let definition = serde_json::to_string(&JobPlan { stranger: None, ..self.plan.clone() }).ok()?;
        // A plan that refers to the build is different in each build.
        let build = if self.plan.refers().to("build") { self.build.id.to_string() } else { String::new() };
        let operator = format!("{:?} {:?}", request.operator.variables, request.operator.authorities);
        let mut hash = Sha256::new();
        for part in
            [VERSION, &self.repo.id.to_string(), &tree, &definition, &needs.join("\n"), &files, &build, &operator]
        {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        // A job runs what is in its caches, and what is in them is decided where they are saved.
        if !self.plan.cache.is_empty() {
            hash.update(format!("{:?}", CacheAccess::of(&self.build.event).reads.first()));
        }
        Some(hex::encode(hash.finalize()))
    }
}

/// Returns the inputs of a success, if it may be reused.
pub(crate) fn inputs(executor: &Executor, request: &JobInputs, outcome: &Outcome) -> Option<Inputs> {
    let hash = request.hash.clone().filter(|_| *outcome == Outcome::Success)?;
    let images = executor.agreed_images(request.build, &request.plan)?;
    Some(Inputs { hash, images, has_workspace: request.has_workspace })
}

/// The inputs of a job that is about to run.
pub(crate) struct JobInputs {
    pub(crate) build: longshore_core::BuildId,
    pub(crate) plan: JobPlan,
    pub(crate) hash: Option<String>,
    /// Whether other jobs begin on its workspace.
    pub(crate) has_workspace: bool,
}
