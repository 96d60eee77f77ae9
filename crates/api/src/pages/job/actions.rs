//! What is done to a job from its page and its build's: cancelled, run once more, approved, declined.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use longshore_core::{BuildId, JobId};
use longshore_store::{jobs, tokens::Scope};

use crate::{
    ApiError,
    job_actions::may_approve,
    pages::post::{Nothing, Post, see},
    params::Path,
    server::Server,
};

pub(crate) async fn cancel(
    State(server): State<Arc<Server>>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Build)?;
    server.scheduler.cancel_job(id).await?;
    Ok(see(&format!("/jobs/{id}")))
}

pub(crate) async fn rerun(
    State(server): State<Arc<Server>>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Build)?;
    let new = server.scheduler.rerun_job(id).await?;
    Ok(see(&format!("/builds/{new}")))
}

pub(crate) async fn approve(
    State(server): State<Arc<Server>>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    may_approve(&visitor.caller)?;
    server.scheduler.approve_job(id, visitor.caller.name()).await?;
    tracing::info!(job = %id, by = visitor.caller.name(), "a job was approved");
    Ok(see(&format!("/builds/{}", build_of(&server, id).await?)))
}

pub(crate) async fn decline(
    State(server): State<Arc<Server>>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    may_approve(&visitor.caller)?;
    server.scheduler.decline_job(id, visitor.caller.name()).await?;
    tracing::info!(job = %id, by = visitor.caller.name(), "a job was declined");
    Ok(see(&format!("/builds/{}", build_of(&server, id).await?)))
}

async fn build_of(server: &Server, id: JobId) -> Result<BuildId, ApiError> {
    let job = jobs::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("job"))?;
    Ok(job.build)
}
