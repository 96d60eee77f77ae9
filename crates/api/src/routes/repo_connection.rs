//! Attaches registered repositories to connections.

use axum::{Json, extract::State};
use longshore_core::{
    RepoId,
    access::{Action, Object},
};
use longshore_store::Store;
use serde::Deserialize;
use utoipa::ToSchema;

use super::repos::RepoView;
use crate::{
    error::{ApiError, ErrorBody},
    forges::Forges,
    json_request::JsonRequest,
    params::Path,
    public_url::PublicUrl,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachRepo {
    /// The id, name, kind or address of the connection
    connection: String,
    /// The repository's name on the forge; by default taken from the clone URL, or its name here if that URL is on the forge's host
    name: Option<String>,
}

/// Attaches a repository that was registered by hand to a connection
///
/// Sets up the webhook in place of the one with the same address, with the secret that the repository has. If it is
/// cloned from that forge by http, it is cloned with the connection's token from now on. Its commits get statuses.
#[utoipa::path(
    post, path = "/api/v1/repos/{repo}/connection", tag = "connections", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")), request_body = AttachRepo,
    responses(
        (status = 200, body = RepoView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "It is connected already, or is another repository", body = ErrorBody),
        (status = 422, description = "The forge refuses to let the connection set it up", body = ErrorBody),
        (status = 502, description = "The forge cannot be reached", body = ErrorBody),
    ),
)]
pub(crate) async fn attach(
    State(store): State<Store>,
    State(public_url): State<PublicUrl>,
    State(forges): State<Forges>,
    id: Result<Path<RepoId>, ApiError>,
    request: JsonRequest,
) -> Result<Json<RepoView>, ApiError> {
    let (caller, wanted): (_, AttachRepo) = request.parse(Action::ManageConnections, Object::Server).await?;
    let Path(id) = id?;
    let repo = caller.repo_to(&store, Action::ChangeRepo, id).await?;
    let connection = forges.find(&wanted.connection).await?;
    let repo = forges.attach(&repo, connection.id, wanted.name.as_deref()).await?;
    tracing::info!(repo = %id, connection = connection.name, by = caller.name(), "a repository was connected");
    Ok(Json(RepoView::new(&public_url, repo)))
}
