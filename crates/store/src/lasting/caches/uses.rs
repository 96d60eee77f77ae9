//! The caches that attempts use: which entry each begins with, and what it saves.

use std::collections::BTreeSet;

use longshore_core::{CacheAccess, CacheId, JobId, RepoId, Timestamp};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    FoundEntry, Layers,
    sizes::{size, sizes},
};
use crate::{Store, StoreError, WriteTx, row};

/// A cache that a job wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedCache {
    pub key: String,
    pub paths: Vec<String>,
    /// Beginnings of other keys that will do.
    pub fallback: Vec<String>,
    /// Set for a shared one: the volumes that it gets if there is none yet.
    pub shared: Option<Layers>,
}

/// A cache of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub position: u16,
    pub key: String,
    pub found: Option<FoundEntry>,
}

/// How often a repository's jobs looked for an entry, and how often one was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lookups {
    pub asked: u64,
    pub found: u64,
}

/// The outcome for an entry that a job wanted to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saving {
    Saved(CacheId),
    /// Another job of its scope was first, or the attempt saves nothing.
    NotNeeded,
}

/// Chooses the entries that an attempt begins with, and notes that they are in use. An entry under the whole key comes
/// first, then the newest whose key begins with the first of `fallback`, then with the second; of each, one of the first
/// scope that has any. Called once more for the same attempt, it returns what was chosen before.
pub async fn begin(
    tx: &mut WriteTx,
    repo: RepoId,
    (job, attempt): (JobId, u32),
    access: &CacheAccess,
    requests: &[RequestedCache],
    now: Timestamp,
) -> Result<Vec<Use>, StoreError> {
    let before = uses_of(tx.conn(), job, attempt).await?;
    if !before.is_empty() {
        return Ok(before);
    }
    let mut uses = Vec::with_capacity(requests.len());
    for (position, one) in (0_u16..).zip(requests) {
        let found = match (&one.shared, &access.saves) {
            (Some(layers), Some(scope)) => Some(shared(tx.conn(), (repo, scope), one, layers, now).await?),
            (Some(_), None) => None,
            (None, _) => choose(tx.conn(), repo, one, &access.reads).await?,
        };
        if let Some(found) = &found {
            sqlx::query("UPDATE caches SET used_at = ?, hits = hits + 1 WHERE id = ?")
                .bind(now.as_millis())
                .bind(found.cache.to_string())
                .execute(tx.conn())
                .await?;
        }
        sqlx::query(
            "INSERT INTO cache_lookups (repo, asked, found) VALUES (?, 1, ?)
             ON CONFLICT (repo) DO UPDATE SET asked = asked + 1, found = found + excluded.found",
        )
        .bind(repo.to_string())
        .bind(i64::from(found.is_some()))
        .execute(tx.conn())
        .await?;
        sqlx::query(
            "INSERT INTO cache_uses (job, attempt, position, repo, key, paths, found, scope, begun_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(job.to_string())
        .bind(attempt)
        .bind(position)
        .bind(repo.to_string())
        .bind(&one.key)
        .bind(row::to_json(&one.paths)?)
        .bind(found.as_ref().map(row::to_json).transpose()?)
        .bind(&access.saves)
        .bind(now.as_millis())
        .execute(tx.conn())
        .await?;
        uses.push(Use { position, key: one.key.clone(), found });
    }
    Ok(uses)
}

async fn choose(
    conn: &mut SqliteConnection,
    repo: RepoId,
    request: &RequestedCache,
    scopes: &[String],
) -> Result<Option<FoundEntry>, StoreError> {
    let exact = std::iter::once((request.key.as_str(), true));
    for (key, whole) in exact.chain(request.fallback.iter().map(|prefix| (prefix.as_str(), false))) {
        for scope in scopes {
            let row = sqlx::query(
                "SELECT id, key, layers, owner FROM caches
                 WHERE repo = ?1 AND scope = ?2 AND paths = ?3 AND shared = 0
                   AND (CASE WHEN ?5 THEN key = ?4 ELSE substr(key, 1, length(?4)) = ?4 END)
                 ORDER BY created_at DESC, id DESC LIMIT 1",
            )
            .bind(repo.to_string())
            .bind(scope)
            .bind(row::to_json(&request.paths)?)
            .bind(key)
            .bind(whole)
            .fetch_optional(&mut *conn)
            .await?;
            if let Some(row) = row {
                return found_entry(conn, &row).await.map(Some);
            }
        }
    }
    Ok(None)
}

/// Returns the shared entry of a scope, which the first job that wants it makes.
async fn shared(
    conn: &mut SqliteConnection,
    (repo, scope): (RepoId, &str),
    request: &RequestedCache,
    layers: &Layers,
    now: Timestamp,
) -> Result<FoundEntry, StoreError> {
    sqlx::query(
        "INSERT OR IGNORE INTO caches (id, repo, scope, key, paths, shared, layers, owner, created_at, used_at)
         VALUES (?, ?, ?, ?, ?, 1, ?, 0, ?, ?)",
    )
    .bind(CacheId::new().to_string())
    .bind(repo.to_string())
    .bind(scope)
    .bind(&request.key)
    .bind(row::to_json(&request.paths)?)
    .bind(row::to_json(layers)?)
    .bind(now.as_millis())
    .bind(now.as_millis())
    .execute(&mut *conn)
    .await?;
    let row = sqlx::query(
        "SELECT id, key, layers, owner FROM caches WHERE repo = ? AND scope = ? AND paths = ? AND shared = 1 AND key = ?",
    )
    .bind(repo.to_string())
    .bind(scope)
    .bind(row::to_json(&request.paths)?)
    .bind(&request.key)
    .fetch_one(&mut *conn)
    .await?;
    found_entry(conn, &row).await
}

async fn found_entry(conn: &mut SqliteConnection, row: &SqliteRow) -> Result<FoundEntry, StoreError> {
    let layers: Layers = row::json(row, "layers")?;
    let bytes = size(&layers, &sizes(conn).await?);
    Ok(FoundEntry {
        cache: row::parsed(row, "id")?,
        key: row.try_get("key")?,
        layers,
        owner: row::unsigned(row, "owner")?,
        bytes,
    })
}

async fn uses_of(conn: &mut SqliteConnection, job: JobId, attempt: u32) -> Result<Vec<Use>, StoreError> {
    let rows =
        sqlx::query("SELECT position, key, found FROM cache_uses WHERE job = ? AND attempt = ? ORDER BY position")
            .bind(job.to_string())
            .bind(attempt)
            .fetch_all(conn)
            .await?;
    rows.iter()
        .map(|row| {
            Ok(Use {
                position: row::unsigned(row, "position")?,
                key: row.try_get("key")?,
                found: row::json_opt(row, "found")?,
            })
        })
        .collect()
}

/// Notes the number of the user that an attempt's job runs as: what it saves belongs to that user.
pub async fn set_owner(tx: &mut WriteTx, job: JobId, attempt: u32, owner: u32) -> Result<(), StoreError> {
    sqlx::query("UPDATE cache_uses SET owner = ? WHERE job = ? AND attempt = ?")
        .bind(owner)
        .bind(job.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Forgets an entry whose volumes are gone from the engine, and that this attempt began with it.
pub async fn lost(tx: &mut WriteTx, job: JobId, attempt: u32, position: u16) -> Result<(), StoreError> {
    let one = uses_of(tx.conn(), job, attempt).await?.into_iter().find(|one| one.position == position);
    let Some(found) = one.and_then(|one| one.found) else { return Ok(()) };
    sqlx::query("DELETE FROM caches WHERE id = ? AND shared = 0")
        .bind(found.cache.to_string())
        .execute(tx.conn())
        .await?;
    sqlx::query("UPDATE cache_uses SET found = NULL WHERE job = ? AND attempt = ? AND position = ?")
        .bind(job.to_string())
        .bind(attempt)
        .bind(position)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Saves an entry of an attempt that has ended. The first of its scope to save a key wins.
pub async fn save(
    tx: &mut WriteTx,
    (job, attempt): (JobId, u32),
    position: u16,
    layers: &Layers,
    now: Timestamp,
) -> Result<Saving, StoreError> {
    let id = CacheId::new();
    let done = sqlx::query(
        "INSERT OR IGNORE INTO caches (id, repo, scope, key, paths, shared, layers, owner, created_at, used_at)
         SELECT ?, repo, scope, key, paths, 0, ?, owner, ?, ? FROM cache_uses
         WHERE job = ? AND attempt = ? AND position = ? AND scope IS NOT NULL",
    )
    .bind(id.to_string())
    .bind(row::to_json(layers)?)
    .bind(now.as_millis())
    .bind(now.as_millis())
    .bind(job.to_string())
    .bind(attempt)
    .bind(position)
    .execute(tx.conn())
    .await?;
    Ok(if done.rows_affected() > 0 { Saving::Saved(id) } else { Saving::NotNeeded })
}

/// Notes that an attempt uses nothing any more.
pub async fn end(tx: &mut WriteTx, job: JobId, attempt: u32) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM cache_uses WHERE job = ? AND attempt = ?")
        .bind(job.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns what was chosen for an attempt.
pub async fn uses(store: &Store, job: JobId, attempt: u32) -> Result<Vec<Use>, StoreError> {
    uses_of(&mut *store.readers().acquire().await?, job, attempt).await
}

/// Ends the uses of attempts that began before this time.
pub async fn end_before(tx: &mut WriteTx, time: Timestamp) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM cache_uses WHERE begun_at < ?").bind(time.as_millis()).execute(tx.conn()).await?;
    Ok(())
}

/// Ends the uses of all attempts except these.
pub async fn end_all_but(tx: &mut WriteTx, running: &BTreeSet<(JobId, u32)>) -> Result<(), StoreError> {
    for (job, attempt) in using(tx.conn()).await? {
        if !running.contains(&(job, attempt)) {
            end(tx, job, attempt).await?;
        }
    }
    Ok(())
}

pub(super) async fn using(conn: &mut SqliteConnection) -> Result<BTreeSet<(JobId, u32)>, StoreError> {
    let rows = sqlx::query("SELECT DISTINCT job, attempt FROM cache_uses").fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row::parsed(row, "job")?, row::unsigned(row, "attempt")?))).collect()
}

/// Returns the volumes that attempts began with.
pub(super) async fn in_use(conn: &mut SqliteConnection) -> Result<BTreeSet<String>, StoreError> {
    let rows = sqlx::query("SELECT found FROM cache_uses WHERE found IS NOT NULL").fetch_all(conn).await?;
    let mut volumes = BTreeSet::new();
    for row in rows {
        volumes.extend(row::json::<FoundEntry>(&row, "found")?.layers.into_iter().flatten());
    }
    Ok(volumes)
}

/// Returns how often a repository's jobs looked for entries.
pub async fn lookups(store: &Store, repo: RepoId) -> Result<Lookups, StoreError> {
    let row = sqlx::query("SELECT asked, found FROM cache_lookups WHERE repo = ?")
        .bind(repo.to_string())
        .fetch_optional(store.readers())
        .await?;
    row.map_or(Ok(Lookups::default()), |row| {
        Ok(Lookups { asked: row::unsigned(&row, "asked")?, found: row::unsigned(&row, "found")? })
    })
}
