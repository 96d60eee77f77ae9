//! Registered repositories.

use std::{collections::HashSet, fmt};

use longshore_core::{RepoId, Strangers, Timestamp};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{
    ChangeKind, Page, Store, StoreError, WriteTx, page,
    removals::{self, LogsOf},
    row,
    write::NewChange,
};

/// The longest name.
pub const MAX_NAME_LEN: usize = 200;

/// A webhook's secret. Shown once, never printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct HookSecret(String);

impl HookSecret {
    /// 32 random bytes as hexadecimal digits.
    #[must_use]
    pub fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 32]>()))
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret(..)")
    }
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// The place in lists: `before` of the next page.
    pub seq: i64,
    pub id: RepoId,
    pub name: String,
    /// The forge's word: `git`, `github`, `gitea`, ….
    pub forge: String,
    pub clone_url: String,
    pub hook_secret: HookSecret,
    /// Readable without a token.
    pub public: bool,
    pub default_branch: Option<String>,
    /// Which pull requests of forks wait for approval.
    pub strangers: Strangers,
    /// Whether newer commits of a pull request cancel its older builds.
    pub cancel_older: bool,
    pub created_at: Timestamp,
}

/// What a repository is registered with. The caller has checked the forge's word and the clone address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRepo {
    pub name: String,
    pub forge: String,
    pub clone_url: String,
    pub public: bool,
    pub default_branch: Option<String>,
}

/// What to change; nothing stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoPatch {
    pub clone_url: Option<String>,
    pub public: Option<bool>,
    /// `Some(None)`: as the forge says.
    pub default_branch: Option<Option<String>>,
    pub strangers: Option<Strangers>,
    pub cancel_older: Option<bool>,
    /// Makes a new webhook secret.
    pub renew_hook_secret: bool,
}

/// The one pattern of names: parts of `A-Z a-z 0-9 . _ -` between slashes, none beginning with a dot or a dash.
pub fn check_name(name: &str) -> Result<(), StoreError> {
    let part_is_fine = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if name.len() <= MAX_NAME_LEN && name.split('/').all(part_is_fine) {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "`{}` is not a repository's name: write `name` or `owner/name` with letters, digits, dots, dashes and \
         underscores, no part beginning with a dot or a dash, at most {MAX_NAME_LEN} characters",
        name.chars().take(MAX_NAME_LEN).flat_map(char::escape_debug).collect::<String>()
    )))
}

/// Registers a repository, with a new webhook secret. [`StoreError::Conflict`] when the name is taken.
pub async fn create(tx: &mut WriteTx, new: &NewRepo, now: Timestamp) -> Result<Repo, StoreError> {
    check_name(&new.name)?;
    let id = RepoId::new();
    let hook_secret = HookSecret::random();
    let done = sqlx::query(
        "INSERT INTO repos (id, name, forge, clone_url, hook_secret, public, default_branch, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.to_string())
    .bind(&new.name)
    .bind(&new.forge)
    .bind(&new.clone_url)
    .bind(hook_secret.expose())
    .bind(new.public)
    .bind(&new.default_branch)
    .bind(now.as_millis())
    .execute(tx.conn())
    .await
    .map_err(StoreError::from)
    .map_err(|error| match error.is_unique_violation() {
        true => StoreError::Conflict(format!("there is a repository named `{}` already", new.name)),
        false => error,
    })?;
    changed(tx, id);
    Ok(Repo {
        seq: done.last_insert_rowid(),
        id,
        name: new.name.clone(),
        forge: new.forge.clone(),
        clone_url: new.clone_url.clone(),
        hook_secret,
        public: new.public,
        default_branch: new.default_branch.clone(),
        strangers: Strangers::default(),
        cancel_older: true,
        created_at: now,
    })
}

pub async fn get(store: &Store, id: RepoId) -> Result<Option<Repo>, StoreError> {
    fetch(&mut *store.readers().acquire().await?, id).await
}

/// [`get`], within a transaction.
pub async fn get_now(tx: &mut WriteTx, id: RepoId) -> Result<Option<Repo>, StoreError> {
    fetch(tx.conn(), id).await
}

pub async fn by_name(store: &Store, name: &str) -> Result<Option<Repo>, StoreError> {
    let row = sqlx::query("SELECT * FROM repos WHERE name = ?").bind(name);
    row.fetch_optional(store.readers()).await?.as_ref().map(from_row).transpose()
}

/// Newest first; only the public ones where `only_public`.
pub async fn list(store: &Store, only_public: bool, before: Option<i64>, limit: u32) -> Result<Page<Repo>, StoreError> {
    let limit = page::clamp(limit);
    let rows = sqlx::query("SELECT * FROM repos WHERE seq < ? AND public >= ? ORDER BY seq DESC LIMIT ?")
        .bind(before.unwrap_or(i64::MAX))
        .bind(only_public)
        .bind(limit + 1)
        .fetch_all(store.readers())
        .await?;
    let repos = rows.iter().map(from_row).collect::<Result<_, _>>()?;
    Ok(Page::from_rows(repos, limit, |repo: &Repo| repo.seq))
}

/// Which of these repositories are public.
pub async fn public_of(store: &Store, ids: &[RepoId]) -> Result<HashSet<RepoId>, StoreError> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let mut query = QueryBuilder::<Sqlite>::new("SELECT id FROM repos WHERE public = 1 AND id IN (");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.to_string());
    }
    query.push(")");
    query.build().fetch_all(store.readers()).await?.iter().map(|row| row::parsed(row, "id")).collect()
}

/// Changes a repository. [`StoreError::NotFound`] when there is none.
pub async fn patch(tx: &mut WriteTx, id: RepoId, patch: &RepoPatch) -> Result<Repo, StoreError> {
    let renewed = patch.renew_hook_secret.then(HookSecret::random);
    let row = sqlx::query(
        "UPDATE repos SET clone_url = coalesce(?, clone_url), public = coalesce(?, public),
                default_branch = iif(?, ?, default_branch), hook_secret = coalesce(?, hook_secret),
                strangers = coalesce(?, strangers), cancel_older = coalesce(?, cancel_older)
         WHERE id = ? RETURNING *",
    )
    .bind(&patch.clone_url)
    .bind(patch.public)
    .bind(patch.default_branch.is_some())
    .bind(patch.default_branch.as_ref().and_then(Option::as_ref))
    .bind(renewed.as_ref().map(HookSecret::expose))
    .bind(patch.strangers.map(Strangers::as_str))
    .bind(patch.cancel_older)
    .bind(id.to_string())
    .fetch_optional(tx.conn())
    .await?
    .ok_or(StoreError::NotFound("repository"))?;
    changed(tx, id);
    from_row(&row)
}

/// Removes a repository with its deliveries, builds and logs. Refused with [`StoreError::Conflict`] while one of its
/// builds is not over: cancel those first.
pub async fn delete(tx: &mut WriteTx, id: RepoId) -> Result<(), StoreError> {
    let unfinished: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM builds
         WHERE repo = ? AND status IN ('blocked', 'queued', 'running', 'canceling')",
    )
    .bind(id.to_string())
    .fetch_one(tx.conn())
    .await?;
    if unfinished > 0 {
        return Err(StoreError::Conflict(format!("{unfinished} of its builds are not over: cancel them first")));
    }
    let logs = removals::logs_of(tx, LogsOf::Repo(id)).await?;
    let done = sqlx::query("DELETE FROM repos WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("repository"));
    }
    removals::note(tx, &logs).await?;
    changed(tx, id);
    Ok(())
}

fn changed(tx: &mut WriteTx, id: RepoId) {
    tx.changed(NewChange { kind: ChangeKind::Repo, repo: Some(id), build: None, job: None });
}

pub(crate) async fn fetch(conn: &mut SqliteConnection, id: RepoId) -> Result<Option<Repo>, StoreError> {
    let row = sqlx::query("SELECT * FROM repos WHERE id = ?").bind(id.to_string()).fetch_optional(conn).await?;
    row.as_ref().map(from_row).transpose()
}

pub(crate) fn from_row(row: &SqliteRow) -> Result<Repo, StoreError> {
    Ok(Repo {
        seq: row.try_get("seq")?,
        id: row::parsed(row, "id")?,
        name: row.try_get("name")?,
        forge: row.try_get("forge")?,
        clone_url: row.try_get("clone_url")?,
        hook_secret: HookSecret(row.try_get("hook_secret")?),
        public: row.try_get("public")?,
        default_branch: row.try_get("default_branch")?,
        strangers: row::parsed(row, "strangers")?,
        cancel_older: row.try_get("cancel_older")?,
        created_at: row::time(row, "created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path_or_an_option() {
        for good in ["app", "owner/app", "a/b/c", "A.b_c-1", "x..y"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(MAX_NAME_LEN + 1);
        for bad in
            ["", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", ".git", "-a", "a/-b", "a b", "a\n", "é", &long]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
