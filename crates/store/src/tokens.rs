//! API tokens. Only a secret's SHA-256 is kept: 40 random characters need no slow hash.

use std::{fmt, str::FromStr};

use longshore_core::{Timestamp, TokenId};
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, sqlite::SqliteRow};
use subtle::ConstantTimeEq as _;

use crate::{Store, StoreError, WriteTx, row};

/// How every token begins, so that people and secret scanners know one when they see it.
pub const PREFIX: &str = "lsh_";
/// How exact `last_used_at` is: a write per request would be too many.
const LAST_USED_PRECISION_MS: u64 = 60_000;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// See everything.
    Read,
    /// Start, cancel and rerun builds, and see.
    Build,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Build, Self::Admin];

    /// The word, as in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Build => "build",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a scope: there are read, build and admin"))
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: Timestamp,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// Whether it may do what needs this scope: `admin` may all, `build` may read.
    #[must_use]
    pub fn allows(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| *scope >= needed)
    }
}

/// A token that was just made; nobody sees the secret again.
pub struct CreatedToken {
    pub token: Token,
    pub secret: String,
}

impl fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedToken").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A new token's secret: nobody can guess it, and people see by its beginning what it is.
#[must_use]
pub fn random_secret() -> String {
    format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 20]>()))
}

/// Makes a token.
pub async fn create(
    tx: &mut WriteTx,
    name: &str,
    scopes: &[Scope],
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<CreatedToken, StoreError> {
    if name.is_empty() || name.len() > 200 {
        return Err(StoreError::Invalid("a token's name has 1 to 200 bytes".to_owned()));
    }
    let mut scopes = scopes.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(StoreError::Invalid("a token needs a scope: read, build or admin".to_owned()));
    }
    let secret = random_secret();
    let token =
        Token { id: TokenId::new(), name: name.to_owned(), scopes, created_at: now, last_used_at: None, expires_at };
    let words: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    sqlx::query("INSERT INTO tokens (id, name, scopes, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(token.id.to_string())
        .bind(name)
        .bind(words.join(" "))
        .bind(hash(&secret).as_slice())
        .bind(now.as_millis())
        .bind(expires_at.map(Timestamp::as_millis))
        .execute(tx.conn())
        .await?;
    Ok(CreatedToken { token, secret })
}

/// The token of that secret, if there is one and it has not expired. Notes, to the minute, that it was used.
pub async fn verify(store: &Store, secret: &str, now: Timestamp) -> Result<Option<Token>, StoreError> {
    if !secret.starts_with(PREFIX) {
        return Ok(None);
    }
    let hash = hash(secret);
    // The look-up's time depends on the hash alone, which nobody can steer towards a stored one.
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
            // A full disk locks nobody out.
            Err(error) => tracing::warn!(token = %token.id, %error, "cannot note that the token was used"),
        }
    }
    Ok(Some(token))
}

async fn note_use(store: &Store, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    sqlx::query("UPDATE tokens SET last_used_at = ? WHERE id = ?")
        .bind(now.as_millis())
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(())
}

/// All of them, oldest first.
pub async fn list(store: &Store) -> Result<Vec<Token>, StoreError> {
    sqlx::query("SELECT * FROM tokens ORDER BY seq").fetch_all(store.readers()).await?.iter().map(from_row).collect()
}

/// Ends a token. [`StoreError::NotFound`] when there is none.
pub async fn revoke(tx: &mut WriteTx, id: TokenId) -> Result<(), StoreError> {
    let done = sqlx::query("DELETE FROM tokens WHERE id = ?").bind(id.to_string()).execute(tx.conn()).await?;
    if done.rows_affected() == 0 { Err(StoreError::NotFound("token")) } else { Ok(()) }
}

/// What is kept of a secret that is random and long: it need not be slow.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn from_row(row: &SqliteRow) -> Result<Token, StoreError> {
    let words: &str = row.try_get("scopes")?;
    let scopes = words.split(' ').map(str::parse).collect::<Result<_, String>>().map_err(StoreError::Corrupt)?;
    Ok(Token {
        id: row::parsed(row, "id")?,
        name: row.try_get("name")?,
        scopes,
        created_at: row::time(row, "created_at")?,
        last_used_at: row::time_opt(row, "last_used_at")?,
        expires_at: row::time_opt(row, "expires_at")?,
    })
}
