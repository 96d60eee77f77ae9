//! Secrets of repositories: set, listed and removed by people, opened only for a job that names them.
//!
//! Values are sealed (`secret_key`), and only [`open`] returns them, which the runner calls when a job starts. No
//! function here returns a value to anybody who asks over HTTP. Rules are stored here and enforced by the caller of
//! [`open`].

use std::collections::BTreeMap;

use longshore_core::{RepoId, SecretName, SecretRules, SecretValue, Timestamp, limits::Limited, sealing::Damaged};
use sqlx::{Row as _, sqlite::SqliteRow};

pub use crate::secret_key::{KEY_FILE, SecretKey};
use crate::{Conflict, Invalid, Store, StoreError, WriteTx, row, secret_key};

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub name: SecretName,
    pub rules: SecretRules,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Who set it last: a token's name.
    pub updated_by: String,
}

/// The fields to change; `None` keeps a value. A new secret needs a value, and without rules every job may have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretPatch {
    pub value: Option<SecretValue>,
    pub branches: Option<Vec<String>>,
    pub tags: Option<Vec<String>>,
    pub events: Option<Vec<longshore_core::EventName>>,
    pub jobs: Option<Vec<String>>,
}

impl SecretPatch {
    fn applied_to(&self, rules: SecretRules) -> SecretRules {
        SecretRules {
            branches: self.branches.clone().unwrap_or(rules.branches),
            tags: self.tags.clone().unwrap_or(rules.tags),
            events: self.events.clone().unwrap_or(rules.events),
            jobs: self.jobs.clone().unwrap_or(rules.jobs),
        }
    }
}

/// Sets a secret, or changes its value, its rules or both. Returns the secret and whether it is new. The caller has
/// checked the patterns.
///
/// [`StoreError::SecretKey`] if a value is to be sealed and the current key is not the database's.
pub async fn set(
    tx: &mut WriteTx,
    repo: RepoId,
    name: &SecretName,
    patch: &SecretPatch,
    by: &str,
    now: Timestamp,
) -> Result<(Secret, bool), StoreError> {
    if sqlx::query("SELECT 1 FROM repos WHERE id = ?").bind(repo.to_string()).fetch_optional(tx.conn()).await?.is_none()
    {
        return Err(StoreError::NotFound("repository"));
    }
    let known = sqlx::query(
        "SELECT name, rules, created_at, updated_at, updated_by, sealed FROM secrets WHERE repo = ? AND name = ?",
    )
    .bind(repo.to_string())
    .bind(name.as_str())
    .fetch_optional(tx.conn())
    .await?;
    let sealed = match (&patch.value, &known) {
        (Some(value), _) => {
            secret_key::of_database_or_new(tx).await?.seal(&binding(repo, name), value.expose().as_bytes())?
        }
        (None, Some(row)) => row.try_get("sealed")?,
        (None, None) => {
            return Err(Invalid::NewSecretWithoutValue(name.clone()).into());
        }
    };
    let before = known.as_ref().map(from_row).transpose()?;
    if before.is_none() {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM secrets WHERE repo = ?")
            .bind(repo.to_string())
            .fetch_one(tx.conn())
            .await?;
        if count >= Limited::Secrets.most() {
            return Err(Conflict::Full(Limited::Secrets).into());
        }
    }
    let new = before.is_none();
    let (created_at, rules) = before.map_or((now, SecretRules::default()), |before| (before.created_at, before.rules));
    let rules = patch.applied_to(rules);
    sqlx::query(
        "INSERT INTO secrets (repo, name, sealed, rules, created_at, updated_at, updated_by) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (repo, name) DO UPDATE SET sealed = excluded.sealed, rules = excluded.rules,
                                                updated_at = excluded.updated_at, updated_by = excluded.updated_by",
    )
    .bind(repo.to_string())
    .bind(name.as_str())
    .bind(sealed)
    .bind(row::to_json(&rules)?)
    .bind(created_at.as_millis())
    .bind(now.as_millis())
    .bind(by)
    .execute(tx.conn())
    .await?;
    Ok((Secret { name: name.clone(), rules, created_at, updated_at: now, updated_by: by.to_owned() }, new))
}

/// Returns a repository's secrets by name, without their values.
pub async fn list(store: &Store, repo: RepoId) -> Result<Vec<Secret>, StoreError> {
    let rows =
        sqlx::query("SELECT name, rules, created_at, updated_at, updated_by FROM secrets WHERE repo = ? ORDER BY name")
            .bind(repo.to_string())
            .fetch_all(store.readers())
            .await?;
    rows.iter().map(from_row).collect()
}

/// Removes a secret. Needs no key. With the last secret of the database, a key that is lost is forgotten, so that
/// another one may follow.
pub async fn remove(tx: &mut WriteTx, repo: RepoId, name: &SecretName) -> Result<(), StoreError> {
    let done = sqlx::query("DELETE FROM secrets WHERE repo = ? AND name = ?")
        .bind(repo.to_string())
        .bind(name.as_str())
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("secret"));
    }
    secret_key::forget_if_lost(tx).await
}

/// Returns the values of these secrets. A name that the repository does not have is left out.
///
/// [`StoreError::SecretKey`] if the current key is not the database's.
pub async fn open(
    store: &Store,
    repo: RepoId,
    names: &[SecretName],
) -> Result<BTreeMap<SecretName, SecretValue>, StoreError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut conn = store.readers().acquire().await?;
    let Some(key) = secret_key::of_database(store, &mut conn).await? else { return Ok(BTreeMap::new()) };
    let mut opened = BTreeMap::new();
    for name in names {
        let sealed: Option<Vec<u8>> = sqlx::query_scalar("SELECT sealed FROM secrets WHERE repo = ? AND name = ?")
            .bind(repo.to_string())
            .bind(name.as_str())
            .fetch_optional(&mut *conn)
            .await?;
        let Some(sealed) = sealed else { continue };
        let value = key.open(&binding(repo, name), &sealed).and_then(|bytes| String::from_utf8(bytes).ok());
        let value = value.ok_or_else(|| StoreError::Unopened(Damaged::Secret(name.clone())))?;
        opened.insert(name.clone(), SecretValue::stored(value));
    }
    Ok(opened)
}

/// Checks that the current key opens the database's secrets. Called when the server starts, so that a wrong key is
/// noticed at once.
pub async fn check_key(store: &Store) -> Result<(), StoreError> {
    secret_key::of_database(store, &mut *store.readers().acquire().await?).await.map(drop)
}

/// Returns what a value is bound to when it is sealed.
fn binding(repo: RepoId, name: &SecretName) -> String {
    format!("{repo}/{name}")
}

fn from_row(row: &SqliteRow) -> Result<Secret, StoreError> {
    Ok(Secret {
        name: row::parsed(row, "name")?,
        rules: row::json(row, "rules")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
        updated_by: row.try_get("updated_by")?,
    })
}
