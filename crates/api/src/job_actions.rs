//! Jobs: cancelled, run once more, approved. The scheduler does it; here it is asked.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    JobId, Status,
    access::{Action, Object},
};
use longshore_store::jobs;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    ApiError,
    auth::Caller,
    build_actions::{BuildStanding, standing},
    builds::find_job_to,
    error::ErrorBody,
    params::Path,
    server::Server,
};

/// How a job stands after it was asked for something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobStanding {
    #[schema(value_type = String, format = "uuid")]
    id: JobId,
    #[schema(value_type = String, example = "canceling")]
    status: Status,
}

/// Asks a job to stop; one that is over stays as it is
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/cancel", tag = "jobs", security(("token" = ["build"])),
    params(("job" = String, Path, description = "The job's id")),
    responses((status = 202, body = JobStanding), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn cancel(
    State(server): State<Arc<Server>>,
    caller: Caller,
    id: Result<Path<JobId>, ApiError>,
) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    caller.require(Action::Cancel, Object::SomeRepo)?;
    let Path(id) = id?;
    find_job_to(&server, &caller, Action::Cancel, id).await?;
    server.scheduler.cancel_job(id, caller.actor()).await?;
    now(&server, id).await
}

/// Runs a job once more, as a new build that carries over everything else that succeeded
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/rerun", tag = "jobs", security(("token" = ["build"])),
    params(("job" = String, Path, description = "The job's id")),
    responses(
        (status = 202, description = "The new build", body = BuildStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "The build is not over yet", body = ErrorBody),
    ),
)]
pub(crate) async fn rerun(
    State(server): State<Arc<Server>>,
    caller: Caller,
    id: Result<Path<JobId>, ApiError>,
) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    caller.require(Action::Rerun, Object::SomeRepo)?;
    let Path(id) = id?;
    find_job_to(&server, &caller, Action::Rerun, id).await?;
    let new = server.scheduler.rerun_job(id, &caller.actor()).await?;
    standing(&server, new).await
}

/// Lets a job that waits for approval go on
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/approve", tag = "jobs", security(("token" = ["approve"])),
    params(("job" = String, Path, description = "The job's id")),
    responses(
        (status = 202, body = JobStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "The job waits for no approval", body = ErrorBody),
    ),
)]
pub(crate) async fn approve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    id: Result<Path<JobId>, ApiError>,
) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    caller.require(Action::Approve, Object::SomeRepo)?;
    let Path(id) = id?;
    find_job_to(&server, &caller, Action::Approve, id).await?;
    server.scheduler.approve_job(id, caller.actor()).await?;
    tracing::info!(job = %id, by = caller.name(), "a job was approved");
    now(&server, id).await
}

/// Ends a job that waits for approval
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/decline", tag = "jobs", security(("token" = ["approve"])),
    params(("job" = String, Path, description = "The job's id")),
    responses(
        (status = 202, body = JobStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "The job waits for no approval", body = ErrorBody),
    ),
)]
pub(crate) async fn decline(
    State(server): State<Arc<Server>>,
    caller: Caller,
    id: Result<Path<JobId>, ApiError>,
) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    caller.require(Action::Approve, Object::SomeRepo)?;
    let Path(id) = id?;
    find_job_to(&server, &caller, Action::Approve, id).await?;
    server.scheduler.decline_job(id, caller.actor()).await?;
    tracing::info!(job = %id, by = caller.name(), "a job was declined");
    now(&server, id).await
}

async fn now(server: &Server, id: JobId) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    let job = jobs::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("job"))?;
    Ok((StatusCode::ACCEPTED, Json(JobStanding { id, status: job.status })))
}
