//! What jobs leave on the engine for later jobs: caches, workspaces, successes for later jobs, images.

pub mod caches;
pub mod engine_room;
pub mod reuse;
pub mod workspaces;

use crate::{Store, StoreError};

/// Returns whether there is an entry of a cache, or a workspace that outlives its build.
pub async fn anything_lasts(store: &Store) -> Result<bool, StoreError> {
    let query = "SELECT EXISTS (SELECT 1 FROM caches) OR EXISTS (SELECT 1 FROM lasting_workspaces)";
    Ok(sqlx::query_scalar(query).fetch_one(store.readers()).await?)
}
