//! Reruns requested on GitHub, for one check run or for all checks of a commit. Whoever requests one needs write access
//! to the repository there, which is checked with GitHub. Jobs that need approval here wait for it again.

use std::sync::Arc;

use longshore_core::{
    BuildId, ConnectionId, RepoId, Status,
    access::{Actor, Via},
    commit_status::job_context,
};
use longshore_forge::checks::{Rerun, RerunRequest};
use longshore_scheduler::Scheduler;
use longshore_store::{Store, announcements, builds, commit_statuses, connections, jobs};
use tokio::sync::Mutex;

use crate::{error::ApiError, forges::Forges};

/// Starts the reruns that are requested on GitHub.
#[derive(Debug, Clone)]
pub(crate) struct CheckReruns {
    store: Store,
    scheduler: Scheduler,
    /// Held while a build is created: GitHub sends a rerun of several checks of one build as several requests at once.
    one_at_a_time: Arc<Mutex<()>>,
}

impl CheckReruns {
    pub(crate) fn new(store: Store, scheduler: Scheduler) -> Self {
        Self { store, scheduler, one_at_a_time: Arc::default() }
    }

    /// Creates the requested builds. Refuses a second rerun of a build while the first one is not finished, and a
    /// request that was delivered before.
    pub(crate) async fn start(
        &self,
        forges: &Forges,
        connection: ConnectionId,
        request: RerunRequest,
    ) -> Result<Vec<BuildId>, ApiError> {
        let registered = connections::registered(&self.store, connection).await?;
        let found = registered.into_iter().find(|(forge_id, _)| *forge_id == request.repository);
        let (forge_id, repo) = found.ok_or_else(|| ApiError::not_found("repository"))?;
        if !forges.may_write(connection, forge_id, request.sender.clone()).await? {
            return Err(ApiError::forbidden(format!(
                "{} has no write access to the repository on GitHub, and so cannot rerun its builds",
                longshore_forge::text::one_line(&request.sender)
            )));
        }
        let by = Actor { name: longshore_forge::text::one_line(&request.sender), via: Via::Event, token: None };
        let _guard = self.one_at_a_time.lock().await;
        // Recorded first: after a crash in between, the rerun has to be requested again, but no build is created twice.
        self.accept_once(repo, &request.key).await?;
        let created = self.rerun_all(repo, request.what, &by).await;
        if created.is_err() {
            let mut tx = self.store.write().await?;
            announcements::forget_body(&mut tx, repo, &request.key).await?;
            tx.commit().await?;
        }
        created
    }

    /// Accepts a request only once. GitHub's signature does not cover the time, so anybody who got hold of a request
    /// could otherwise replay it forever.
    async fn accept_once(&self, repo: RepoId, key: &str) -> Result<(), ApiError> {
        if announcements::find_body(&self.store, repo, key).await?.is_some() {
            return Err(ApiError::conflict(
                "this request was delivered before and its rerun was created: to rerun again, use the newest build",
            ));
        }
        let mut tx = self.store.write().await?;
        announcements::record_body(&mut tx, repo, key, None).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn rerun_all(&self, repo: RepoId, what: Rerun, by: &Actor) -> Result<Vec<BuildId>, ApiError> {
        match what {
            Rerun::Check { name, external_id } => {
                let build = external_id.parse().map_err(|_| ApiError::not_found("build"))?;
                Ok(vec![self.rerun_check(repo, build, &name, by).await?])
            }
            Rerun::Commit(commit) => {
                let mut created = Vec::new();
                let mut refused = Ok(());
                for build in commit_statuses::builds_of_commit(&self.store, repo, commit.as_str()).await? {
                    match self.rerun(repo, build, false, by).await {
                        Ok(build) => created.push(build),
                        Err(error) => refused = Err(error),
                    }
                }
                if created.is_empty() {
                    refused?;
                }
                Ok(created)
            }
        }
    }

    /// Reruns the job of the check run. If it stands for no job, reruns the jobs of its build that did not succeed, or
    /// all of them if all succeeded.
    async fn rerun_check(&self, repo: RepoId, build: BuildId, name: &str, by: &Actor) -> Result<BuildId, ApiError> {
        let jobs = jobs::of_build(&self.store, build).await?;
        if let Some(job) = jobs.iter().find(|job| job_context(&job.pipeline, &job.name) == name) {
            self.ensure_rerunnable(repo, build).await?;
            return Ok(self.scheduler.rerun_job(job.id, by).await?);
        }
        let failed_only = jobs.iter().any(|job| job.status != Status::Success);
        self.rerun(repo, build, failed_only, by).await
    }

    async fn rerun(&self, repo: RepoId, build: BuildId, failed_only: bool, by: &Actor) -> Result<BuildId, ApiError> {
        self.ensure_rerunnable(repo, build).await?;
        Ok(self.scheduler.rerun_build(build, failed_only, by).await?)
    }

    /// Checks that a build belongs to this repository and is not being rerun.
    async fn ensure_rerunnable(&self, repo: RepoId, build: BuildId) -> Result<(), ApiError> {
        let found = builds::get(&self.store, build).await?.filter(|found| found.repo == repo);
        let found = found.ok_or_else(|| ApiError::not_found("build"))?;
        match builds::open_rerun(&self.store, build).await? {
            Some(number) => {
                Err(ApiError::conflict(format!("build #{} is already being rerun as build #{number}", found.number)))
            }
            None => Ok(()),
        }
    }
}
