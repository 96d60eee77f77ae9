//! Credentials for registries of images: the server's, for the jobs of all repositories, and those of single
//! repositories.
//!
//! Passwords are sealed (`secret_key`) and leave through [`open`] alone, which the runner calls when a job starts. No
//! function here gives one to anybody who asks by HTTP.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{RegistryCredentials, RegistryHost, RepoId, Timestamp, limits::Limited, sealing::Damaged};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{Conflict, Store, StoreError, WriteTx, row, secret_key};

/// A registry's credentials, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    pub host: RegistryHost,
    pub username: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Who set them last: a token's name.
    pub updated_by: String,
}

/// Sets the credentials for a registry, of a repository or, for `None`, of the server. Returns whether they are new.
///
/// [`StoreError::SecretKey`] when the current key is not the database's.
pub async fn set(
    tx: &mut WriteTx,
    repo: Option<RepoId>,
    host: &RegistryHost,
    credentials: &RegistryCredentials,
    by: &str,
    now: Timestamp,
) -> Result<(Registry, bool), StoreError> {
    let owner = owner(repo);
    if repo.is_some()
        && sqlx::query("SELECT 1 FROM repos WHERE id = ?").bind(&owner).fetch_optional(tx.conn()).await?.is_none()
    {
        return Err(StoreError::NotFound("repository"));
    }
    let before: Option<i64> =
        sqlx::query_scalar("SELECT created_at FROM registries WHERE coalesce(repo, '') = ? AND host = ?")
            .bind(&owner)
            .bind(host.as_str())
            .fetch_optional(tx.conn())
            .await?;
    if before.is_none() {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM registries WHERE coalesce(repo, '') = ?")
            .bind(&owner)
            .fetch_one(tx.conn())
            .await?;
        if count >= Limited::Registries.most() {
            return Err(Conflict::Full(Limited::Registries).into());
        }
    }
    let key = secret_key::of_database_or_new(tx).await?;
    let sealed = key.seal(&binding(&owner, host, credentials.username()), credentials.expose().as_bytes())?;
    let created_at = before.map_or(now, Timestamp::from_millis);
    sqlx::query(
        "INSERT INTO registries (repo, host, username, sealed, created_at, updated_at, updated_by)
         VALUES (nullif(?, ''), ?, ?, ?, ?, ?, ?)
         ON CONFLICT (coalesce(repo, ''), host) DO UPDATE SET username = excluded.username, sealed = excluded.sealed,
                                                updated_at = excluded.updated_at, updated_by = excluded.updated_by",
    )
    .bind(&owner)
    .bind(host.as_str())
    .bind(credentials.username())
    .bind(sealed)
    .bind(created_at.as_millis())
    .bind(now.as_millis())
    .bind(by)
    .execute(tx.conn())
    .await?;
    sqlx::query("INSERT OR IGNORE INTO guarded_registries (host) VALUES (?)")
        .bind(host.as_str())
        .execute(tx.conn())
        .await?;
    let registry = Registry {
        host: host.clone(),
        username: credentials.username().to_owned(),
        created_at,
        updated_at: now,
        updated_by: by.to_owned(),
    };
    Ok((registry, before.is_none()))
}

/// Returns the registries of a repository or, for `None`, of the server, by host.
pub async fn list(store: &Store, repo: Option<RepoId>) -> Result<Vec<Registry>, StoreError> {
    let rows = sqlx::query(
        "SELECT host, username, created_at, updated_at, updated_by FROM registries WHERE coalesce(repo, '') = ? ORDER BY host",
    )
    .bind(owner(repo))
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(from_row).collect()
}

/// Removes the credentials for a registry. Needs no key; with the last sealed value a key that is lost is forgotten.
/// The registry stays [guarded].
pub async fn remove(tx: &mut WriteTx, repo: Option<RepoId>, host: &RegistryHost) -> Result<(), StoreError> {
    let done = sqlx::query("DELETE FROM registries WHERE coalesce(repo, '') = ? AND host = ?")
        .bind(owner(repo))
        .bind(host.as_str())
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("registry"));
    }
    secret_key::forget_if_lost(tx).await
}

/// Returns the credentials that jobs of a repository may use: its own, and the server's for all other hosts.
///
/// [`StoreError::SecretKey`] when the current key is not the database's.
pub async fn open(store: &Store, repo: RepoId) -> Result<BTreeMap<RegistryHost, RegistryCredentials>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    // The server's come first, so that the repository's take their place.
    let rows = sqlx::query(
        "SELECT coalesce(repo, '') AS owner, host, username, sealed FROM registries WHERE repo = ? OR repo IS NULL ORDER BY repo IS NOT NULL",
    )
    .bind(repo.to_string())
    .fetch_all(&mut *conn)
    .await?;
    if rows.is_empty() {
        return Ok(BTreeMap::new());
    }
    let key = secret_key::of_database(store, &mut conn).await?;
    let key = key.ok_or_else(|| StoreError::Unopened(Damaged::NoKeyForRegistries))?;
    rows.iter()
        .map(|row| {
            let (owner, username): (&str, String) = (row.try_get("owner")?, row.try_get("username")?);
            let host: RegistryHost = row::parsed(row, "host")?;
            let password = key
                .open(&binding(owner, &host, &username), row.try_get("sealed")?)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .and_then(|password| RegistryCredentials::new(username, password).ok());
            let credentials = password.ok_or_else(|| StoreError::Unopened(Damaged::RegistryPassword(host.clone())))?;
            Ok((host, credentials))
        })
        .collect()
}

/// Returns the hosts that [`open`] would give credentials for. Needs no key.
pub async fn hosts(store: &Store, repo: RepoId) -> Result<BTreeSet<RegistryHost>, StoreError> {
    let rows = sqlx::query("SELECT host FROM registries WHERE repo = ? OR repo IS NULL")
        .bind(repo.to_string())
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|row| row::parsed(row, "host")).collect()
}

/// Returns every host that has, or ever had, credentials of anybody here.
pub async fn guarded(store: &Store) -> Result<BTreeSet<RegistryHost>, StoreError> {
    let rows = sqlx::query("SELECT host FROM guarded_registries").fetch_all(store.readers()).await?;
    rows.iter().map(|row| row::parsed(row, "host")).collect()
}

/// The owner, as the table's index has it: a repository, or the server.
fn owner(repo: Option<RepoId>) -> String {
    repo.map(|repo| repo.to_string()).unwrap_or_default()
}

/// Returns what a sealed password is bound to. No other binding has spaces.
fn binding(owner: &str, host: &RegistryHost, username: &str) -> String {
    format!("registry {owner} {host} {username}")
}

fn from_row(row: &SqliteRow) -> Result<Registry, StoreError> {
    Ok(Registry {
        host: row::parsed(row, "host")?,
        username: row.try_get("username")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
        updated_by: row.try_get("updated_by")?,
    })
}
