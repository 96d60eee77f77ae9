//! Sets, lists and removes credentials for registries of images: the server's and those of repositories. No answer
//! contains a password.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    RegistryCredentials, RegistryHost, RepoId, Timestamp,
    access::{Action, Object},
    masking,
};
use longshore_store::{
    Store,
    registries::{self, Registry},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    json_request::JsonRequest,
    params::{Path, PathPair},
    views::Page,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegistryView {
    /// The registry's host; `docker.io` for Docker Hub
    host: String,
    username: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The name of the token that last set them.
    updated_by: String,
    /// What is not masked in logs of the password that was just set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl From<Registry> for RegistryView {
    fn from(registry: Registry) -> Self {
        let Registry { host, username, created_at, updated_at, updated_by } = registry;
        Self { host: host.to_string(), username, created_at, updated_at, updated_by, notes: Vec::new() }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutRegistry {
    username: String,
    /// The password or token, at most 16 KiB; never shown again
    password: String,
}

/// Lists the server's registry credentials, without passwords
#[utoipa::path(
    get, path = "/api/v1/registries", tag = "registries", security(("token" = ["admin"])),
    responses((status = 200, body = Page<RegistryView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn list(State(store): State<Store>, caller: Caller) -> Result<Json<Page<RegistryView>>, ApiError> {
    caller.require(Action::ManageRegistries, Object::Server)?;
    list_of(&store, None).await
}

/// Sets the server's credentials for a registry. Jobs of all repositories use them, except for pull requests from forks
#[utoipa::path(
    put, path = "/api/v1/registries/{host}", tag = "registries", security(("token" = ["admin"])),
    params(("host" = String, Path, description = "As in image names, with the port if any: `registry.example:5000`")),
    request_body = PutRegistry,
    responses(
        (status = 200, description = "The credentials were updated", body = RegistryView),
        (status = 201, description = "The credentials were added", body = RegistryView),
        (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 503, description = "The encryption key does not match the database", body = ErrorBody),
    ),
)]
pub(crate) async fn put(
    State(store): State<Store>,
    host: Result<Path<String>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<RegistryView>), ApiError> {
    let (caller, put): (_, PutRegistry) = request.parse(Action::ManageRegistries, Object::Server).await?;
    let Path(host) = host?;
    set(&store, &caller, None, &host, put).await
}

/// Removes the server's credentials for a registry
#[utoipa::path(
    delete, path = "/api/v1/registries/{host}", tag = "registries", security(("token" = ["admin"])),
    params(("host" = String, Path, description = "The registry's host")),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn delete(
    State(store): State<Store>,
    caller: Caller,
    host: Result<Path<RegistryHost>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageRegistries, Object::Server)?;
    let Path(host) = host?;
    remove(&store, &caller, None, &host).await
}

/// Lists a repository's own registry credentials, without passwords
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/registries", tag = "registries", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses((status = 200, body = Page<RegistryView>), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list_of_repo(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<Json<Page<RegistryView>>, ApiError> {
    caller.require(Action::ManageRegistries, Object::SomeRepo)?;
    let Path(id) = id?;
    caller.repo_to(&store, Action::ManageRegistries, id).await?;
    list_of(&store, Some(id)).await
}

/// Sets a repository's own credentials for a registry, which override the server's
#[utoipa::path(
    put, path = "/api/v1/repos/{repo}/registries/{host}", tag = "registries", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's ID"),
        ("host" = String, Path, description = "As in image names, with the port if any: `registry.example:5000`"),
    ),
    request_body = PutRegistry,
    responses(
        (status = 200, description = "The credentials were updated", body = RegistryView),
        (status = 201, description = "The credentials were added", body = RegistryView),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, description = "The encryption key does not match the database", body = ErrorBody),
    ),
)]
pub(crate) async fn put_of_repo(
    State(store): State<Store>,
    path: Result<PathPair<RepoId, String>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<RegistryView>), ApiError> {
    let (caller, put): (_, PutRegistry) = request.parse(Action::ManageRegistries, Object::SomeRepo).await?;
    let PathPair(id, host) = path?;
    caller.repo_to(&store, Action::ManageRegistries, id).await?;
    set(&store, &caller, Some(id), &host, put).await
}

/// Removes a repository's own credentials for a registry
#[utoipa::path(
    delete, path = "/api/v1/repos/{repo}/registries/{host}", tag = "registries", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's ID"),
        ("host" = String, Path, description = "The registry's host"),
    ),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn delete_of_repo(
    State(store): State<Store>,
    caller: Caller,
    path: Result<PathPair<RepoId, RegistryHost>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageRegistries, Object::SomeRepo)?;
    let PathPair(id, host) = path?;
    caller.repo_to(&store, Action::ManageRegistries, id).await?;
    remove(&store, &caller, Some(id), &host).await
}

async fn list_of(store: &Store, repo: Option<RepoId>) -> Result<Json<Page<RegistryView>>, ApiError> {
    let all = registries::list(store, repo).await?;
    Ok(Json(Page::complete(all.into_iter().map(RegistryView::from).collect())))
}

async fn set(
    store: &Store,
    caller: &Caller,
    repo: Option<RepoId>,
    host: &str,
    put: PutRegistry,
) -> Result<(StatusCode, Json<RegistryView>), ApiError> {
    let host: RegistryHost = host
        .parse()
        .map_err(|error: longshore_core::registry::NotARegistry| ApiError::bad_request(error.to_string()))?;
    let credentials = RegistryCredentials::new(put.username, put.password)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let mut tx = store.write().await?;
    let (registry, new) = registries::set(&mut tx, repo, &host, &credentials, caller.name(), Timestamp::now()).await?;
    tx.commit().await?;
    tracing::info!(?repo, %host, new, by = caller.name(), "a registry's credentials were set");
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(RegistryView { notes: masking::notes(credentials.expose()), ..registry.into() })))
}

async fn remove(
    store: &Store,
    caller: &Caller,
    repo: Option<RepoId>,
    host: &RegistryHost,
) -> Result<StatusCode, ApiError> {
    let mut tx = store.write().await?;
    registries::remove(&mut tx, repo, host).await?;
    tx.commit().await?;
    tracing::info!(?repo, %host, by = caller.name(), "a registry's credentials were removed");
    Ok(StatusCode::NO_CONTENT)
}
