//! Renews the secrets of webhooks.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    RepoId,
    access::{Action, Object},
};
use longshore_store::{Store, repos::RepoPatch};

use super::repos::RepoView;
use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    forges::Forges,
    params::Path,
    public_url::PublicUrl,
    repo_changes::{self, apply_patch},
};

/// Creates a new hook secret; the old one stops working immediately. If a connection set up the webhook, the forge gets the new one, and the old one works until it has it
#[utoipa::path(
    post, path = "/api/v1/repos/{repo}/hook-secret", tag = "repositories", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses(
        (status = 200, description = "The repository with its hook secret, which is shown only once, and not if a connection has given it to the forge", body = RepoView),
        (status = 404, body = ErrorBody),
        (status = 422, description = "The forge refuses the new secret: the former one works, too", body = ErrorBody),
        (status = 502, description = "The forge cannot be reached: the former secret works, too", body = ErrorBody),
    ),
)]
pub(crate) async fn renew_hook_secret(
    State(store): State<Store>,
    State(public_url): State<PublicUrl>,
    State(forges): State<Forges>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<Json<RepoView>, ApiError> {
    caller.require(Action::ChangeRepo, Object::SomeRepo)?;
    let Path(id) = id?;
    caller.repo_to(&store, Action::ChangeRepo, id).await?;
    let repo = apply_patch(&store, id, &RepoPatch { renew_hook_secret: true, ..RepoPatch::default() }).await?;
    forges.renew_hook(&repo).await?;
    tracing::info!(repo = %id, by = caller.name(), "a hook secret was renewed");
    Ok(Json(RepoView::with_secret(&public_url, repo)?))
}

/// Rejects the former hook secret from now on, although the forge has not taken the new one yet
///
/// For a secret that others know. Deliveries are refused until the forge has the new one.
#[utoipa::path(
    delete, path = "/api/v1/repos/{repo}/hook-secret/former", tag = "repositories", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn reject_former_hook_secret(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ChangeRepo, Object::SomeRepo)?;
    let Path(id) = id?;
    repo_changes::reject_former_hook_secret(&store, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
