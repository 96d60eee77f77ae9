//! Secrets of a repository: set, listed, removed. No answer holds a value.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{RepoId, SecretName, Timestamp};
use longshore_store::{
    repos,
    secrets::{self, Secret, SecretValue},
    tokens::Scope,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ApiError,
    auth::Caller,
    body::JsonRequest,
    error::ErrorBody,
    params::{Path, PathPair},
    server::Server,
    views::Page,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretView {
    #[schema(value_type = String)]
    name: SecretName,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The name of the token that set it last.
    updated_by: String,
}

impl From<Secret> for SecretView {
    fn from(secret: Secret) -> Self {
        let Secret { name, created_at, updated_at, updated_by } = secret;
        Self { name, created_at, updated_at, updated_by }
    }
}

/// A repository's secrets, without their values
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/secrets", tag = "secrets", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's id")),
    responses((status = 200, body = Page<SecretView>), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<Json<Page<SecretView>>, ApiError> {
    caller.require(Scope::Admin)?;
    let Path(id) = id?;
    repos::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("repository"))?;
    let secrets = secrets::list(&server.store, id).await?;
    Ok(Json(Page::whole(secrets.into_iter().map(SecretView::from).collect())))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutSecret {
    /// At most 48 KiB; never shown again
    value: String,
}

/// Sets a secret, or replaces its value
#[utoipa::path(
    put, path = "/api/v1/repos/{repo}/secrets/{name}", tag = "secrets", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's id"),
        ("name" = String, Path, description = "Letters, digits and underscores, no digit first"),
    ),
    request_body = PutSecret,
    responses(
        (status = 200, description = "Its value was replaced", body = SecretView),
        (status = 201, description = "It is new", body = SecretView),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, description = "The key of the secrets is not the database's", body = ErrorBody),
    ),
)]
pub(crate) async fn put(
    State(server): State<Arc<Server>>,
    path: Result<PathPair<RepoId, String>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<SecretView>), ApiError> {
    let (caller, PutSecret { value }) = request.of(Scope::Admin, &server).await?;
    let PathPair(id, name) = path?;
    let name = checked(&name)?;
    let value = SecretValue::new(value)?;
    let mut tx = server.store.write().await?;
    let (secret, new) = secrets::set(&mut tx, id, &name, &value, caller.name(), Timestamp::now()).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, %name, new, by = caller.name(), "a secret was set");
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(secret.into())))
}

/// Removes a secret
#[utoipa::path(
    delete, path = "/api/v1/repos/{repo}/secrets/{name}", tag = "secrets", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's id"),
        ("name" = String, Path, description = "The secret's name"),
    ),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn delete(
    State(server): State<Arc<Server>>,
    caller: Caller,
    path: Result<PathPair<RepoId, String>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Scope::Admin)?;
    let PathPair(id, name) = path?;
    let name = checked(&name)?;
    let mut tx = server.store.write().await?;
    secrets::remove(&mut tx, id, &name).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, %name, by = caller.name(), "a secret was removed");
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn checked(name: &str) -> Result<SecretName, ApiError> {
    name.parse().map_err(|error: longshore_core::secret::NotASecretName| ApiError::bad_request(error.to_string()))
}
