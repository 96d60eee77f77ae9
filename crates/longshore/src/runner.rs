//! Connects the scheduler with the executor: takes orders, runs jobs, sends reports. Used by `serve` and `run`.
//!
//! The executor does not know the database, and the scheduler does not know the engine. Everything that one needs from
//! the other passes through here.

mod contexts;
mod docker_access;
mod handing_on;
pub(crate) mod needed_files;
mod orders;
mod privileges;
mod registries;
mod reporting;
mod request;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use longshore_core::{JobId, JobPlan, Outcome, RegistryCredentials, RegistryHost};
use longshore_executor::{AdoptRequest, AttemptId, Executor, ImageRule, Limits, PullPolicy};
use longshore_scheduler::{Report, ReportKind, Reused};
use longshore_store::{
    Store, builds,
    jobs::{ClaimedJob, RunningJob},
    repos,
    reuse::Inputs,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    contexts::Missing,
    docker_access::{DOCKER_REGISTRIES, DockerSettings},
};
use self::{reporting::internal, request::Origin};
use crate::{
    attempt_files::ExpectedArtifacts,
    caches::Caches,
    checkouts::Sources,
    full_disk::retry_while_full,
    job_env::JobEnv,
    journal::StoreJournal,
    reuse::{self, JobInputs, Lookup},
    workspaces::Workspaces,
};

/// The settings that every job gets beyond its plan.
#[derive(Clone, Default)]
pub(crate) struct JobDefaults {
    /// For every container. The pipeline's own variables win.
    pub(crate) job_env: JobEnv,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) limits: Limits,
    /// The limits of strangers' jobs.
    pub(crate) limits_of_strangers: Limits,
    /// When registries are asked for images, if a plan does not set it.
    pub(crate) pull: PullPolicy,
    /// Which images jobs may use; all of them without it.
    pub(crate) images: Option<ImageRule>,
    /// The Docker logins of the user of `longshore run`. `None` on a server.
    pub(crate) registries: Option<BTreeMap<RegistryHost, RegistryCredentials>>,
    /// The operator's settings for Docker in jobs.
    pub(crate) docker: DockerSettings,
    /// How long artifacts are kept whose plan does not say so. `None` keeps them as long as their builds.
    pub(crate) artifact_age: Option<Duration>,
    /// How long a job waits for space on a full disk before it ends.
    pub(crate) disk_patience: Duration,
    /// The server's address, for links in variables; empty without a server.
    pub(crate) url: String,
    /// Jobs with the same scope share sandboxes. `None` means the repository.
    pub(crate) scope: Option<String>,
}

/// Runs jobs on the engine, on the orders of the scheduler.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) executor: Executor,
    pub(crate) store: Store,
    pub(crate) sources: Sources,
    pub(crate) job_defaults: Arc<JobDefaults>,
    pub(crate) caches: Caches,
    pub(crate) workspaces: Workspaces,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Runner {
    /// Runs a job that was claimed, and reports its end.
    async fn run_claimed(&self, claimed: ClaimedJob, cancel: CancellationToken) {
        let (job, attempt) = (claimed.job.id, claimed.attempt);
        let expected = ExpectedArtifacts::of(&claimed.plan, self.job_defaults.artifact_age);
        let approved = claimed.job.approved_by.is_some();
        let origin = Origin { build: &claimed.build, repo: &claimed.repo, approved };
        match self.start(&origin, claimed.plan, job, attempt, cancel).await {
            Started::Ran(outcome, inputs) => self.report_end(job, attempt, &expected, outcome, inputs).await,
            Started::Reused(reused) => self.report(job, attempt, ReportKind::Reused(reused)).await,
        }
    }

    /// Continues a job of an earlier process, and reports its end.
    async fn run_adopted(&self, running: RunningJob, cancel: CancellationToken) {
        let (job, attempt) = (running.job.id, running.job.attempt);
        let expected = ExpectedArtifacts::of(&running.plan, self.job_defaults.artifact_age);
        let outcome = self.adopt(running, cancel).await;
        self.report_end(job, attempt, &expected, outcome, None).await;
    }

    /// Pulls the images of a job that waits. Whether it may run is checked as when it starts.
    async fn pull_ahead(&self, waiting: ClaimedJob) {
        let ClaimedJob { job, build, repo, plan, .. } = waiting;
        let origin = Origin { build: &build, repo: &repo, approved: job.approved_by.is_some() };
        if self.check_approval(&origin, &plan).await.is_err() {
            return;
        }
        if let Ok(access) = self.image_access(&origin, &plan, Missing::PassOver).await {
            self.executor.pull_ahead(build.id, &plan, &access, self.job_defaults.pull).await;
        }
    }

    async fn start(
        &self,
        origin: &Origin<'_>,
        plan: JobPlan,
        job: JobId,
        attempt: u32,
        cancel: CancellationToken,
    ) -> Started {
        if let Err(outcome) = self.check_approval(origin, &plan).await {
            return outcome.into();
        }
        let frozen = plan.clone();
        let request = match self.request(origin, plan, job, attempt, Missing::Refuse).await {
            Ok(request) => request,
            Err(refusal) => {
                self.report_withheld(origin, job, attempt, &refusal.withheld).await;
                return refusal.outcome.into();
            }
        };
        let lookup = reuse::ReuseLookup {
            store: &self.store,
            sources: &self.sources,
            workspaces: &self.workspaces,
            repo: origin.repo,
            build: origin.build,
            plan: &frozen,
            job,
        };
        let found = tokio::select! {
            found = lookup.find(&self.executor, &request) => found,
            () = cancel.cancelled() => return Outcome::Canceled.into(),
        };
        let inputs = match found {
            Lookup::Reuse(reused) => return Started::Reused(reused),
            Lookup::Run(hash) => {
                let has_workspace = request.workspace.kept;
                JobInputs { build: request.build, plan: request.plan.clone(), hash, has_workspace }
            }
        };
        let journal = match self.journal(job, attempt).await {
            Ok(journal) => journal,
            Err(outcome) => return outcome.into(),
        };
        let (updates, received) = mpsc::channel(256);
        let (outcome, ()) = tokio::join!(
            self.executor.run_job(request, Box::new(journal), updates, cancel),
            self.forward_updates(job, attempt, received),
        );
        let inputs = reuse::inputs(&self.executor, &inputs, &outcome);
        Started::Ran(outcome, inputs)
    }

    /// Continues a job of an earlier process.
    async fn adopt(&self, running: RunningJob, cancel: CancellationToken) -> Outcome {
        let (job, attempt) = (running.job.id, running.job.attempt);
        let (request, journal) = match self.prepare_adoption(running).await {
            Ok(adopted) => adopted,
            Err(outcome) => {
                // The job ends with this outcome, so its steps must not go on.
                self.executor.abandon(AttemptId { job, attempt });
                return outcome;
            }
        };
        let (updates, received) = mpsc::channel(256);
        let (outcome, ()) = tokio::join!(
            self.executor.adopt(request, Box::new(journal), updates, cancel),
            self.forward_updates(job, attempt, received),
        );
        outcome
    }

    /// Returns what is needed to continue a job of an earlier process.
    async fn prepare_adoption(&self, running: RunningJob) -> Result<(AdoptRequest, StoreJournal), Outcome> {
        let (job, attempt) = (running.job.id, running.job.attempt);
        let found = || async {
            let build = builds::get(&self.store, running.job.build).await?;
            let repo = repos::get(&self.store, running.job.repo).await?;
            Ok(build.zip(repo))
        };
        // A transient error must not end a running job.
        let found = retry_while_full(job, "its build to be read", self.job_defaults.disk_patience, found).await;
        let Some((build, repo)) = found.map_err(|error| internal(&error.to_string()))? else {
            return Err(internal("the job's build is not in the database any more"));
        };
        let origin = Origin { build: &build, repo: &repo, approved: running.job.approved_by.is_some() };
        let began = running.job.started_at.is_some();
        // A job that has not started may have been interrupted before its approval and its secrets were checked.
        if !began {
            self.check_approval(&origin, &running.plan).await?;
        }
        let missing = if began { Missing::PassOver } else { Missing::Refuse };
        let request = match self.request(&origin, running.plan, job, attempt, missing).await {
            Ok(request) => request,
            Err(refusal) => {
                self.report_withheld(&origin, job, attempt, &refusal.withheld).await;
                return Err(refusal.outcome);
            }
        };
        let journal = self.journal(job, attempt).await?;
        Ok((AdoptRequest { job: request, session: running.session, began }, journal))
    }
}

/// The result of starting an attempt.
enum Started {
    /// With its inputs, if its success may be reused.
    Ran(Outcome, Option<Inputs>),
    /// An earlier success stood for it.
    Reused(Box<Reused>),
}

impl From<Outcome> for Started {
    fn from(outcome: Outcome) -> Self {
        Self::Ran(outcome, None)
    }
}
