//! Builds: started, cancelled, run once more. The scheduler does it; here it is asked.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    BuildId, RepoId, Status,
    access::{Action, Object},
};
use longshore_scheduler::StartRequest;
use longshore_store::builds;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ApiError,
    auth::Caller,
    body::JsonRequest,
    builds::{find_to, view},
    error::ErrorBody,
    params::Path,
    server::Server,
    views::{BuildView, RepoRef},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartBuild {
    /// `main`, `v1`, `refs/heads/main`, `refs/tags/v1`: a short name is a branch's or else a tag's; the default branch where it is not given
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    /// A full commit id, of a commit that is on the ref; the ref's newest where it is not given
    commit: Option<String>,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
}

/// Starts a build by hand
#[utoipa::path(
    post, path = "/api/v1/repos/{repo}/builds", tag = "builds", security(("token" = ["build"])),
    params(("repo" = String, Path, description = "The repository's id")), request_body = StartBuild,
    responses(
        (status = 201, body = BuildView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, description = "No such branch, a commit that is not on it, no pipeline for it, or one with errors", body = ErrorBody),
        (status = 502, description = "The git host does not answer, or refuses", body = ErrorBody),
    ),
)]
pub(crate) async fn start(
    State(server): State<Arc<Server>>,
    id: Result<Path<RepoId>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<BuildView>), ApiError> {
    let (caller, new): (_, StartBuild) = request.of(Action::Start, Object::SomeRepo, &server).await?;
    let Path(id) = id?;
    let repo = caller.repo_to(&server, Action::Start, id).await?;
    let request = StartRequest { git_ref: new.git_ref, commit: new.commit, inputs: new.inputs, by: caller.actor() };
    let id = server.scheduler.start_build(id, request).await?;
    let build = builds::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("build"))?;
    Ok((StatusCode::CREATED, Json(view(&server, build, RepoRef::from(&repo)).await?)))
}

/// How a build stands after it was asked for something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BuildStanding {
    #[schema(value_type = String, format = "uuid")]
    id: BuildId,
    number: u64,
    #[schema(value_type = String, example = "canceling")]
    status: Status,
}

/// The answer to what was asked of a build, or made one.
pub(crate) async fn standing(server: &Server, id: BuildId) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    let build = builds::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("build"))?;
    Ok((StatusCode::ACCEPTED, Json(BuildStanding { id: build.id, number: build.number, status: build.status })))
}

/// Asks a build to stop; one that is over stays as it is
#[utoipa::path(
    post, path = "/api/v1/builds/{build}/cancel", tag = "builds", security(("token" = ["build"])),
    params(("build" = String, Path, description = "The build's id")),
    responses((status = 202, body = BuildStanding), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn cancel(
    State(server): State<Arc<Server>>,
    caller: Caller,
    id: Result<Path<BuildId>, ApiError>,
) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    caller.require(Action::Cancel, Object::SomeRepo)?;
    let Path(id) = id?;
    find_to(&server, &caller, Action::Cancel, id).await?;
    server.scheduler.cancel_build(id, caller.actor()).await?;
    standing(&server, id).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rerun {
    /// Carry over the jobs that succeeded; not where it is not said
    #[serde(default)]
    failed_only: bool,
}

/// Runs a build once more, as a new build with the same plan
#[utoipa::path(
    post, path = "/api/v1/builds/{build}/rerun", tag = "builds", security(("token" = ["build"])),
    params(("build" = String, Path, description = "The build's id")), request_body = Rerun,
    responses(
        (status = 202, description = "The new build", body = BuildStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "The build is not over yet", body = ErrorBody),
    ),
)]
pub(crate) async fn rerun(
    State(server): State<Arc<Server>>,
    id: Result<Path<BuildId>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    let (caller, rerun): (_, Rerun) = request.of(Action::Rerun, Object::SomeRepo, &server).await?;
    let Path(id) = id?;
    find_to(&server, &caller, Action::Rerun, id).await?;
    let new = server.scheduler.rerun_build(id, rerun.failed_only, &caller.actor()).await?;
    standing(&server, new).await
}

/// Lets all jobs of a build go on that wait for approval, and those to come that ask about its commit alone
#[utoipa::path(
    post, path = "/api/v1/builds/{build}/approve", tag = "builds", security(("token" = ["approve"])),
    params(("build" = String, Path, description = "The build's id")),
    responses(
        (status = 202, body = BuildStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "No job of the build waits for approval", body = ErrorBody),
    ),
)]
pub(crate) async fn approve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    id: Result<Path<BuildId>, ApiError>,
) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    caller.require(Action::Approve, Object::SomeRepo)?;
    let Path(id) = id?;
    approve_all(&server, &caller, id).await?;
    standing(&server, id).await
}

/// Approves what waits in a build, for the API and the page.
pub(crate) async fn approve_all(server: &Server, caller: &Caller, id: BuildId) -> Result<(), ApiError> {
    find_to(server, caller, Action::Approve, id).await?;
    server.scheduler.approve_build(id, caller.actor()).await?;
    tracing::info!(build = %id, by = caller.name(), "a build was approved");
    Ok(())
}
