//! Registered repositories.

mod sealed;

use std::collections::{HashMap, HashSet};

use longshore_core::{
    ConnectionId, RepoId, StatusDetail, Strangers, Timestamp, access::Visible, docker::DockerGrant,
    limits::check_repo_name,
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

pub use self::sealed::HookSecret;
use self::sealed::address_binding;
pub(crate) use self::sealed::{hook_binding, sealed_address, without_credentials};
use crate::{
    ChangeKind, Conflict, Page, Store, StoreError, WriteTx,
    deploy_keys::{self, DeployKey},
    page,
    removals::{self, Parent},
    row,
    secret_key::{self, SecretKey},
    write::NewChange,
};

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// The place in lists: `before` for the next page.
    pub seq: i64,
    pub id: RepoId,
    pub name: String,
    /// The forge's name: `git`, `github`, `gitea`, ….
    pub forge: String,
    /// With its credentials, unless [`credentials_closed`](Self::credentials_closed).
    pub clone_url: String,
    /// The clone address has credentials that the current key does not open.
    pub credentials_closed: bool,
    pub hook_secret: HookSecret,
    /// The webhook's secret of before, which counts as well until the forge has confirmed the new one.
    pub former_hook_secret: Option<HookSecret>,
    /// Readable without a token.
    pub public: bool,
    pub default_branch: Option<String>,
    /// Which pull requests of forks wait for approval.
    pub strangers: Strangers,
    /// Whether newer commits of a pull request cancel its older builds.
    pub cancel_older: bool,
    /// The connection that it was registered through, and by which its builds are reported.
    pub connection: Option<ConnectionId>,
    /// The forge's id of the webhook that the connection set up.
    pub hook_id: Option<String>,
    /// Which contexts its builds have at the forge.
    pub statuses: StatusDetail,
    /// Whether a comment on a pull request says what failed.
    pub comments: bool,
    /// The forge's own id of the repository, which no rename changes, if a connection or a delivery has told it.
    pub forge_id: Option<String>,
    /// Globs of the repositories for which the clone address's credentials are used when they are submodules.
    pub submodules: Vec<String>,
    /// When its branches and tags were last checked.
    pub looked_at: Option<Timestamp>,
    /// Why they could not be checked since.
    pub look_error: Option<String>,
    /// Which of its jobs may have Docker.
    pub docker: DockerGrant,
    /// The key that it is fetched with over ssh, if it has one of its own.
    pub deploy_key: Option<DeployKey>,
    pub created_at: Timestamp,
}

/// A repository to register. The caller has checked the forge's name and the clone address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRepo {
    pub name: String,
    pub forge: String,
    pub clone_url: String,
    pub public: bool,
    pub default_branch: Option<String>,
}

/// The fields to change; `None` keeps a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoPatch {
    pub name: Option<String>,
    /// The caller has checked it. Not of a repository that belongs to a connection, whose forge it is.
    pub forge: Option<String>,
    pub clone_url: Option<String>,
    pub public: Option<bool>,
    /// `Some(None)` means: the default branch that the forge names.
    pub default_branch: Option<Option<String>>,
    pub strangers: Option<Strangers>,
    pub cancel_older: Option<bool>,
    pub statuses: Option<StatusDetail>,
    pub comments: Option<bool>,
    pub submodules: Option<Vec<String>>,
    pub docker: Option<DockerGrant>,
    /// Makes a new webhook secret.
    pub renew_hook_secret: bool,
}

/// Registers a repository with a new webhook secret. [`StoreError::Conflict`] if the name is taken.
pub async fn create(tx: &mut WriteTx, new: &NewRepo, now: Timestamp) -> Result<Repo, StoreError> {
    check_repo_name(&new.name)?;
    let id = RepoId::new();
    let hook_secret = HookSecret::random();
    let key = secret_key::of_database_or_new(tx).await?;
    let (clone_url, clone_url_sealed) = sealed_address(&key, id, &new.clone_url)?;
    let done = sqlx::query(
        "INSERT INTO repos (id, name, forge, clone_url, clone_url_sealed, hook_secret, hook_secret_sealed, public,
                            default_branch, created_at)
         VALUES (?, ?, ?, ?, ?, '', ?, ?, ?, ?)",
    )
    .bind(id.to_string())
    .bind(&new.name)
    .bind(&new.forge)
    .bind(clone_url)
    .bind(clone_url_sealed)
    .bind(key.seal(&hook_binding(id), hook_secret.expose()?.as_bytes())?)
    .bind(new.public)
    .bind(&new.default_branch)
    .bind(now.as_millis())
    .execute(tx.conn())
    .await
    .map_err(StoreError::from)
    .map_err(|error| explain_conflict(error, &new.name))?;
    note_change(tx, id);
    Ok(Repo {
        seq: done.last_insert_rowid(),
        id,
        name: new.name.clone(),
        forge: new.forge.clone(),
        clone_url: new.clone_url.clone(),
        credentials_closed: false,
        hook_secret,
        former_hook_secret: None,
        public: new.public,
        default_branch: new.default_branch.clone(),
        strangers: Strangers::default(),
        cancel_older: true,
        connection: None,
        hook_id: None,
        statuses: StatusDetail::default(),
        comments: false,
        forge_id: None,
        submodules: Vec::new(),
        looked_at: None,
        look_error: None,
        docker: DockerGrant::default(),
        deploy_key: None,
        created_at: now,
    })
}

/// Returns a repository.
pub async fn get(store: &Store, id: RepoId) -> Result<Option<Repo>, StoreError> {
    fetch(store, &mut *store.readers().acquire().await?, id).await
}

/// Like [`get`], within a transaction.
pub async fn get_now(tx: &mut WriteTx, id: RepoId) -> Result<Option<Repo>, StoreError> {
    let store = tx.store().clone();
    fetch(&store, tx.conn(), id).await
}

/// Returns a repository by its name.
pub async fn by_name(store: &Store, name: &str) -> Result<Option<Repo>, StoreError> {
    let row = sqlx::query("SELECT * FROM repos WHERE name = ?").bind(name);
    let key = secret_key::current(store)?;
    row.fetch_optional(store.readers()).await?.map(|row| from_row(&row, key.as_ref())).transpose()
}

/// Lists the repositories that the caller may see, newest first.
pub async fn list(store: &Store, visible: &Visible, before: Option<i64>, limit: u32) -> Result<Page<Repo>, StoreError> {
    let limit = page::clamp(limit);
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM repos WHERE seq < ");
    query.push_bind(before.unwrap_or(i64::MAX));
    push_visible(&mut query, visible);
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit + 1);
    let rows = query.build().fetch_all(store.readers()).await?;
    let key = secret_key::current(store)?;
    let repos = rows.iter().map(|row| from_row(row, key.as_ref())).collect::<Result<_, _>>()?;
    Ok(Page::from_rows(repos, limit, |repo: &Repo| repo.seq))
}

/// Returns the public repositories.
pub(crate) async fn public(store: &Store) -> Result<Vec<RepoId>, StoreError> {
    let rows = sqlx::query("SELECT id FROM repos WHERE public = 1").fetch_all(store.readers()).await?;
    rows.iter().map(|row| row::parsed(row, "id")).collect()
}

/// Narrows a query of `repos` to those that the caller may see.
pub(crate) fn push_visible(query: &mut QueryBuilder<Sqlite>, visible: &Visible) {
    match visible {
        Visible::All => {}
        Visible::Public => {
            query.push(" AND repos.public = 1");
        }
        Visible::Listed(repos) => {
            query.push(" AND repos.id IN (");
            let mut list = query.separated(", ");
            for id in repos {
                list.push_bind(id.to_string());
            }
            query.push(")");
        }
    }
}

/// Returns the clone addresses of these repositories, without credentials.
pub async fn addresses(store: &Store, ids: &[RepoId]) -> Result<HashMap<RepoId, String>, StoreError> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let query = sqlx::query("SELECT id, clone_url FROM repos WHERE id IN (SELECT value FROM json_each(?))");
    let rows = query.bind(serde_json::json!(ids).to_string()).fetch_all(store.readers()).await?;
    rows.iter().map(|row| Ok((row::parsed(row, "id")?, row.try_get("clone_url")?))).collect()
}

/// Returns which of these repositories are public.
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

fn explain_conflict(error: StoreError, name: &str) -> StoreError {
    match error.is_unique_violation() {
        true => Conflict::RepoNameTaken(name.to_owned()).into(),
        false => error,
    }
}

/// Changes the forge of a repository. Announcements of the old one do not count any more.
async fn change_forge(tx: &mut WriteTx, id: RepoId, forge: &str) -> Result<(), StoreError> {
    let found = sqlx::query("SELECT forge, connection FROM repos WHERE id = ?").bind(id.to_string());
    let found = found.fetch_optional(tx.conn()).await?.ok_or(StoreError::NotFound("repository"))?;
    if found.try_get::<String, _>("forge")? == forge {
        return Ok(());
    }
    if found.try_get::<Option<String>, _>("connection")?.is_some() {
        return Err(Conflict::RepoHasConnection.into());
    }
    let update = sqlx::query("UPDATE repos SET forge = ?, forge_id = NULL WHERE id = ?").bind(forge);
    update.bind(id.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Makes a new secret for a repository's webhook. If the forge has to be given it, the one of before counts until it
/// has it (`connections::set_hook`), and one that it never confirmed is given to it once more.
async fn renew_hook_secret(tx: &mut WriteTx, id: RepoId) -> Result<(), StoreError> {
    let repo = get_now(tx, id).await?.ok_or(StoreError::NotFound("repository"))?;
    if repo.connection.is_some() && repo.former_hook_secret.is_some() && repo.hook_secret.expose().is_ok() {
        return Ok(());
    }
    let secret = HookSecret::random();
    secret_key::forget_if_lost(tx).await?;
    let key = secret_key::of_database_or_new(tx).await?;
    sqlx::query(
        "UPDATE repos SET hook_secret = '', hook_secret_sealed = ?,
                former_hook_secret_sealed = iif(connection IS NULL, NULL, hook_secret_sealed)
         WHERE id = ?",
    )
    .bind(key.seal(&hook_binding(id), secret.expose()?.as_bytes())?)
    .bind(id.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Changes a repository. [`StoreError::NotFound`] if there is none.
pub async fn patch(tx: &mut WriteTx, id: RepoId, patch: &RepoPatch) -> Result<Repo, StoreError> {
    if patch.renew_hook_secret {
        renew_hook_secret(tx, id).await?;
    }
    if let Some(address) = &patch.clone_url {
        set_address(tx, id, address).await?;
        // A connection knows by itself which repository is reported to.
        sqlx::query(
            "UPDATE repos SET forge_id = iif(connection IS NULL, NULL, forge_id), look_error = NULL WHERE id = ?",
        )
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    }
    if let Some(forge) = &patch.forge {
        change_forge(tx, id, forge).await?;
    }
    if let Some(name) = &patch.name {
        check_repo_name(name)?;
        let renamed = sqlx::query("UPDATE repos SET name = ? WHERE id = ?").bind(name).bind(id.to_string());
        renamed.execute(tx.conn()).await.map_err(StoreError::from).map_err(|error| explain_conflict(error, name))?;
    }
    let row = sqlx::query(
        "UPDATE repos SET public = coalesce(?, public), default_branch = iif(?, ?, default_branch),
                strangers = coalesce(?, strangers), cancel_older = coalesce(?, cancel_older),
                statuses = coalesce(?, statuses), comments = coalesce(?, comments),
                submodules = coalesce(?, submodules),
                docker = coalesce(?, docker)
         WHERE id = ? RETURNING *",
    )
    .bind(patch.public)
    .bind(patch.default_branch.is_some())
    .bind(patch.default_branch.as_ref().and_then(Option::as_ref))
    .bind(patch.strangers.map(Strangers::as_str))
    .bind(patch.cancel_older)
    .bind(patch.statuses.map(StatusDetail::as_str))
    .bind(patch.comments)
    .bind(patch.submodules.as_ref().map(row::to_json).transpose()?)
    .bind(patch.docker.as_ref().map(DockerGrant::to_json))
    .bind(id.to_string())
    .fetch_optional(tx.conn())
    .await?
    .ok_or(StoreError::NotFound("repository"))?;
    note_change(tx, id);
    from_row(&row, secret_key::current(tx.store())?.as_ref())
}

/// Stores the forge's own id of a repository that has none yet.
pub async fn learn_forge_id(tx: &mut WriteTx, id: RepoId, forge_id: &str) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE repos SET forge_id = ? WHERE id = ? AND forge_id IS NULL");
    update.bind(forge_id).bind(id.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Changes a repository's clone address.
pub(crate) async fn set_address(tx: &mut WriteTx, id: RepoId, address: &str) -> Result<(), StoreError> {
    let key = secret_key::of_database_or_new(tx).await?;
    let (clone_url, sealed) = sealed_address(&key, id, address)?;
    sqlx::query("UPDATE repos SET clone_url = ?, clone_url_sealed = ? WHERE id = ?")
        .bind(clone_url)
        .bind(sealed)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Removes a repository with its deliveries, builds and logs. [`StoreError::Conflict`] while one of its builds is not
/// over: those must be canceled first.
pub async fn delete(tx: &mut WriteTx, id: RepoId) -> Result<(), StoreError> {
    let unfinished: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM builds
         WHERE repo = ? AND status IN ('blocked', 'queued', 'running', 'canceling')",
    )
    .bind(id.to_string())
    .fetch_one(tx.conn())
    .await?;
    if unfinished > 0 {
        return Err(Conflict::BuildsUnfinished(unfinished).into());
    }
    let logs = removals::logs::logs_of(tx, Parent::Repo(id)).await?;
    let contents = removals::artifacts::contents_of(tx, Parent::Repo(id)).await?;
    let done = sqlx::query("DELETE FROM repos WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("repository"));
    }
    removals::logs::note(tx, &logs).await?;
    removals::artifacts::drop_unused(tx, &contents).await?;
    note_change(tx, id);
    Ok(())
}

pub(crate) fn note_change(tx: &mut WriteTx, id: RepoId) {
    tx.note_change(NewChange { kind: ChangeKind::Repo, repo: Some(id), build: None, job: None });
}

pub(crate) async fn fetch(store: &Store, conn: &mut SqliteConnection, id: RepoId) -> Result<Option<Repo>, StoreError> {
    let row = sqlx::query("SELECT * FROM repos WHERE id = ?").bind(id.to_string()).fetch_optional(conn).await?;
    let key = secret_key::current(store)?;
    row.map(|row| from_row(&row, key.as_ref())).transpose()
}

/// Reads a repository. A sealed value that the current key does not open stays closed; the rest of the row is read all
/// the same.
pub(crate) fn from_row(row: &SqliteRow, key: Option<&SecretKey>) -> Result<Repo, StoreError> {
    let id = row::parsed(row, "id")?;
    let open = |binding: String, sealed: &[u8]| String::from_utf8(key?.open(&binding, sealed)?).ok();
    let hook_secret = match row.try_get::<Option<Vec<u8>>, _>("hook_secret_sealed")? {
        Some(sealed) => open(hook_binding(id), &sealed),
        // A secret of an older version, not sealed yet. An empty one would let everybody in.
        None => Some(row.try_get("hook_secret")?).filter(|secret: &String| !secret.is_empty()),
    };
    let address: String = row.try_get("clone_url")?;
    let (clone_url, credentials_closed) = match row.try_get::<Option<Vec<u8>>, _>("clone_url_sealed")? {
        None => (address, false),
        Some(sealed) => match open(address_binding(id), &sealed) {
            Some(whole) => (whole, false),
            None => (address, true),
        },
    };
    Ok(Repo {
        seq: row.try_get("seq")?,
        id,
        name: row.try_get("name")?,
        forge: row.try_get("forge")?,
        clone_url,
        credentials_closed,
        hook_secret: HookSecret(hook_secret),
        former_hook_secret: row
            .try_get::<Option<Vec<u8>>, _>("former_hook_secret_sealed")?
            .map(|sealed| HookSecret(open(hook_binding(id), &sealed))),
        public: row.try_get("public")?,
        default_branch: row.try_get("default_branch")?,
        strangers: row::parsed(row, "strangers")?,
        cancel_older: row.try_get("cancel_older")?,
        connection: row::parsed_opt(row, "connection")?,
        hook_id: row.try_get("hook_id")?,
        statuses: row::parsed(row, "statuses")?,
        comments: row.try_get("comments")?,
        forge_id: row.try_get("forge_id")?,
        submodules: row::json(row, "submodules")?,
        looked_at: row::time_opt(row, "looked_at")?,
        look_error: row.try_get("look_error")?,
        docker: row::parsed(row, "docker")?,
        deploy_key: deploy_keys::from_row(row, id, key)?,
        created_at: row::time(row, "created_at")?,
    })
}
