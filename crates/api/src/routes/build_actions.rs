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
    let build = builds::get(&store, id).await?.ok_or_else(|| ApiError::no_such("build"))?;
    Ok((StatusCode::CREATED, Json(view_build(&store, build, RepoRef::from(&repo)).await?)))
}

/// Asks a build to stop; one that is over stays as it is
#[utoipa::path(
    post, path = "/api/v1/builds/{build}/cancel", tag = "builds", security(("token" = ["build"])),
    params(("build" = String, Path, description = "The build's id")),
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
