//! Sets, lists and removes a repository's secrets. No answer contains a value.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    EventName, RepoId, SecretName, SecretRules, Timestamp,
    access::{Action, Object},
};
use longshore_store::{
    Store,
    secrets::{self, Secret, SecretPatch, SecretValue},
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
    /// Builds of these branches may have it, and of these tags; of any where both lists are empty
    branches: Vec<String>,
    tags: Vec<String>,
    /// `push`, `tag`, `pull-request`, `schedule`, `manual`; any where the list is empty
    #[schema(value_type = Vec<String>)]
    events: Vec<EventName>,
    /// Jobs of these names, `job` or `pipeline/job`; any where the list is empty
    jobs: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The name of the token that set it last.
    updated_by: String,
    /// What logs do not mask of the value that was just given.
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

/// A repository's secrets, without their values
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/secrets", tag = "secrets", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's id")),
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
    /// At most 48 KiB; never shown again. Where it is not given, the value stays as it is
    value: Option<String>,
    /// Globs, as in `on`; `[]` for any. Rules that are not given stay as they are, and a new secret has none
    branches: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    /// `push`, `tag`, `pull-request`, `schedule`, `manual`
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<Vec<EventName>>,
    /// Globs of `job` or `pipeline/job`
    jobs: Option<Vec<String>>,
}

/// Sets a secret, or changes its value, its rules or both
#[utoipa::path(
    put, path = "/api/v1/repos/{repo}/secrets/{name}", tag = "secrets", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's id"),
        ("name" = String, Path, description = "Letters, digits and underscores, no digit first"),
    ),
    request_body = PutSecret,
    responses(
        (status = 200, description = "It was changed", body = SecretView),
        (status = 201, description = "It is new", body = SecretView),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, description = "The key of the secrets is not the database's", body = ErrorBody),
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
        ("repo" = String, Path, description = "The repository's id"),
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
