//! Lists and removes the entries of a repository's caches.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    CacheId, RepoId, Timestamp,
    access::{Action, Object},
    cache,
};
use longshore_store::{
    Store,
    caches::{self, Entry},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    params::{Path, PathPair},
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheView {
    #[schema(value_type = String, format = "uuid")]
    id: CacheId,
    key: String,
    /// The folders, as in the pipeline
    paths: Vec<String>,
    /// `repository`, or `shared` for a folder that all jobs of its branch write to
    scope: &'static str,
    /// The branch that saved it, or the full name of the tag's or the pull request's ref. It belongs to that one
    branches: Vec<String>,
    /// Its size on the engine's disk; null until it has been measured
    bytes: Option<u64>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    used_at: Timestamp,
    /// How many jobs started with it
    hits: u64,
}

impl From<Entry> for CacheView {
    fn from(entry: Entry) -> Self {
        let Entry { id, scope: saved_by, key, paths, shared, bytes, created_at, used_at, hits, repo: _, layers: _ } =
            entry;
        let scope = if shared { "shared" } else { "repository" };
        let branches = vec![cache::scope_name(&saved_by).to_owned()];
        Self { id, key, paths, scope, branches, bytes, created_at, used_at, hits }
    }
}

/// All caches of a repository.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Caches {
    /// Most recently used first
    items: Vec<CacheView>,
    /// How many times jobs looked for a cache
    asked: u64,
    /// How many times there was one
    found: u64,
}

/// Lists the caches of a repository, most recently used first
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/caches", tag = "caches", security((), ("token" = ["read"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses((status = 200, body = Caches), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<Json<Caches>, ApiError> {
    let Path(id) = id?;
    caller.repo(&store, id).await?;
    let lookups = caches::lookups(&store, id).await?;
    let items = caches::list(&store, id).await?.into_iter().map(CacheView::from).collect();
    Ok(Json(Caches { items, asked: lookups.asked, found: lookups.found }))
}

/// Removes a cache. Jobs that are using it are not affected
#[utoipa::path(
    delete, path = "/api/v1/repos/{repo}/caches/{cache}", tag = "caches", security(("token" = ["build"])),
    params(
        ("repo" = String, Path, description = "The repository's ID"),
        ("cache" = String, Path, description = "The cache's ID"),
    ),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn delete(
    State(store): State<Store>,
    caller: Caller,
    path: Result<PathPair<RepoId, CacheId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::RemoveCache, Object::SomeRepo)?;
    let PathPair(repo, cache) = path?;
    caller.repo_to(&store, Action::RemoveCache, repo).await?;
    let mut tx = store.write().await?;
    caches::remove(&mut tx, repo, cache).await?;
    tx.commit().await?;
    tracing::info!(%repo, %cache, by = caller.name(), "a cache was removed");
    Ok(StatusCode::NO_CONTENT)
}
