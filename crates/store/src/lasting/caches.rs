//! The entries of caches: which ones exist, which ones jobs use, and which volumes on the engine belong to them.
//!
//! A row of `caches` is written when its volumes are complete, and removed before they are: the volumes of a row are
//! always complete, unless somebody else has removed them from the engine. Volumes in `cache_uses` are in use. A volume
//! in neither table belongs to nobody.

mod sizes;
mod uses;

use std::collections::BTreeSet;

use longshore_core::{CacheId, JobId, RepoId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

pub use self::{
    sizes::{forget_sizes, set_sizes, volume_sizes},
    uses::{
        Lookups, RequestedCache, Saving, Use, begin, end, end_all_but, end_before, lookups, lost, save, set_owner, uses,
    },
};
use self::{
    sizes::{size, sizes},
    uses::using,
};
use crate::{ChangeKind, Store, StoreError, WriteTx, row, write::NewChange};

/// For each path of a cache its volumes, the topmost layer first.
pub type Layers = Vec<Vec<String>>;

/// The entry that a job begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundEntry {
    pub cache: CacheId,
    pub key: String,
    pub layers: Layers,
    /// The number of the user whose files these are.
    pub owner: u32,
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: CacheId,
    pub repo: RepoId,
    /// What saved it, and whom it belongs to: see [`CacheAccess`](longshore_core::CacheAccess).
    pub scope: String,
    pub key: String,
    pub paths: Vec<String>,
    pub shared: bool,
    pub layers: Layers,
    /// `None` until it has been measured.
    pub bytes: Option<u64>,
    pub created_at: Timestamp,
    pub used_at: Timestamp,
    pub hits: u64,
}

/// The volumes on the engine that belong to an entry or an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owned {
    /// Volumes of entries, and of what attempts began with.
    pub volumes: BTreeSet<String>,
    /// The attempts that use caches, and whose own volumes may become entries.
    pub attempts: BTreeSet<(JobId, u32)>,
}

/// Returns the volumes that belong to an entry or an attempt.
pub async fn owned(store: &Store) -> Result<Owned, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let mut owned = Owned { attempts: using(&mut conn).await?, volumes: uses::in_use(&mut conn).await? };
    for row in sqlx::query("SELECT layers FROM caches").fetch_all(&mut *conn).await? {
        owned.volumes.extend(row::json::<Layers>(&row, "layers")?.into_iter().flatten());
    }
    Ok(owned)
}

/// Returns the volumes that jobs which have not ended began with.
pub async fn in_use(store: &Store) -> Result<BTreeSet<String>, StoreError> {
    uses::in_use(&mut *store.readers().acquire().await?).await
}

/// Returns a repository's entries, those used last first.
pub async fn list(store: &Store, repo: RepoId) -> Result<Vec<Entry>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let rows = sqlx::query("SELECT * FROM caches WHERE repo = ? ORDER BY used_at DESC, id DESC")
        .bind(repo.to_string())
        .fetch_all(&mut *conn)
        .await?;
    entries(&mut conn, &rows).await
}

/// Returns all entries, least recently used first.
pub async fn by_last_use(store: &Store) -> Result<Vec<Entry>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let rows = sqlx::query("SELECT * FROM caches ORDER BY used_at, id").fetch_all(&mut *conn).await?;
    entries(&mut conn, &rows).await
}

async fn entries(conn: &mut SqliteConnection, rows: &[SqliteRow]) -> Result<Vec<Entry>, StoreError> {
    let sizes = sizes(conn).await?;
    rows.iter()
        .map(|row| {
            let layers: Layers = row::json(row, "layers")?;
            Ok(Entry {
                id: row::parsed(row, "id")?,
                repo: row::parsed(row, "repo")?,
                scope: row.try_get("scope")?,
                key: row.try_get("key")?,
                paths: row::json(row, "paths")?,
                shared: row.try_get("shared")?,
                bytes: size(&layers, &sizes),
                layers,
                created_at: row::time(row, "created_at")?,
                used_at: row::time(row, "used_at")?,
                hits: row::unsigned(row, "hits")?,
            })
        })
        .collect()
}

/// Removes an entry of a repository. Its volumes belong to nobody then, unless a job uses them.
pub async fn remove(tx: &mut WriteTx, repo: RepoId, cache: CacheId) -> Result<(), StoreError> {
    let done = sqlx::query("DELETE FROM caches WHERE id = ? AND repo = ?")
        .bind(cache.to_string())
        .bind(repo.to_string())
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("cache"));
    }
    tx.note_change(NewChange { kind: ChangeKind::Repo, repo: Some(repo), build: None, job: None });
    Ok(())
}

/// Removes an entry unless a job uses it. Returns whether it is gone.
pub async fn remove_unused(tx: &mut WriteTx, cache: CacheId) -> Result<bool, StoreError> {
    let used = uses::in_use(tx.conn()).await?;
    let row =
        sqlx::query("SELECT layers FROM caches WHERE id = ?").bind(cache.to_string()).fetch_optional(tx.conn()).await?;
    let Some(row) = row else { return Ok(true) };
    if row::json::<Layers>(&row, "layers")?.iter().flatten().any(|volume| used.contains(volume)) {
        return Ok(false);
    }
    sqlx::query("DELETE FROM caches WHERE id = ?").bind(cache.to_string()).execute(tx.conn()).await?;
    Ok(true)
}

/// Replaces these layers by one volume with the same files, in every entry that ends with them. Returns how many
/// entries that changed.
pub async fn flatten(tx: &mut WriteTx, layers: &[String], flat: &str) -> Result<usize, StoreError> {
    let Some(lowest) = layers.last() else { return Ok(0) };
    let rows = sqlx::query("SELECT id, layers FROM caches WHERE instr(layers, ?) > 0").bind(lowest);
    let mut changed = 0;
    for row in rows.fetch_all(tx.conn()).await? {
        let before = row::json::<Layers>(&row, "layers")?;
        let mut after = before.clone();
        for of_path in after.iter_mut().filter(|of_path| of_path.ends_with(layers)) {
            of_path.truncate(of_path.len() - layers.len());
            of_path.push(flat.to_owned());
        }
        if after != before {
            changed += 1;
            sqlx::query("UPDATE caches SET layers = ? WHERE id = ?")
                .bind(row::to_json(&after)?)
                .bind(row.try_get::<String, _>("id")?)
                .execute(tx.conn())
                .await?;
        }
    }
    Ok(changed)
}
