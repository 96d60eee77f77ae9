//! The handle through which the API and the command line ask for builds and for their end.

use std::collections::BTreeMap;

use longshore_core::{BuildId, Diagnostic, JobId, RepoId};

/// What a manual build starts from.
#[derive(Debug, Clone, Default)]
pub struct StartRequest {
    /// `main`, `refs/heads/main`, `refs/tags/v1`; the default branch where nothing is given.
    pub git_ref: Option<String>,
    /// A full commit id; the ref's newest where nothing is given.
    pub commit: Option<String>,
    pub inputs: BTreeMap<String, String>,
    /// Who asks: a token's name.
    pub sender: String,
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
    Store(#[from] longshore_store::StoreError),
}

/// Asks the scheduler for things. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scheduler {}

impl Scheduler {
    /// Fetches, reads and plans the repository's pipelines at that commit, and queues the build.
    pub async fn start_build(&self, repo: RepoId, request: StartRequest) -> Result<BuildId, RequestError> {
        let _ = (repo, request);
        Err(RequestError::ShuttingDown)
    }

    /// Asks every job of the build to stop. A build that has ended stays as it is.
    pub async fn cancel_build(&self, build: BuildId) -> Result<(), RequestError> {
        let _ = build;
        Err(RequestError::ShuttingDown)
    }

    /// Asks a job to stop. A job that has ended stays as it is.
    pub async fn cancel_job(&self, job: JobId) -> Result<(), RequestError> {
        let _ = job;
        Err(RequestError::ShuttingDown)
    }

    /// Runs an ended build once more as a new build, with the same plan; `failed_only` carries over what succeeded.
    pub async fn rerun_build(&self, build: BuildId, failed_only: bool) -> Result<BuildId, RequestError> {
        let _ = (build, failed_only);
        Err(RequestError::ShuttingDown)
    }

    /// Runs one job of an ended build once more, as a new build that carries over everything else that succeeded.
    pub async fn rerun_job(&self, job: JobId) -> Result<BuildId, RequestError> {
        let _ = job;
        Err(RequestError::ShuttingDown)
    }
}
