//! Finds a build or a job for a caller who may do something with it. For everybody else it does not exist.

use longshore_core::{
    BuildId, JobId,
    access::{Action, Object},
};
use longshore_store::{
    Store,
    builds::{self, Build},
    jobs::{self, Job},
    repos::Repo,
};

use crate::{auth::Caller, error::ApiError};

/// Returns the build and its repository if the caller may see it.
pub(crate) async fn find_build(store: &Store, caller: &Caller, id: BuildId) -> Result<(Build, Repo), ApiError> {
    find_build_to(store, caller, Action::See, id).await
}

/// Returns the build and its repository if the caller may do that with it.
pub(crate) async fn find_build_to(
    store: &Store,
    caller: &Caller,
    action: Action,
    id: BuildId,
) -> Result<(Build, Repo), ApiError> {
    caller.require(action, Object::SomeRepo)?;
    let build = builds::get(store, id).await?.ok_or_else(|| ApiError::not_found("build"))?;
    let repo = caller.repo_to(store, action, build.repo).await.map_err(|error| error.with_noun("build"))?;
    Ok((build, repo))
}

/// Returns the job if the caller may see it.
pub(crate) async fn find_job(store: &Store, caller: &Caller, id: JobId) -> Result<Job, ApiError> {
    find_job_to(store, caller, Action::See, id).await
}

/// Returns the job if the caller may do that with it.
pub(crate) async fn find_job_to(store: &Store, caller: &Caller, action: Action, id: JobId) -> Result<Job, ApiError> {
    caller.require(action, Object::SomeRepo)?;
    let job = jobs::get(store, id).await?.ok_or_else(|| ApiError::not_found("job"))?;
    caller.repo_to(store, action, job.repo).await.map_err(|error| error.with_noun("job"))?;
    Ok(job)
}
