//! Browsers that are signed in. A one-time link opens a session, and a cookie holds it. Only hashes of their secrets
//! are stored; the secrets are random enough to need no slow hash.
//!
//! A session has the rights of the token that made its link. It ends with that token, after 30 days, or when it is
//! signed out. The administrator's token has no row: its sessions end when another token replaces it.

use std::fmt;

use longshore_core::{
    SessionId, Timestamp, TokenId,
    access::{Rights, Via},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{
    Store, StoreError, WriteTx,
    audit::Pending,
    row, settings,
    tokens::{self, hash},
};

/// How long a one-time link is valid: ten minutes.
pub const LINK_LIFETIME_MS: i64 = 10 * 60 * 1000;
/// How long a session lasts: 30 days.
pub const SESSION_LIFETIME_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// The precision of `last_seen_at`: a write per request would be too many.
const LAST_SEEN_PRECISION_MS: u64 = 600_000;
/// How many characters of a browser's name are stored.
const BROWSER_LEN: usize = 200;

/// Selects sessions with the rights of their tokens.
const SELECT: &str = "SELECT sessions.*, tokens.scopes, tokens.repos
                      FROM sessions LEFT JOIN tokens ON tokens.id = sessions.token";

/// Who opens a session: the token that asked for the link, or the administrator's token, which has no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opener {
    pub name: String,
    /// `None` for the administrator's token.
    pub token: Option<TokenId>,
    /// When the token expires.
    pub until: Option<Timestamp>,
}

/// A session, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    /// The name of the session's token.
    pub name: String,
    /// The rights of the token.
    pub rights: Rights,
    /// `None` for the administrator's token.
    pub token: Option<TokenId>,
    /// What the browser called itself when the session was opened.
    pub browser: String,
    pub created_at: Timestamp,
    /// Precise to ten minutes.
    pub last_seen_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A session that was just opened. Nobody but its browser sees the secret again.
pub struct OpenedSession {
    pub session: Session,
    pub secret: String,
}

impl fmt::Debug for OpenedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedSession").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Makes a link's code, and deletes links and sessions that have expired.
pub async fn make_link(tx: &mut WriteTx, opener: &Opener, now: Timestamp) -> Result<String, StoreError> {
    delete_expired(tx, now).await?;
    let code = random_secret();
    sqlx::query("INSERT INTO sign_in_links (hash, name, token, session_until, expires_at) VALUES (?, ?, ?, ?, ?)")
        .bind(hash(&code).as_slice())
        .bind(&opener.name)
        .bind(opener.token.map(|id| id.to_string()))
        .bind(opener.until.map(Timestamp::as_millis))
        .bind(now.as_millis() + LINK_LIFETIME_MS)
        .execute(tx.conn())
        .await?;
    Ok(code)
}

/// Returns the name that a link's code would sign in. `None` for a code that was used, has expired, or never existed.
/// The link stays valid.
pub async fn name_of_link(store: &Store, code: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
    let name = sqlx::query_scalar("SELECT name FROM sign_in_links WHERE hash = ? AND expires_at > ?")
        .bind(hash(code).as_slice().to_vec())
        .bind(now.as_millis());
    Ok(name.fetch_optional(store.readers()).await?)
}

/// Opens a session with a link's code, which ends the link. `None` for a code that was used, has expired, or never
/// existed.
pub async fn open_by_link(
    tx: &mut WriteTx,
    code: &str,
    browser: &str,
    now: Timestamp,
) -> Result<Option<OpenedSession>, StoreError> {
    delete_expired(tx, now).await?;
    let row = sqlx::query("DELETE FROM sign_in_links WHERE hash = ? RETURNING name, token, session_until")
        .bind(hash(code).as_slice())
        .fetch_optional(tx.conn())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let opener = Opener {
        name: row.try_get("name")?,
        token: row::parsed_opt(&row, "token")?,
        until: row::time_opt(&row, "session_until")?,
    };
    open(tx, opener, browser, now).await.map(Some)
}

/// Opens a session for somebody who has presented the token itself.
pub async fn open(
    tx: &mut WriteTx,
    opener: Opener,
    browser: &str,
    now: Timestamp,
) -> Result<OpenedSession, StoreError> {
    let rights = match opener.token {
        Some(token) => {
            let row = sqlx::query("SELECT scopes, repos FROM tokens WHERE id = ?").bind(token.to_string());
            // The token was revoked a moment ago.
            let row = row.fetch_optional(tx.conn()).await?.ok_or(StoreError::NotFound("token"))?;
            tokens::rights(&row)?
        }
        None => Rights::everything(),
    };
    Pending::describe_carried(|record| {
        (record.who, record.token) = (opener.name.clone(), opener.token);
        record.via = Via::Session.as_str().to_owned();
    });
    let secret = random_secret();
    let latest = Timestamp::from_millis(now.as_millis() + SESSION_LIFETIME_MS);
    let session = Session {
        id: SessionId::new(),
        name: opener.name,
        rights,
        token: opener.token,
        browser: browser.chars().take(BROWSER_LEN).collect(),
        created_at: now,
        last_seen_at: now,
        expires_at: opener.until.map_or(latest, |until| until.min(latest)),
    };
    sqlx::query(
        "INSERT INTO sessions (id, hash, name, token, browser, created_at, last_seen_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(session.id.to_string())
    .bind(hash(&secret).as_slice())
    .bind(&session.name)
    .bind(session.token.map(|id| id.to_string()))
    .bind(&session.browser)
    .bind(now.as_millis())
    .bind(now.as_millis())
    .bind(session.expires_at.as_millis())
    .execute(tx.conn())
    .await?;
    Ok(OpenedSession { session, secret })
}

/// Returns the session with that secret, if it has not expired. Notes, to ten minutes, that it was seen.
pub async fn verify(store: &Store, secret: &str, now: Timestamp) -> Result<Option<Session>, StoreError> {
    // The time of the lookup depends on the hash alone, and nobody can choose a hash that is close to a stored one.
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    query.push(" WHERE sessions.hash = ").push_bind(hash(secret).to_vec());
    query.push(" AND sessions.expires_at > ").push_bind(now.as_millis());
    let Some(row) = query.build().fetch_optional(store.readers()).await? else { return Ok(None) };
    let session = from_row(&row)?;
    if now.since(session.last_seen_at) >= LAST_SEEN_PRECISION_MS
        && let Err(error) = note_seen(store, session.id, now).await
    {
        // A full disk does not lock anybody out.
        tracing::warn!(session = %session.id, %error, "cannot note that the session was seen");
    }
    Ok(Some(session))
}

async fn note_seen(store: &Store, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = store.write().await?.unaudited();
    sqlx::query("UPDATE sessions SET last_seen_at = ? WHERE id = ?")
        .bind(now.as_millis())
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Returns the sessions that have not expired, newest first, at most 500.
pub async fn list(store: &Store, now: Timestamp) -> Result<Vec<Session>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    query
        .push(" WHERE sessions.expires_at > ")
        .push_bind(now.as_millis())
        .push(" ORDER BY sessions.seq DESC LIMIT 500");
    query.build().fetch_all(store.readers()).await?.iter().map(from_row).collect()
}

/// Ends a session. [`StoreError::NotFound`] if there is none.
pub async fn end(tx: &mut WriteTx, id: SessionId) -> Result<(), StoreError> {
    let done = sqlx::query("DELETE FROM sessions WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    if done.rows_affected() == 0 { Err(StoreError::NotFound("session")) } else { Ok(()) }
}

/// Stores which token is the administrator's. If it replaces another one, sessions and links that the other one opened
/// end, as those of any token do.
pub async fn set_admin_token(tx: &mut WriteTx, token: &str) -> Result<(), StoreError> {
    const HASH: &str = "admin token hash";
    let now = hex::encode(hash(token));
    let before = settings::get_within(tx, HASH).await?;
    if before.as_ref() == Some(&now) {
        return Ok(());
    }
    if before.is_some() {
        sqlx::query("DELETE FROM sign_in_links WHERE token IS NULL").execute(tx.conn()).await?;
        sqlx::query("DELETE FROM sessions WHERE token IS NULL").execute(tx.conn()).await?;
    }
    settings::set(tx, HASH, &now).await
}

async fn delete_expired(tx: &mut WriteTx, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sign_in_links WHERE expires_at <= ?").bind(now.as_millis()).execute(tx.conn()).await?;
    sqlx::query("DELETE FROM sessions WHERE expires_at <= ?").bind(now.as_millis()).execute(tx.conn()).await?;
    Ok(())
}

fn random_secret() -> String {
    hex::encode(rand::random::<[u8; 20]>())
}

fn from_row(row: &SqliteRow) -> Result<Session, StoreError> {
    let token: Option<TokenId> = row::parsed_opt(row, "token")?;
    Ok(Session {
        id: row::parsed(row, "id")?,
        name: row.try_get("name")?,
        rights: if token.is_some() { tokens::rights(row)? } else { Rights::everything() },
        token,
        browser: row.try_get("browser")?,
        created_at: row::time(row, "created_at")?,
        last_seen_at: row::time(row, "last_seen_at")?,
        expires_at: row::time(row, "expires_at")?,
    })
}
