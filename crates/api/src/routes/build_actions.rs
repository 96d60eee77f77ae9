//! Starts, cancels, reruns and approves builds. The scheduler does the work; these handlers ask it.

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    BuildId, RepoId,
    access::{Action, Object},
};
use longshore_scheduler::{Scheduler, StartRequest};
use longshore_store::{Store, builds};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    approvals::approve_build,
    auth::Caller,
    build_views::view_build,
    error::{ApiError, ErrorBody},
    json_request::JsonRequest,
    lookup::find_build_to,
    params::Path,
    standings::{BuildStanding, build_standing},
    views::{BuildView, RepoRef},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartBuild {
    /// `main`, `v1`, `refs/heads/main` or `refs/tags/v1`: a short name is a branch or else a tag; the default branch by default
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    /// A full commit ID on the ref; the ref's latest commit by default
    commit: Option<String>,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
}

/// Starts a build
#[utoipa::path(
    post, path = "/api/v1/repos/{repo}/builds", tag = "builds", security(("token" = ["build"])),
    params(("repo" = String, Path, description = "The repository's ID")), request_body = StartBuild,
    responses(
        (status = 201, body = BuildView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, description = "The branch does not exist, the commit is not on it, no pipeline applies, or the pipeline has errors", body = ErrorBody),
        (status = 502, description = "The git host does not respond, or denies access", body = ErrorBody),
    ),
)]
pub(crate) async fn start(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    id: Result<Path<RepoId>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<BuildView>), ApiError> {
    let (caller, new): (_, StartBuild) = request.parse(Action::Start, Object::SomeRepo).await?;
    let Path(id) = id?;
    let repo = caller.repo_to(&store, Action::Start, id).await?;
    let request = StartRequest { git_ref: new.git_ref, commit: new.commit, inputs: new.inputs, by: caller.actor() };
    let id = scheduler.start_build(id, request).await?;
    let build = builds::get(&store, id).await?.ok_or_else(|| ApiError::not_found("build"))?;
    Ok((StatusCode::CREATED, Json(view_build(&store, build, RepoRef::from(&repo)).await?)))
}

/// Cancels a build; a finished build stays as it is
#[utoipa::path(
    post, path = "/api/v1/builds/{build}/cancel", tag = "builds", security(("token" = ["build"])),
    params(("build" = String, Path, description = "The build's ID")),
    responses((status = 202, body = BuildStanding), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn cancel(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    caller: Caller,
    id: Result<Path<BuildId>, ApiError>,
) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    caller.require(Action::Cancel, Object::SomeRepo)?;
    let Path(id) = id?;
    find_build_to(&store, &caller, Action::Cancel, id).await?;
    scheduler.cancel_build(id, caller.actor()).await?;
    build_standing(&store, id).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rerun {
    /// Rerun only jobs that did not succeed, and carry over the others; `false` by default
    #[serde(default)]
    failed_only: bool,
}

/// Reruns a build, as a new build of the same plan
#[utoipa::path(
    post, path = "/api/v1/builds/{build}/rerun", tag = "builds", security(("token" = ["build"])),
    params(("build" = String, Path, description = "The build's ID")), request_body = Rerun,
    responses(
        (status = 202, description = "The new build", body = BuildStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "The build has not finished yet", body = ErrorBody),
    ),
)]
pub(crate) async fn rerun(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    id: Result<Path<BuildId>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    let (caller, rerun): (_, Rerun) = request.parse(Action::Rerun, Object::SomeRepo).await?;
    let Path(id) = id?;
    find_build_to(&store, &caller, Action::Rerun, id).await?;
    let new = scheduler.rerun_build(id, rerun.failed_only, &caller.actor()).await?;
    build_standing(&store, new).await
}

/// Approves all jobs of a build that are awaiting approval, and later ones that only ask about its commit
#[utoipa::path(
    post, path = "/api/v1/builds/{build}/approve", tag = "builds", security(("token" = ["approve"])),
    params(("build" = String, Path, description = "The build's ID")),
    responses(
        (status = 202, body = BuildStanding), (status = 404, body = ErrorBody),
        (status = 409, description = "No job of the build is awaiting approval", body = ErrorBody),
    ),
)]
pub(crate) async fn approve(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    caller: Caller,
    id: Result<Path<BuildId>, ApiError>,
) -> Result<(StatusCode, Json<BuildStanding>), ApiError> {
    caller.require(Action::Approve, Object::SomeRepo)?;
    let Path(id) = id?;
    approve_build(&store, &scheduler, &caller, id).await?;
    build_standing(&store, id).await
}
