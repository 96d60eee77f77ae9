//! What is done to a job from its page and its build's: cancelled, run once more, approved, declined.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use longshore_core::{JobId, access::Action};

use crate::{
    ApiError,
    builds::find_job_to,
    pages::post::{Nothing, Post, see},
    params::Path,
    server::Server,
};

pub(crate) async fn cancel(
    State(server): State<Arc<Server>>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    find_job_to(&server, &visitor.caller, Action::Cancel, id).await?;
    server.scheduler.cancel_job(id, visitor.caller.actor()).await?;
    Ok(see(&format!("/jobs/{id}")))
}

pub(crate) async fn rerun(
    State(server): State<Arc<Server>>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    find_job_to(&server, &visitor.caller, Action::Rerun, id).await?;
    let new = server.scheduler.rerun_job(id, &visitor.caller.actor()).await?;
    Ok(see(&format!("/builds/{new}")))
}

pub(crate) async fn approve(
    State(server): State<Arc<Server>>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    let job = find_job_to(&server, &visitor.caller, Action::Approve, id).await?;
    server.scheduler.approve_job(id, visitor.caller.actor()).await?;
    tracing::info!(job = %id, by = visitor.caller.name(), "a job was approved");
    Ok(see(&format!("/builds/{}", job.build)))
}

pub(crate) async fn decline(
    State(server): State<Arc<Server>>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    let job = find_job_to(&server, &visitor.caller, Action::Approve, id).await?;
    server.scheduler.decline_job(id, visitor.caller.actor()).await?;
    tracing::info!(job = %id, by = visitor.caller.name(), "a job was declined");
    Ok(see(&format!("/builds/{}", job.build)))
}
