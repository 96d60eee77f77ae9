//! Sets, lists and removes a repository's secrets. No answer contains a value.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    EventName, RepoId, SecretName, SecretRules, SecretValue, Timestamp,
    access::{Action, Object},
};
use longshore_store::{
    Store,
    secrets::{self, Secret, SecretPatch},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    json_request::JsonRequest,
    params::{Path, PathPair},
    secret_changes::{parse_name, set_secret},
    views::Page,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretView {
    #[schema(value_type = String)]
    name: SecretName,
    /// Builds of these branches or tags can use the secret; any if both lists are empty
    branches: Vec<String>,
    tags: Vec<String>,
    /// `push`, `tag`, `pull-request`, `schedule`, `manual`; any if empty
    #[schema(value_type = Vec<String>)]
    events: Vec<EventName>,
    /// Jobs with these names, `job` or `pipeline/job`; any if empty
    jobs: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The name of the token that last set it.
    updated_by: String,
    /// What is not masked in logs of the value that was just set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl From<Secret> for SecretView {
    fn from(secret: Secret) -> Self {
        let Secret { name, rules, created_at, updated_at, updated_by } = secret;
        let SecretRules { branches, tags, events, jobs } = rules;
        Self { name, branches, tags, events, jobs, created_at, updated_at, updated_by, notes: Vec::new() }
    }
}

/// Lists a repository's secrets, without their values
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/secrets", tag = "secrets", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses((status = 200, body = Page<SecretView>), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<Json<Page<SecretView>>, ApiError> {
    caller.require(Action::ManageSecrets, Object::SomeRepo)?;
    let Path(id) = id?;
    caller.repo_to(&store, Action::ManageSecrets, id).await?;
    let secrets = secrets::list(&store, id).await?;
    Ok(Json(Page::complete(secrets.into_iter().map(SecretView::from).collect())))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutSecret {
    /// The value, at most 48 KiB; never shown again. If omitted, the value stays as it is
    value: Option<String>,
    /// Globs, as in `on`; `[]` allows any. Rules that are left out stay as they are; a new secret has none
    branches: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    /// `push`, `tag`, `pull-request`, `schedule`, `manual`
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<Vec<EventName>>,
    /// Globs of `job` or `pipeline/job`
    jobs: Option<Vec<String>>,
}

/// Creates a secret, or updates its value or its rules
#[utoipa::path(
    put, path = "/api/v1/repos/{repo}/secrets/{name}", tag = "secrets", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's ID"),
        ("name" = String, Path, description = "Letters, digits and underscores, not starting with a digit"),
    ),
    request_body = PutSecret,
    responses(
        (status = 200, description = "The secret was updated", body = SecretView),
        (status = 201, description = "The secret was created", body = SecretView),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, description = "The encryption key does not match the database", body = ErrorBody),
    ),
)]
pub(crate) async fn put(
    State(store): State<Store>,
    path: Result<PathPair<RepoId, String>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<SecretView>), ApiError> {
    let (caller, put): (_, PutSecret) = request.parse(Action::ManageSecrets, Object::SomeRepo).await?;
    let PathPair(id, name) = path?;
    caller.repo_to(&store, Action::ManageSecrets, id).await?;
    let PutSecret { value, branches, tags, events, jobs } = put;
    let value = value.map(SecretValue::new).transpose()?;
    let patch = SecretPatch { value, branches, tags, events, jobs };
    let (secret, new, notes) = set_secret(&store, id, &parse_name(&name)?, &patch, caller.name()).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(SecretView { notes, ..secret.into() })))
}

/// Removes a secret
#[utoipa::path(
    delete, path = "/api/v1/repos/{repo}/secrets/{name}", tag = "secrets", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's ID"),
        ("name" = String, Path, description = "The secret's name"),
    ),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn delete(
    State(store): State<Store>,
    caller: Caller,
    path: Result<PathPair<RepoId, String>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageSecrets, Object::SomeRepo)?;
    let PathPair(id, name) = path?;
    caller.repo_to(&store, Action::ManageSecrets, id).await?;
    let name = parse_name(&name)?;
    let mut tx = store.write().await?;
    secrets::remove(&mut tx, id, &name).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, %name, by = caller.name(), "a secret was removed");
    Ok(StatusCode::NO_CONTENT)
}
