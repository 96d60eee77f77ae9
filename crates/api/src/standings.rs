//! The short answers to a request that acts on a build or a job: what its status is now.

use axum::{Json, http::StatusCode};
use longshore_core::{BuildId, JobId, Status};
use longshore_store::{Store, builds, jobs};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// The state of a build after a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BuildStanding {
    #[schema(value_type = String, format = "uuid")]
    id: BuildId,
    number: u64,
    #[schema(value_type = String, example = "canceling")]
    status: Status,
}

/// The state of a job after a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobStanding {
    #[schema(value_type = String, format = "uuid")]
    id: JobId,
    #[schema(value_type = String, example = "canceling")]
    status: Status,
}

/// Answers 202 with the build's current state.
pub(crate) async fn build_standing(store: &Store, id: BuildId) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    let build = builds::get(store, id).await?.ok_or_else(|| ApiError::not_found("build"))?;
    Ok((StatusCode::ACCEPTED, Json(BuildStanding { id: build.id, number: build.number, status: build.status })))
}

/// Answers 202 with the job's current state.
pub(crate) async fn job_standing(store: &Store, id: JobId) -> Result<(StatusCode, Json<JobStanding>), ApiError> {
    let job = jobs::get(store, id).await?.ok_or_else(|| ApiError::not_found("job"))?;
    Ok((StatusCode::ACCEPTED, Json(JobStanding { id, status: job.status })))
}
