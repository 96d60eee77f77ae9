//! Unchanged work is not done again: finds the earlier success that stands for a job with `reuse`. Called by `runner` before a job starts,
//! and after it has succeeded. Where other jobs begin on its workspace, a success stands for it only while the workspace that it left is there.
//!
//! A job with `reuse` is made of these and nothing else, so that two jobs with the same hash would do the same: the files that its globs
//! name (its workspace has no others), its definition, what the jobs that it needs gave, the operator's variables, and its images.
//! `store/lasting/reuse.rs` decides whether a job's success may stand for another job.

use longshore_core::{JobId, JobPlan, Outcome, plan::ArtifactWhen};
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

use crate::{
    checkouts::Sources,
    runner::needed_files,
    workspaces::{PassError, Workspaces},
};

/// Changes when the same inputs mean something else.
const VERSION: &str = "1";

/// A job, as far as it matters here.
pub(crate) struct OfJob<'a> {
    pub(crate) store: &'a Store,
    pub(crate) sources: &'a Sources,
    pub(crate) workspaces: &'a Workspaces,
    pub(crate) repo: &'a Repo,
    pub(crate) build: &'a Build,
    /// As it was frozen, before anything was filled in.
    pub(crate) plan: &'a JobPlan,
    pub(crate) job: JobId,
}

/// The answer to whether an earlier success stands for a job.
pub(crate) enum Found {
    /// Nothing stands for it. With a hash, it may stand for others once it has succeeded.
    Runs(Option<String>),
    Stands(Box<Reused>),
}

impl OfJob<'_> {
    /// Looks for the success that stands for the job. A rerun always runs, and so does another attempt.
    pub(crate) async fn find(&self, executor: &Executor, request: &JobRequest) -> Found {
        if self.plan.reuse.is_empty() {
            return Found::Runs(None);
        }
        let Some(hash) = self.hash(request).await else { return Found::Runs(None) };
        if self.build.rerun_of.is_some() || request.attempt > 1 {
            return Found::Runs(Some(hash));
        }
        match self.find_success(executor, request, &hash).await {
            Ok(Some(reused)) => Found::Stands(Box::new(reused)),
            Ok(None) => Found::Runs(Some(hash)),
            Err(error) => {
                tracing::warn!(job = %self.job, %error, "an earlier success is not looked for: the job runs");
                Found::Runs(Some(hash))
            }
        }
    }

    async fn find_success(
        &self,
        executor: &Executor,
        request: &JobRequest,
        hash: &str,
    ) -> Result<Option<Reused>, PassError> {
        let lane = reuse::lane(self.store, self.job).await?;
        let leaves = self.plan.artifacts.iter().filter(|artifact| artifact.when != ArtifactWhen::Failure).count();
        let candidates = reuse::candidates(self.store, lane, hash, leaves).await?;
        if candidates.is_empty() {
            return Ok(None);
        }
        let images = executor.resolve_images(request.build, &request.plan, &request.images, request.pull).await;
        // Why an image cannot be had is said when the job starts.
        let Ok(Some(images)) = images else { return Ok(None) };
        // A pull may have taken minutes.
        let candidates = reuse::candidates(self.store, lane, hash, leaves).await?;
        for from in candidates.into_iter().filter(|candidate| candidate.images == images) {
            // On its workspace others begin: it has to be there still.
            let serves = match from.workspace {
                _ if !request.workspace.kept => true,
                Some((job, attempt)) => self.workspaces.claim(executor, self.job, AttemptId { job, attempt }).await?,
                None => false,
            };
            if serves {
                let inputs = Inputs { hash: hash.to_owned(), images, has_workspace: false };
                return Ok(Some(Reused { from, inputs }));
            }
        }
        Ok(None)
    }

    /// Returns the hash of what the job is made of but for its images. `None` if that cannot be said.
    async fn hash(&self, request: &JobRequest) -> Option<String> {
        let tree = self.sources.hash_tree(self.repo, &self.build.event, &self.plan.reuse).await?;
        let needs = jobs::needs(self.store, self.job).await.ok()?;
        let needs: Vec<String> =
            needs.iter().map(|need| format!("{:?} {} {:?}", need.key, need.status, need.outputs)).collect();
        let files = needed_files::described(self.store, self.build, self.plan).await.ok()?;
        // Whether somebody was asked decides whether it runs, and not what it does.
        let definition = serde_json::to_string(&JobPlan { stranger: None, ..self.plan.clone() }).ok()?;
        // A text that names the build is another one in each build.
        let build = if self.plan.refers().to("build") { self.build.id.to_string() } else { String::new() };
        let operator = format!("{:?} {:?}", request.operator.variables, request.operator.authorities);
        let mut hash = Sha256::new();
        for part in
            [VERSION, &self.repo.id.to_string(), &tree, &definition, &needs.join("\n"), &files, &build, &operator]
        {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Some(hex::encode(hash.finalize()))
    }
}

/// Returns what a success was made of, if it may stand for others.
pub(crate) fn inputs(executor: &Executor, request: &Made, outcome: &Outcome) -> Option<Inputs> {
    let hash = request.hash.clone().filter(|_| *outcome == Outcome::Success)?;
    let images = executor.agreed_images(request.build, &request.plan)?;
    Some(Inputs { hash, images, has_workspace: request.has_workspace })
}

/// The inputs of a job that runs.
pub(crate) struct Made {
    pub(crate) build: longshore_core::BuildId,
    pub(crate) plan: JobPlan,
    pub(crate) hash: Option<String>,
    /// Whether other jobs begin on its workspace.
    pub(crate) has_workspace: bool,
}
