//! The handle through which the API and the command line ask for builds and for their end.

use std::collections::{BTreeMap, HashMap, HashSet};

use longshore_core::{BuildId, Diagnostic, EventName, JobId, RepoId, Timestamp, access::Actor};
use longshore_forge::git::Wanted;
use longshore_store::{
    Store, StoreError,
    acts::{self, About, Act},
    builds::NewBuild,
    repos,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    discovery,
    dispatcher::{Dispatcher, Order, Report, Request},
    ingest,
    manual::{self, ManualStart},
    outsiders,
    prepare::{Origin, Planner, Prepared, What},
    rerun::{self, Rerun},
    schedules::{self, Schedules},
    start::{self, Found},
};

/// What a manual build starts from.
#[derive(Debug, Clone, Default)]
pub struct StartRequest {
    /// `main`, `v1`, `refs/heads/main`, `refs/tags/v1`: a short name is a branch's or else a tag's; the default branch where nothing is given.
    pub git_ref: Option<String>,
    /// A full commit id, of a commit that is on the ref; the ref's newest where nothing is given.
    pub commit: Option<String>,
    pub inputs: BTreeMap<String, String>,
    /// Who asks.
    pub by: Actor,
}

/// Why a request was not carried out. The texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts how things stand (a rerun of a build that still runs).
    #[error("{0}")]
    Conflict(String),
    /// The request itself cannot be carried out: no such branch, no pipeline for it.
    #[error("{message}")]
    Unusable { message: String, diagnostics: Vec<Diagnostic> },
    /// The git host does not answer, or refuses.
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

/// Asks the scheduler for things. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scheduler {
    store: Store,
    planner: Planner,
    requests: mpsc::Sender<Request>,
}

impl Scheduler {
    /// Starts the ingest loop, the schedules, the look at new repositories and the dispatcher as tasks of `tasks`, ended by `shutdown`. Orders for whoever runs jobs
    /// come out of `orders`; what it has to say goes into `reports`.
    #[must_use]
    pub fn start(
        store: Store,
        planner: Planner,
        capacity: usize,
        orders: mpsc::Sender<Order>,
        reports: mpsc::Receiver<Report>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let (sender, requests) = mpsc::channel(64);
        let running = HashMap::new();
        let dispatcher =
            Dispatcher { store: store.clone(), capacity, orders, reports, requests, running, told: HashSet::new() };
        tasks.spawn(dispatcher.run(shutdown.clone()));
        tasks.spawn(ingest::run(store.clone(), planner.clone(), shutdown.clone()));
        tasks.spawn(schedules::run(store.clone(), planner.clone(), shutdown.clone()));
        tasks.spawn(discovery::run(store.clone(), planner.clone(), shutdown.clone()));
        Self { store, planner, requests: sender }
    }

    /// Fetches, reads and plans the repository's pipelines at that commit, and queues the build.
    pub async fn start_build(&self, repo: RepoId, request: StartRequest) -> Result<BuildId, RequestError> {
        let repo = repos::get(&self.store, repo).await?.ok_or_else(|| not_found("repository"))?;
        let found = start::find(&self.planner, &repo, request.git_ref.as_deref(), request.commit.as_deref()).await?;
        let Found { git_ref, commit, default_branch } = found;
        let origin = Origin {
            name: EventName::Manual,
            git_ref: git_ref.as_str().to_owned(),
            wanted: Wanted::Commit(commit),
            before: None,
            sender: request.by.name.clone(),
            url: None,
            default_branch,
            inputs: request.inputs,
            pull_request: None,
            schedule: None,
        };
        let Prepared { what, schedules } = self.planner.prepare(&repo, origin).await.map_err(start::of_git)?;
        match what {
            What::Build { event, plan, diagnostics } => {
                let new = NewBuild {
                    repo: repo.id,
                    event: *event,
                    plan,
                    diagnostics,
                    delivery: None,
                    rerun_of: None,
                    carried_over: Vec::new(),
                };
                self.create(new, schedules, &request.by).await
            }
            What::Nothing(reason) => Err(RequestError::unusable(reason)),
        }
    }

    /// What a start by hand would start at a branch or tag, or at a commit on it, and what it takes. `fetch` asks the git host; without
    /// it what is here counts, and where nothing is here there is no answer.
    pub async fn look_at_manual(
        &self,
        repo: RepoId,
        git_ref: Option<&str>,
        commit: Option<&str>,
        fetch: bool,
    ) -> Result<Option<ManualStart>, RequestError> {
        let repo = repos::get(&self.store, repo).await?.ok_or_else(|| not_found("repository"))?;
        let commit = match fetch {
            true => Some(start::find(&self.planner, &repo, git_ref, commit).await?.commit),
            false => start::find_here(&self.planner, &repo, git_ref, commit).await?,
        };
        let Some(commit) = commit else { return Ok(None) };
        manual::look(&self.planner, &repo, &commit).await.map(Some).map_err(start::of_git)
    }

    /// Asks every job of the build to stop. A build that has ended stays as it is.
    pub async fn cancel_build(&self, build: BuildId, by: Actor) -> Result<(), RequestError> {
        self.ask(|done| Request::CancelBuild { build, by, done }).await
    }

    /// Asks a job to stop. A job that has ended stays as it is.
    pub async fn cancel_job(&self, job: JobId, by: Actor) -> Result<(), RequestError> {
        self.ask(|done| Request::CancelJob { job, by, done }).await
    }

    /// Lets a job go on that waits for approval.
    pub async fn approve_job(&self, job: JobId, by: Actor) -> Result<(), RequestError> {
        self.ask(|done| Request::Approve { job, by, done }).await.map_err(in_words)
    }

    /// Lets all jobs of a build go on that wait for approval, and those to come that ask about its commit alone.
    pub async fn approve_build(&self, build: BuildId, by: Actor) -> Result<(), RequestError> {
        self.ask(|done| Request::ApproveBuild { build, by, done }).await.map_err(in_words)
    }

    /// Ends a job that waits for approval.
    pub async fn decline_job(&self, job: JobId, by: Actor) -> Result<(), RequestError> {
        self.ask(|done| Request::Decline { job, by, done }).await.map_err(in_words)
    }

    /// Runs an ended build once more as a new build, with the same plan; `failed_only` carries over what succeeded.
    pub async fn rerun_build(&self, build: BuildId, failed_only: bool, by: &Actor) -> Result<BuildId, RequestError> {
        let what = if failed_only { Rerun::Failed } else { Rerun::All };
        self.create(rerun::plan(&self.store, build, what).await?, None, by).await
    }

    /// Runs one job of an ended build once more, as a new build that carries over everything else that succeeded.
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
        acts::record(&mut tx, Act::Started, About::build(build.id), by, now).await?;
        if let Some(first) = rerun_of {
            let about = About { made: Some(build.id), ..About::build(first) };
            acts::record(&mut tx, Act::Rerun, about, by, now).await?;
        }
        tx.commit().await?;
        Ok(build.id)
    }

    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Request,
    ) -> Result<(), RequestError> {
        let (done, answer) = oneshot::channel();
        self.requests.send(request(done)).await.map_err(|_| RequestError::ShuttingDown)?;
        Ok(answer.await.map_err(|_| RequestError::ShuttingDown)??)
    }
}

fn in_words(error: RequestError) -> RequestError {
    match error {
        RequestError::Store(StoreError::Conflict(message)) => RequestError::Conflict(message),
        other => other,
    }
}

pub(crate) fn not_found(what: &str) -> RequestError {
    RequestError::NotFound(format!("there is no such {what}"))
}
