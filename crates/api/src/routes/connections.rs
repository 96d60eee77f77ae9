//! Adds, lists and removes connections to forges, and lists what they reach. No answer contains a token.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    ConnectionId, RepoId, Timestamp,
    access::{Action, Object},
};
use longshore_store::{
    Store,
    connections::{self, Connection},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    forges::{AllReached, ConnectionRequest, Forges, Reached},
    json_request::JsonRequest,
    params::Path,
    views::Page,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionView {
    #[schema(value_type = String, format = "uuid")]
    id: ConnectionId,
    /// The name of the connection
    name: String,
    /// `github`, `gitea`, `forgejo`, `gitlab`, `bitbucket` or `gogs`
    kind: String,
    url: String,
    /// The account that the token belongs to
    account: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The name of the token that set it last.
    updated_by: String,
}

impl From<Connection> for ConnectionView {
    fn from(connection: Connection) -> Self {
        let Connection { id, name, kind, url, account, created_at, updated_at, updated_by } = connection;
        Self { id, name, kind, url, account, created_at, updated_at, updated_by }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddConnection {
    /// `github`, `gitea`, `forgejo`, `gitlab`, `bitbucket` or `gogs`
    kind: String,
    /// The forge's address in a browser, such as `https://forge.example`
    url: String,
    /// A token, or with `app_id` the private key of the GitHub App (PEM). Never shown again
    token: String,
    /// The id of a GitHub App, in place of a token
    app_id: Option<String>,
    /// The connection's name; by default its kind
    name: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReachedView {
    /// `owner/name`
    name: String,
    /// The forge's number
    forge_id: String,
    default_branch: Option<String>,
    private: bool,
    /// Whether the connection's account may set up webhooks there
    admin: bool,
    /// Its id here, if it is registered through this connection
    #[schema(value_type = Option<String>, format = "uuid")]
    repo: Option<RepoId>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReachedPage {
    items: Vec<ReachedView>,
    next: Option<String>,
    /// Accounts that have suspended the GitHub App: their repositories are missing
    suspended_by: Vec<String>,
}

impl From<Reached> for ReachedView {
    fn from(reached: Reached) -> Self {
        let remote = reached.remote;
        Self {
            name: remote.name,
            forge_id: remote.id,
            default_branch: remote.default_branch,
            private: remote.private,
            admin: remote.admin,
            repo: reached.registered,
        }
    }
}

/// Lists the connections to forges, without their tokens
#[utoipa::path(
    get, path = "/api/v1/connections", tag = "connections", security(("token" = ["admin"])),
    responses((status = 200, body = Page<ConnectionView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn list(State(store): State<Store>, caller: Caller) -> Result<Json<Page<ConnectionView>>, ApiError> {
    caller.require(Action::ManageConnections, Object::Server)?;
    let all = connections::list(&store).await?;
    Ok(Json(Page::complete(all.into_iter().map(ConnectionView::from).collect())))
}

/// Connects a forge, or replaces the token of a connection. The token is checked at the forge first
#[utoipa::path(
    post, path = "/api/v1/connections", tag = "connections", security(("token" = ["admin"])), request_body = AddConnection,
    responses(
        (status = 200, description = "The token of the connection and of the clone addresses of its repositories was replaced", body = ConnectionView),
        (status = 201, description = "The connection is new", body = ConnectionView),
        (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 422, description = "The forge refuses the token, or it lacks a right", body = ErrorBody),
        (status = 502, description = "The forge cannot be reached", body = ErrorBody),
        (status = 503, description = "The server's encryption key does not belong to this database", body = ErrorBody),
    ),
)]
pub(crate) async fn add(
    State(forges): State<Forges>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<ConnectionView>), ApiError> {
    let (caller, new): (_, AddConnection) = request.parse(Action::ManageConnections, Object::Server).await?;
    let request = ConnectionRequest {
        kind: &new.kind,
        url: &new.url,
        token: &new.token,
        app_id: new.app_id.as_deref(),
        name: new.name.as_deref(),
    };
    let (connection, is_new) = forges.connect(request, caller.name()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(connection.into())))
}

/// One connection, without its token
#[utoipa::path(
    get, path = "/api/v1/connections/{connection}", tag = "connections", security(("token" = ["admin"])),
    params(("connection" = String, Path, description = "The connection's id")),
    responses((status = 200, body = ConnectionView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn get(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<ConnectionId>, ApiError>,
) -> Result<Json<ConnectionView>, ApiError> {
    caller.require(Action::ManageConnections, Object::Server)?;
    let Path(id) = id?;
    let found = connections::get(&store, id).await?.ok_or_else(|| ApiError::not_found("connection"))?;
    Ok(Json(found.into()))
}

/// Removes a connection that no repository uses
#[utoipa::path(
    delete, path = "/api/v1/connections/{connection}", tag = "connections", security(("token" = ["admin"])),
    params(("connection" = String, Path, description = "The connection's id")),
    responses(
        (status = 204), (status = 404, body = ErrorBody),
        (status = 409, description = "Repositories use it", body = ErrorBody),
    ),
)]
pub(crate) async fn delete(
    State(forges): State<Forges>,
    caller: Caller,
    id: Result<Path<ConnectionId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageConnections, Object::Server)?;
    let Path(id) = id?;
    forges.disconnect(id, caller.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the repositories that a connection has access to, by name. Asks the forge
#[utoipa::path(
    get, path = "/api/v1/connections/{connection}/repos", tag = "connections", security(("token" = ["admin"])),
    params(("connection" = String, Path, description = "The connection's id")),
    responses(
        (status = 200, body = ReachedPage), (status = 404, body = ErrorBody),
        (status = 422, description = "The forge refuses the token", body = ErrorBody),
        (status = 502, description = "The forge cannot be reached", body = ErrorBody),
    ),
)]
pub(crate) async fn repos(
    State(forges): State<Forges>,
    caller: Caller,
    id: Result<Path<ConnectionId>, ApiError>,
) -> Result<Json<ReachedPage>, ApiError> {
    caller.require(Action::ManageConnections, Object::Server)?;
    let Path(id) = id?;
    let AllReached { repos, suspended_by } = forges.reached_by(id).await?;
    Ok(Json(ReachedPage { items: repos.into_iter().map(ReachedView::from).collect(), next: None, suspended_by }))
}
