//! Makes, shows and removes the keys that repositories are fetched with over ssh. No answer contains a private key.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    RepoId,
    access::{Action, Object},
};
use longshore_scheduler::Scheduler;
use longshore_store::Store;

use crate::{
    auth::Caller,
    deploy_key_view::DeployKeyView,
    error::{ApiError, ErrorBody},
    params::Path,
    repo_changes,
};

/// Returns the public half of a repository's deploy key, and the host keys that are pinned with it
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/deploy-key", tag = "repositories", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses((status = 200, body = DeployKeyView), (status = 404, description = "It has none", body = ErrorBody)),
)]
pub(crate) async fn get(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<Json<DeployKeyView>, ApiError> {
    caller.require(Action::ChangeRepo, Object::SomeRepo)?;
    let Path(id) = id?;
    let repo = caller.repo_to(&store, Action::ChangeRepo, id).await?;
    let key = repo.deploy_key.ok_or_else(|| ApiError::not_found("deploy key"))?;
    Ok(Json(key.into()))
}

/// Makes a deploy key for a repository with an ssh address, in place of the one that it has
///
/// The keys that the host shows now are pinned: compare their fingerprints with those that the host publishes.
#[utoipa::path(
    post, path = "/api/v1/repos/{repo}/deploy-key", tag = "repositories", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses(
        (status = 201, body = DeployKeyView), (status = 404, body = ErrorBody),
        (status = 422, description = "Its address is not one for ssh", body = ErrorBody),
        (status = 502, description = "The host cannot be reached", body = ErrorBody),
    ),
)]
pub(crate) async fn create(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<(StatusCode, Json<DeployKeyView>), ApiError> {
    caller.require(Action::ChangeRepo, Object::SomeRepo)?;
    let Path(id) = id?;
    caller.repo_to(&store, Action::ChangeRepo, id).await?;
    let key = scheduler.make_deploy_key(id).await?;
    tracing::info!(repo = %id, by = caller.name(), "a deploy key was created");
    Ok((StatusCode::CREATED, Json(key.into())))
}

/// Removes a repository's deploy key. It is then fetched with the server's own keys
#[utoipa::path(
    delete, path = "/api/v1/repos/{repo}/deploy-key", tag = "repositories", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn delete(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ChangeRepo, Object::SomeRepo)?;
    let Path(id) = id?;
    repo_changes::remove_deploy_key(&store, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
