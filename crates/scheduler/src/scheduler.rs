//! The handle through which the API and the command line start, cancel, approve and rerun builds.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use longshore_core::{BuildId, Diagnostic, EventName, JobId, RepoId, Timestamp, access::Actor};
use longshore_git::FetchTarget;
use longshore_store::{
    Store, StoreError,
    acts::{self, ActKind, ActTarget},
    audit::Pending,
    builds::NewBuild,
    deploy_keys::DeployKey,
    repos,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    deploy_key, discovery,
    dispatcher::{AuditedRequest, Dispatcher, Order, Report, Request},
    ingest,
    looks::{self, Looks},
    manual::{self, ManualStart},
    missed_pushes::{self, Checked},
    outsiders,
    prepare::{EventOutcome, Origin, Planner, Prepared},
    rerun::{self, Rerun},
    schedules::{self, Schedules},
    start::{self, StartTarget},
};

/// How much the scheduler does, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Jobs that run at once.
    pub capacity: usize,
    /// How often repositories are checked for pushes that no webhook reported, from the start on; `None` leaves that to
    /// people.
    pub check_every: Option<Duration>,
}

/// A request to start a build by hand.
#[derive(Debug, Clone, Default)]
pub struct StartRequest {
    /// `main`, `v1`, `refs/heads/main`, `refs/tags/v1`: a short name is a branch's or else a tag's. `None` means the
    /// default branch.
    pub git_ref: Option<String>,
    /// A full commit id, of a commit that is on the ref. `None` means the ref's newest commit.
    pub commit: Option<String>,
    pub inputs: BTreeMap<String, String>,
    /// Who asks.
    pub by: Actor,
}

/// Why a request was refused. The texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts the current state (a rerun of a build that still runs).
    #[error("{0}")]
    Conflict(String),
    /// The request itself cannot be carried out: no such branch, no pipeline for it.
    #[error("{message}")]
    Unusable { message: String, diagnostics: Vec<Diagnostic> },
    /// The forge does not answer, or refuses.
    #[error("{0}")]
    GitHost(String),
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RequestError {
    pub(crate) fn unusable(message: impl Into<String>) -> Self {
        Self::Unusable { message: message.into(), diagnostics: Vec::new() }
    }
}

/// The handle to the scheduler. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scheduler {
    store: Store,
    planner: Planner,
    requests: mpsc::Sender<AuditedRequest>,
    looks: Arc<Looks>,
}

impl Scheduler {
    /// Spawns the ingest loop, the schedules, the checks of repositories, the discovery of new ones and the dispatcher
    /// on `tasks`, until `shutdown`. The runner receives its commands from `orders` and sends what it has to report to
    /// `reports`.
    #[must_use]
    pub fn start(
        store: Store,
        planner: Planner,
        pace: Pace,
        orders: mpsc::Sender<Order>,
        reports: mpsc::Receiver<Report>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let (sender, requests) = mpsc::channel(64);
        let running = HashMap::new();
        let dispatcher = Dispatcher {
            store: store.clone(),
            capacity: pace.capacity,
            orders,
            reports,
            requests,
            running,
            asked_to_stop: HashSet::new(),
            pulled_ahead: HashSet::new(),
        };
        tasks.spawn(dispatcher.run(shutdown.clone()));
        let (hurry, hurried) = mpsc::channel(64);
        tasks.spawn(ingest::run(store.clone(), planner.clone(), hurry, shutdown.clone()));
        tasks.spawn(schedules::run(store.clone(), planner.clone(), shutdown.clone()));
        tasks.spawn(discovery::run(store.clone(), planner.clone(), shutdown.clone()));
        if let Some(every) = pace.check_every {
            tasks.spawn(missed_pushes::run(store.clone(), planner.clone(), every, hurried, shutdown.clone()));
        }
        Self { store, planner, requests: sender, looks: Arc::new(Looks::new(looks::AT_ONCE)) }
    }

    /// Fetches, reads and plans the repository's pipelines at that commit, and queues the build.
    pub async fn start_build(&self, repo: RepoId, request: StartRequest) -> Result<BuildId, RequestError> {
        let repo = repos::get(&self.store, repo).await?.ok_or_else(|| not_found("repository"))?;
        let found = start::find(&self.planner, &repo, request.git_ref.as_deref(), request.commit.as_deref()).await?;
        let StartTarget { git_ref, commit, default_branch } = found;
        let origin = Origin {
            sender: request.by.name.clone(),
            default_branch,
            inputs: request.inputs,
            ..Origin::new(EventName::Manual, git_ref.as_str(), FetchTarget::Commit(commit))
        };
        let Prepared { outcome, schedules, .. } =
            self.planner.prepare(&repo, origin).await.map_err(start::git_error)?;
        match outcome {
            EventOutcome::Build { event, plan, diagnostics } => {
                let new = NewBuild::new(repo.id, *event, plan, diagnostics);
                self.create(new, schedules, &request.by).await
            }
            EventOutcome::Nothing(reason) => Err(RequestError::unusable(reason)),
        }
    }

    /// Checks the repository's branches and tags now. Pushes that no webhook reported are built.
    pub async fn check_for_missed_pushes(&self, repo: RepoId) -> Result<Checked, RequestError> {
        self.looks.look(repo, || missed_pushes::check_now(&self.store, &self.planner, repo)).await
    }

    /// Makes the key that a repository is fetched with over ssh, and replaces the one that it has.
    pub async fn make_deploy_key(&self, repo: RepoId) -> Result<DeployKey, RequestError> {
        deploy_key::make(&self.store, repo).await
    }

    /// Returns what a start by hand would start at a branch or tag, or at a commit on it, and which inputs it takes.
    /// With `fetch` it asks the forge. Without, it uses what was fetched before, and returns `None` if that is not
    /// enough.
    pub async fn preview_manual(
        &self,
        repo: RepoId,
        git_ref: Option<&str>,
        commit: Option<&str>,
        fetch: bool,
    ) -> Result<Option<ManualStart>, RequestError> {
        let repo = repos::get(&self.store, repo).await?.ok_or_else(|| not_found("repository"))?;
        let commit = match fetch {
            true => Some(start::find(&self.planner, &repo, git_ref, commit).await?.commit),
            false => start::find_fetched(&self.planner, &repo, git_ref, commit).await?,
        };
        let Some(commit) = commit else { return Ok(None) };
        manual::preview(&self.planner, &repo, &commit).await.map(Some).map_err(start::git_error)
    }

    /// Asks every job of the build to stop. Does nothing to a build that has ended.
    pub async fn cancel_build(&self, build: BuildId, by: Actor) -> Result<(), RequestError> {
        self.request(|done| Request::CancelBuild { build, by, done }).await
    }

    /// Asks a job to stop. Does nothing to a job that has ended.
    pub async fn cancel_job(&self, job: JobId, by: Actor) -> Result<(), RequestError> {
        self.request(|done| Request::CancelJob { job, by, done }).await
    }

    /// Approves a job that is awaiting approval.
    pub async fn approve_job(&self, job: JobId, by: Actor) -> Result<(), RequestError> {
        self.request(|done| Request::Approve { job, by, done }).await
    }

    /// Approves all jobs of a build that wait for approval, and those to come that ask only about its commit.
    pub async fn approve_build(&self, build: BuildId, by: Actor) -> Result<(), RequestError> {
        self.request(|done| Request::ApproveBuild { build, by, done }).await
    }

    /// Declines a job that is awaiting approval, which ends it.
    pub async fn decline_job(&self, job: JobId, by: Actor) -> Result<(), RequestError> {
        self.request(|done| Request::Decline { job, by, done }).await
    }

    /// Runs an ended build again as a new build with the same plan. `failed_only` carries over what succeeded.
    pub async fn rerun_build(&self, build: BuildId, failed_only: bool, by: &Actor) -> Result<BuildId, RequestError> {
        let what = if failed_only { Rerun::Failed } else { Rerun::All };
        self.create(rerun::plan(&self.store, build, what).await?, None, by).await
    }

    /// Runs one job of an ended build again, in a new build that carries over everything else that succeeded.
    pub async fn rerun_job(&self, job: JobId, by: &Actor) -> Result<BuildId, RequestError> {
        let found = longshore_store::jobs::get(&self.store, job).await?.ok_or_else(|| not_found("job"))?;
        self.create(rerun::plan(&self.store, found.build, Rerun::Job(job)).await?, None, by).await
    }

    async fn create(&self, new: NewBuild, schedules: Option<Schedules>, by: &Actor) -> Result<BuildId, RequestError> {
        let (mut tx, now) = (self.store.write().await?, Timestamp::now());
        if let Some(schedules) = &schedules {
            longshore_store::schedules::replace(&mut tx, new.repo, schedules).await?;
        }
        let rerun_of = new.rerun_of;
        let build = outsiders::create(&mut tx, new, now).await?;
        acts::record(&mut tx, ActKind::Started, ActTarget::build(build.id), by, now).await?;
        if let Some(first) = rerun_of {
            let target = ActTarget { made: Some(build.id), ..ActTarget::build(first) };
            acts::record(&mut tx, ActKind::Rerun, target, by, now).await?;
        }
        tx.commit().await?;
        Ok(build.id)
    }

    async fn request(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Request,
    ) -> Result<(), RequestError> {
        let (done, answer) = oneshot::channel();
        let asked = AuditedRequest { request: request(done), audited: Pending::carried() };
        self.requests.send(asked).await.map_err(|_| RequestError::ShuttingDown)?;
        Ok(answer.await.map_err(|_| RequestError::ShuttingDown)??)
    }
}

pub(crate) fn not_found(what: &str) -> RequestError {
    RequestError::NotFound(format!("{what} not found"))
}
