//! Forges that the server may call, and which repositories were registered through them.
//!
//! Tokens are sealed (`secret_key`) and leave through [`open`] alone, for calls to that forge. Clone addresses of the
//! repositories contain the token too; they follow when it is replaced.

use longshore_core::{
    ConnectionId, RepoId, Timestamp,
    limits::{Limited, check_connection_name, check_repo_name},
    sealing::Damaged,
};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{
    ChangeKind, Conflict, Store, StoreError, WriteTx, commit_statuses, pull_request_comments,
    repos::{self, Repo},
    row, secret_key,
    write::NewChange,
};

/// How many of the repositories that use a connection are named.
const NAMED_USERS: usize = 3;

/// A connection, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    pub id: ConnectionId,
    /// The name that people write in commands.
    pub name: String,
    /// The forge's word: `github`, `gitea`, ….
    pub kind: String,
    /// Without a slash at the end.
    pub url: String,
    /// The account that the token belongs to.
    pub account: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Who gave the token: the name of the token that they used here.
    pub updated_by: String,
}

impl Connection {
    /// Returns the path of an address that lies below the forge's; the address has no credentials.
    #[must_use]
    pub fn path_of<'a>(&self, address: &'a str) -> Option<&'a str> {
        address.strip_prefix(&self.url)?.strip_prefix('/')
    }

    /// Returns the clone address of a repository of this connection under another name, with its current login. `None`
    /// if the address stays: it is already this one, somebody pointed it elsewhere, or its login cannot be unsealed.
    #[must_use]
    pub fn renamed_address(&self, repo: &Repo, name: &str) -> Option<String> {
        let old = repos::without_credentials(&repo.clone_url);
        let is_ours = repo.connection == Some(self.id) && !repo.credentials_closed && self.path_of(&old).is_some();
        let new = format!("{}/{name}.git", self.url);
        if !is_ours || old.eq_ignore_ascii_case(&new) {
            return None;
        }
        let authority = repo.clone_url.split('/').nth(2).unwrap_or_default();
        Some(match authority.rsplit_once('@') {
            Some((login, _)) => with_login(&new, login),
            None => new,
        })
    }
}

/// A connection to add, or a token that replaces another one. The caller has checked it at the forge.
#[derive(Clone)]
pub struct NewConnection {
    /// Without one, the kind, or else the forge's host.
    pub name: Option<String>,
    pub kind: String,
    pub url: String,
    pub account: String,
    pub token: String,
    /// `user:password` for clone addresses, percent-encoded.
    pub clone_login: String,
}

impl std::fmt::Debug for NewConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewConnection").field("kind", &self.kind).field("url", &self.url).finish_non_exhaustive()
    }
}

/// Returns the existing connection that `new` replaces, if any, and the name that the connection gets.
fn choose<'a>(all: &'a [Connection], new: &NewConnection) -> Result<(Option<&'a Connection>, String), StoreError> {
    let named = |name: &str| all.iter().find(|one| one.name == name);
    let is_same = |one: &&Connection| one.kind == new.kind && one.url == new.url;
    if let Some(name) = &new.name {
        check_connection_name(name)?;
        return match named(name) {
            Some(other) if !is_same(&other) => {
                let (name, kind, url) = (name.clone(), other.kind.clone(), other.url.clone());
                Err(Conflict::ConnectionToAnother { name, kind, url }.into())
            }
            before => Ok((before, name.clone())),
        };
    }
    let same: Vec<&Connection> = all.iter().filter(is_same).collect();
    match same.as_slice() {
        [] => {}
        [same] => return Ok((Some(*same), same.name.clone())),
        _ => return Err(Conflict::SeveralConnections { count: same.len(), url: new.url.clone() }.into()),
    }
    let host = new.url.split('/').nth(2).unwrap_or_default().replace([':', '[', ']'], "-");
    let free = [&new.kind, &host].into_iter().find(|name| named(name).is_none()).cloned();
    match free {
        Some(free) => Ok((None, free)),
        None => Err(Conflict::ConnectionNamesTaken { kind: new.kind.clone(), host }.into()),
    }
}

/// Adds a connection, or gives one another token: the one with that name, or without a name the only one to that
/// forge. Returns whether it is new. [`StoreError::Conflict`] if the name is taken by another forge.
pub async fn set(
    tx: &mut WriteTx,
    new: &NewConnection,
    by: &str,
    now: Timestamp,
) -> Result<(Connection, bool), StoreError> {
    let all = sqlx::query("SELECT * FROM connections").fetch_all(tx.conn()).await?;
    let all = all.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let (before, name) = choose(&all, new)?;
    if before.is_none() && i64::try_from(all.len()).unwrap_or(i64::MAX) >= Limited::Connections.most() {
        return Err(Conflict::Full(Limited::Connections).into());
    }
    let connection = Connection {
        id: before.map_or_else(ConnectionId::new, |before| before.id),
        name,
        kind: new.kind.clone(),
        url: new.url.clone(),
        account: new.account.clone(),
        created_at: before.map_or(now, |before| before.created_at),
        updated_at: now,
        updated_by: by.to_owned(),
    };
    secret_key::forget_if_lost(tx).await?;
    let key = secret_key::of_database_or_new(tx).await?;
    sqlx::query(
        "INSERT INTO connections (id, name, kind, url, account, sealed, created_at, updated_at, updated_by)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET account = excluded.account, sealed = excluded.sealed, updated_at = excluded.updated_at,
                                        updated_by = excluded.updated_by",
    )
    .bind(connection.id.to_string())
    .bind(&connection.name)
    .bind(&connection.kind)
    .bind(&connection.url)
    .bind(&connection.account)
    .bind(key.seal(&binding(&connection), new.token.as_bytes())?)
    .bind(connection.created_at.as_millis())
    .bind(now.as_millis())
    .bind(by)
    .execute(tx.conn())
    .await?;
    if before.is_some() {
        renew_logins(tx, &connection, &new.clone_login).await?;
        commit_statuses::try_again(tx, connection.id, now).await?;
        pull_request_comments::try_again(tx, connection.id, now).await?;
    }
    Ok((connection, before.is_none()))
}

/// Writes the new login into the clone addresses of the connection's repositories. An address that somebody pointed
/// elsewhere stays.
async fn renew_logins(tx: &mut WriteTx, connection: &Connection, login: &str) -> Result<(), StoreError> {
    let rows = sqlx::query("SELECT id, clone_url FROM repos WHERE connection = ?")
        .bind(connection.id.to_string())
        .fetch_all(tx.conn())
        .await?;
    for found in &rows {
        let (id, address): (RepoId, String) = (row::parsed(found, "id")?, found.try_get("clone_url")?);
        lend_login(tx, connection, id, &address, login).await?;
    }
    Ok(())
}

/// Writes a connection's login into a repository's clone address, if that is one of its forge. Takes the address
/// without credentials.
pub async fn lend_login(
    tx: &mut WriteTx,
    connection: &Connection,
    repo: RepoId,
    address: &str,
    login: &str,
) -> Result<(), StoreError> {
    if connection.path_of(address).is_some() {
        repos::set_address(tx, repo, &with_login(address, login)).await?;
    }
    Ok(())
}

/// Points a repository of a connection to another name, which the forge has confirmed for it. Returns the repository as
/// it is then; nothing if it has changed meanwhile so that there is nothing to follow.
pub async fn follow_rename(
    tx: &mut WriteTx,
    connection: &Connection,
    repo: &Repo,
    name: &str,
) -> Result<Option<Repo>, StoreError> {
    check_repo_name(name)?;
    // The forge took its time: a new token may have come meanwhile, or another address.
    let Some(now) = repos::get_now(tx, repo.id).await?.filter(|now| now.forge_id == repo.forge_id) else {
        return Ok(None);
    };
    let Some(address) = connection.renamed_address(&now, name) else { return Ok(None) };
    repos::set_address(tx, repo.id, &address).await?;
    changed(tx, repo.id);
    repos::get_now(tx, repo.id).await
}

/// Returns an http address with `user:password` in it. An empty login is left out.
#[must_use]
pub fn with_login(address: &str, login: &str) -> String {
    match address.split_once("://") {
        Some(_) if login.is_empty() => address.to_owned(),
        Some((scheme, rest)) => format!("{scheme}://{login}@{rest}"),
        None => address.to_owned(),
    }
}

/// Lists the connections by name.
pub async fn list(store: &Store) -> Result<Vec<Connection>, StoreError> {
    let rows = sqlx::query("SELECT * FROM connections ORDER BY name").fetch_all(store.readers()).await?;
    rows.iter().map(from_row).collect()
}

/// Returns a connection.
pub async fn get(store: &Store, id: ConnectionId) -> Result<Option<Connection>, StoreError> {
    let row = sqlx::query("SELECT * FROM connections WHERE id = ?").bind(id.to_string());
    row.fetch_optional(store.readers()).await?.as_ref().map(from_row).transpose()
}

/// Returns the connection that people call by this word: its id, its name, its address, or its kind if it is the only
/// one of it.
pub async fn find(store: &Store, word: &str) -> Result<Option<Connection>, StoreError> {
    let mut all = list(store).await?;
    let address = word.trim_end_matches('/');
    let at = all
        .iter()
        .position(|one| one.id.to_string() == word || one.name == word)
        .or_else(|| only(&all, |one| one.url == address))
        .or_else(|| only(&all, |one| one.kind == word));
    Ok(at.map(|at| all.swap_remove(at)))
}

fn only(all: &[Connection], is_it: impl Fn(&Connection) -> bool) -> Option<usize> {
    let mut found = all.iter().enumerate().filter(|(_, one)| is_it(one)).map(|(at, _)| at);
    found.next().filter(|_| found.next().is_none())
}

/// Returns a connection with its token. [`StoreError::SecretKey`] if the current key does not open it.
pub async fn open(store: &Store, id: ConnectionId) -> Result<Option<(Connection, String)>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let row = sqlx::query("SELECT * FROM connections WHERE id = ?").bind(id.to_string());
    let Some(row) = row.fetch_optional(&mut *conn).await? else { return Ok(None) };
    let connection = from_row(&row)?;
    let key = secret_key::of_database(store, &mut conn).await?;
    let token = key
        .and_then(|key| key.open(&binding(&connection), row.try_get("sealed").ok()?))
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| StoreError::Unopened(Damaged::ConnectionToken(connection.name.clone())))?;
    Ok(Some((connection, token)))
}

/// Removes a connection. [`StoreError::Conflict`] while repositories use it.
pub async fn remove(tx: &mut WriteTx, id: ConnectionId) -> Result<(), StoreError> {
    let mut repos: Vec<String> =
        sqlx::query_scalar("SELECT name FROM repos WHERE connection = ? ORDER BY name LIMIT ?")
            .bind(id.to_string())
            .bind(NAMED_USERS as i64 + 1)
            .fetch_all(tx.conn())
            .await?;
    if !repos.is_empty() {
        let more = repos.len() > NAMED_USERS;
        repos.truncate(NAMED_USERS);
        return Err(Conflict::ConnectionInUse { repos, more }.into());
    }
    let done = sqlx::query("DELETE FROM connections WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("connection"));
    }
    Ok(())
}

/// Notes that a repository belongs to a connection, and the forge's number for it. Its deliveries are that forge's.
pub async fn attach(
    tx: &mut WriteTx,
    repo: RepoId,
    connection: ConnectionId,
    forge_id: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE repos SET connection = ?1, forge_id = ?2, forge = (SELECT kind FROM connections WHERE id = ?1)
         WHERE id = ?3",
    )
    .bind(connection.to_string())
    .bind(forge_id)
    .bind(repo.to_string())
    .execute(tx.conn())
    .await?;
    changed(tx, repo);
    Ok(())
}

/// Notes the webhook that was set up for a repository, with the secret that the repository has.
pub async fn set_hook(tx: &mut WriteTx, repo: RepoId, hook: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE repos SET hook_id = ?, former_hook_secret_sealed = NULL WHERE id = ?")
        .bind(hook)
        .bind(repo.to_string())
        .execute(tx.conn())
        .await?;
    changed(tx, repo);
    Ok(())
}

/// Rejects the webhook's secret of before, if there is one, although the forge has not confirmed the new one.
pub async fn reject_former_hook_secret(tx: &mut WriteTx, repo: RepoId) -> Result<(), StoreError> {
    let update =
        "UPDATE repos SET former_hook_secret_sealed = NULL WHERE id = ? AND former_hook_secret_sealed IS NOT NULL";
    let done = sqlx::query(update).bind(repo.to_string()).execute(tx.conn()).await?;
    if done.rows_affected() > 0 {
        changed(tx, repo);
    }
    Ok(())
}

/// Returns the repositories of a connection by the forge's numbers.
pub async fn registered(store: &Store, id: ConnectionId) -> Result<Vec<(String, RepoId)>, StoreError> {
    let rows = sqlx::query("SELECT id, forge_id FROM repos WHERE connection = ? AND forge_id IS NOT NULL")
        .bind(id.to_string())
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(|found| Ok((found.try_get("forge_id")?, row::parsed(found, "id")?))).collect()
}

fn changed(tx: &mut WriteTx, repo: RepoId) {
    tx.note_change(NewChange { kind: ChangeKind::Repo, repo: Some(repo), build: None, job: None });
}

/// Returns what a token is bound to when it is sealed: it does not open for another address.
fn binding(connection: &Connection) -> String {
    format!("connection {} {} {}", connection.id, connection.kind, connection.url)
}

fn from_row(row: &SqliteRow) -> Result<Connection, StoreError> {
    Ok(Connection {
        id: row::parsed(row, "id")?,
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        url: row.try_get("url")?,
        account: row.try_get("account")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
        updated_by: row.try_get("updated_by")?,
    })
}
