//! API tokens. Only the SHA-256 of a token's secret is stored: 40 random characters need no slow hash.

use std::fmt;

use longshore_core::{Timestamp, TokenId, access::Rights, limits::check_token};
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, sqlite::SqliteRow};
use subtle::ConstantTimeEq as _;

use crate::{Invalid, Store, StoreError, WriteTx, repos, row};

pub use longshore_core::access::Scope;

/// The prefix of every token, by which people and secret scanners recognize one.
pub const PREFIX: &str = "lsh_";
/// The precision of `last_used_at`: a write per request would be too many.
const LAST_USED_PRECISION_MS: u64 = 60_000;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    /// For people. Names are not unique.
    pub name: String,
    pub rights: Rights,
    pub created_at: Timestamp,
    /// Precise to the minute.
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

/// A token to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    pub name: String,
    pub rights: Rights,
    /// `None` for a token that never expires.
    pub expires_at: Option<Timestamp>,
}

/// A token that was just made. Nobody sees the secret again.
pub struct CreatedToken {
    pub token: Token,
    pub secret: String,
}

impl fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedToken").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Returns a new token's secret. Nobody can guess it, and its prefix says what it is.
#[must_use]
pub fn random_secret() -> String {
    format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 20]>()))
}

/// Creates a token. [`StoreError::Invalid`] without a name or a scope, with an empty list of repositories, or with a
/// repository that does not exist.
pub async fn create(tx: &mut WriteTx, new: &NewToken, now: Timestamp) -> Result<CreatedToken, StoreError> {
    let NewToken { name, rights, expires_at } = new.clone();
    check_token(&name, &rights)?;
    for id in rights.repos().unwrap_or_default() {
        if repos::get_now(tx, *id).await?.is_none() {
            return Err(Invalid::UnknownRepo(*id).into());
        }
    }
    let secret = random_secret();
    let token = Token { id: TokenId::new(), name, rights, created_at: now, last_used_at: None, expires_at };
    let words: Vec<&str> = token.rights.scopes().iter().map(|scope| scope.as_str()).collect();
    sqlx::query(
        "INSERT INTO tokens (id, name, scopes, repos, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(token.id.to_string())
    .bind(&token.name)
    .bind(words.join(" "))
    .bind(token.rights.repos().map(|repos| row::to_json(&repos)).transpose()?)
    .bind(hash(&secret).as_slice())
    .bind(now.as_millis())
    .bind(expires_at.map(Timestamp::as_millis))
    .execute(tx.conn())
    .await?;
    Ok(CreatedToken { token, secret })
}

/// Returns the token with that secret, if there is one and it has not expired. Notes, to the minute, that it was used.
pub async fn verify(store: &Store, secret: &str, now: Timestamp) -> Result<Option<Token>, StoreError> {
    if !secret.starts_with(PREFIX) {
        return Ok(None);
    }
    let hash = hash(secret);
    // The time of the lookup depends on the hash alone, and nobody can choose a hash that is close to a stored one.
    let row = sqlx::query("SELECT * FROM tokens WHERE hash = ?").bind(hash.as_slice());
    let Some(row) = row.fetch_optional(store.readers()).await? else { return Ok(None) };
    if !bool::from(row.try_get::<&[u8], _>("hash")?.ct_eq(&hash)) {
        return Ok(None);
    }
    let mut token = from_row(&row)?;
    if token.expires_at.is_some_and(|end| end <= now) {
        return Ok(None);
    }
    if token.last_used_at.is_none_or(|last| now.since(last) >= LAST_USED_PRECISION_MS) {
        match note_use(store, token.id, now).await {
            Ok(()) => token.last_used_at = Some(now),
            // A full disk does not lock anybody out.
            Err(error) => tracing::warn!(token = %token.id, %error, "cannot note that the token was used"),
        }
    }
    Ok(Some(token))
}

async fn note_use(store: &Store, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = store.write().await?.unaudited();
    sqlx::query("UPDATE tokens SET last_used_at = ? WHERE id = ?")
        .bind(now.as_millis())
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Returns all tokens, oldest first.
pub async fn list(store: &Store) -> Result<Vec<Token>, StoreError> {
    sqlx::query("SELECT * FROM tokens ORDER BY seq").fetch_all(store.readers()).await?.iter().map(from_row).collect()
}

/// Ends a token. [`StoreError::NotFound`] if there is none.
pub async fn revoke(tx: &mut WriteTx, id: TokenId) -> Result<(), StoreError> {
    let done = sqlx::query("DELETE FROM tokens WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    if done.rows_affected() == 0 { Err(StoreError::NotFound("token")) } else { Ok(()) }
}

/// Returns what is stored of a secret. The secret is random and long, so the hash need not be slow.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn from_row(row: &SqliteRow) -> Result<Token, StoreError> {
    Ok(Token {
        id: row::parsed(row, "id")?,
        name: row.try_get("name")?,
        rights: rights(row)?,
        created_at: row::time(row, "created_at")?,
        last_used_at: row::time_opt(row, "last_used_at")?,
        expires_at: row::time_opt(row, "expires_at")?,
    })
}

/// Reads the rights from a row with the token's `scopes` and `repos`.
pub(crate) fn rights(row: &SqliteRow) -> Result<Rights, StoreError> {
    let words: &str = row.try_get("scopes")?;
    let scopes = words.split(' ').map(str::parse).collect::<Result<_, String>>().map_err(StoreError::Corrupt)?;
    Ok(Rights::new(scopes, row::json_opt(row, "repos")?))
}
