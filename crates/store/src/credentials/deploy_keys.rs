//! Keys that repositories are fetched with over ssh, one for each, made here and sealed, with the host keys that were
//! pinned when they were made.

use longshore_core::{RepoId, sealing::KeyProblem};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{StoreError, WriteTx, repos, secret_key, secret_key::SecretKey};

/// A repository's key.
#[derive(Clone, PartialEq, Eq)]
pub struct DeployKey {
    /// As it is given to the forge: `ssh-ed25519 AAAA... name`.
    pub public: String,
    /// Lines of known_hosts.
    pub host_keys: String,
    private: Option<String>,
}

impl DeployKey {
    /// Creates a key from its two halves, in OpenSSH's formats.
    #[must_use]
    pub const fn new(public: String, private: String, host_keys: String) -> Self {
        Self { public, host_keys, private: Some(private) }
    }

    /// Returns the private key. [`StoreError::SecretKey`] if the current key does not open it.
    pub fn expose(&self) -> Result<&str, StoreError> {
        self.private.as_deref().ok_or(StoreError::SecretKey(KeyProblem::DeployKey))
    }
}

impl std::fmt::Debug for DeployKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeployKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Gives a repository a key, which replaces the one that it has.
pub async fn set(tx: &mut WriteTx, repo: RepoId, new: &DeployKey) -> Result<(), StoreError> {
    secret_key::forget_if_lost(tx).await?;
    let key = secret_key::of_database_or_new(tx).await?;
    let sealed = key.seal(&binding(repo), new.expose()?.as_bytes())?;
    write(tx, repo, Some(sealed), Some(&new.public), Some(&new.host_keys)).await
}

/// Removes a repository's key. It is then fetched with the server's own keys.
pub async fn remove(tx: &mut WriteTx, repo: RepoId) -> Result<(), StoreError> {
    write(tx, repo, None, None, None).await
}

async fn write(
    tx: &mut WriteTx,
    repo: RepoId,
    sealed: Option<Vec<u8>>,
    public: Option<&str>,
    host_keys: Option<&str>,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE repos SET deploy_key_sealed = ?, deploy_key_public = ?, host_keys = ?, look_error = NULL WHERE id = ?",
    )
    .bind(sealed)
    .bind(public)
    .bind(host_keys)
    .bind(repo.to_string())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("repository"));
    }
    repos::note_change(tx, repo);
    Ok(())
}

/// Returns what a key is bound to when it is sealed. No secret's name contains a dash.
fn binding(repo: RepoId) -> String {
    format!("{repo}/deploy-key")
}

/// Reads a repository's deploy key; `None` if it has none. The private half is missing if the current secret key does
/// not open it.
pub(crate) fn from_row(
    row: &SqliteRow,
    repo: RepoId,
    key: Option<&SecretKey>,
) -> Result<Option<DeployKey>, StoreError> {
    let Some(sealed) = row.try_get::<Option<Vec<u8>>, _>("deploy_key_sealed")? else { return Ok(None) };
    let private = key.and_then(|key| String::from_utf8(key.open(&binding(repo), &sealed)?).ok());
    let (public, host_keys): (Option<String>, Option<String>) =
        (row.try_get("deploy_key_public")?, row.try_get("host_keys")?);
    Ok(Some(DeployKey { public: public.unwrap_or_default(), host_keys: host_keys.unwrap_or_default(), private }))
}
