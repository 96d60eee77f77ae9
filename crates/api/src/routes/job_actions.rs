//! Cancels, reruns, approves and declines jobs. The scheduler does the work; these handlers ask it.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    JobId,
    access::{Action, Object},
};
use longshore_scheduler::Scheduler;
use longshore_store::Store;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    lookup::find_job_to,
    params::Path,
    standings::{BuildStanding, JobStanding, build_standing, job_standing},
};

/// Cancels a job; a finished job stays as it is
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/cancel", tag = "jobs", security(("token" = ["build"])),
    params(("job" = String, Path, description = "The job's ID")),
    responses((status = 202, body = JobStanding), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn cancel(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    caller: Caller,
    id: Result<Path<JobId>, ApiError>,
) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    caller.require(Action::Cancel, Object::SomeRepo)?;
    let Path(id) = id?;
    find_job_to(&store, &caller, Action::Cancel, id).await?;
    scheduler.cancel_job(id, caller.actor()).await?;
    job_standing(&store, id).await
}

/// Reruns a job, as a new build that carries over all other successful jobs
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/rerun", tag = "jobs", security(("token" = ["build"])),
    params(("job" = String, Path, description = "The job's ID")),
    responses(
        (status = 202, description = "The new build", body = BuildStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "The build has not finished yet", body = ErrorBody),
    ),
)]
pub(crate) async fn rerun(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    caller: Caller,
    id: Result<Path<JobId>, ApiError>,
) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    caller.require(Action::Rerun, Object::SomeRepo)?;
    let Path(id) = id?;
    find_job_to(&store, &caller, Action::Rerun, id).await?;
    let new = scheduler.rerun_job(id, &caller.actor()).await?;
    build_standing(&store, new).await
}

/// Approves a job that is awaiting approval
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/approve", tag = "jobs", security(("token" = ["approve"])),
    params(("job" = String, Path, description = "The job's ID")),
    responses(
        (status = 202, body = JobStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "The job is not awaiting approval", body = ErrorBody),
    ),
)]
pub(crate) async fn approve(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    caller: Caller,
    id: Result<Path<JobId>, ApiError>,
) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    caller.require(Action::Approve, Object::SomeRepo)?;
    let Path(id) = id?;
    find_job_to(&store, &caller, Action::Approve, id).await?;
    scheduler.approve_job(id, caller.actor()).await?;
    tracing::info!(job = %id, by = caller.name(), "a job was approved");
    job_standing(&store, id).await
}

/// Declines a job that is awaiting approval
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/decline", tag = "jobs", security(("token" = ["approve"])),
    params(("job" = String, Path, description = "The job's ID")),
    responses(
        (status = 202, body = JobStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "The job is not awaiting approval", body = ErrorBody),
    ),
)]
pub(crate) async fn decline(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    caller: Caller,
    id: Result<Path<JobId>, ApiError>,
) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    caller.require(Action::Approve, Object::SomeRepo)?;
    let Path(id) = id?;
    find_job_to(&store, &caller, Action::Approve, id).await?;
    scheduler.decline_job(id, caller.actor()).await?;
    tracing::info!(job = %id, by = caller.name(), "a job was declined");
    job_standing(&store, id).await
}
