//! Jobs: cancelled, run once more, approved. The scheduler does it; here it is asked.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{JobId, Status};
use longshore_store::{jobs, tokens::Scope};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    ApiError,
    auth::Caller,
    build_actions::{BuildStanding, standing},
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
    caller.require(Scope::Build)?;
    let Path(id) = id?;
    server.scheduler.cancel_job(id).await?;
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
    caller.require(Scope::Build)?;
    let Path(id) = id?;
    let new = server.scheduler.rerun_job(id).await?;
    standing(&server, new).await
}

/// Whether somebody may say yes and no to what waits for approval: asked by the API and the pages, for jobs and builds.
pub(crate) fn may_approve(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::Build)
}

/// Lets a job that waits for approval go on
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/approve", tag = "jobs", security(("token" = ["build"])),
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
    may_approve(&caller)?;
    let Path(id) = id?;
    server.scheduler.approve_job(id, caller.name()).await?;
    tracing::info!(job = %id, by = caller.name(), "a job was approved");
    now(&server, id).await
}

/// Ends a job that waits for approval
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/decline", tag = "jobs", security(("token" = ["build"])),
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
    may_approve(&caller)?;
    let Path(id) = id?;
    server.scheduler.decline_job(id, caller.name()).await?;
    tracing::info!(job = %id, by = caller.name(), "a job was declined");
    now(&server, id).await
}

async fn now(server: &Server, id: JobId) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    let job = jobs::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("job"))?;
    Ok((StatusCode::ACCEPTED, Json(JobStanding { id, status: job.status })))
}
