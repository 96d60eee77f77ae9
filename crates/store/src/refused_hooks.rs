//! The newest call of each repository's webhook that was refused. Such a call is no delivery: nobody knows who made it. It is
//! kept only to tell people why nothing arrives.

use longshore_core::{RepoId, Timestamp};
use sqlx::Row as _;

use crate::{ChangeKind, Store, StoreError, WriteTx, row, write::NewChange};

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedHook {
    pub at: Timestamp,
    /// What is wrong, and what to change.
    pub reason: String,
}

/// Notes that a call was refused.
pub async fn note(tx: &mut WriteTx, repo: RepoId, refused: &RefusedHook) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO refused_hooks (repo, reason, at) VALUES (?1, ?2, ?3)
         ON CONFLICT (repo) DO UPDATE SET reason = ?2, at = ?3",
    )
    .bind(repo.to_string())
    .bind(&refused.reason)
    .bind(refused.at.as_millis())
    .execute(tx.conn())
    .await?;
    tx.note_change(NewChange { kind: ChangeKind::Delivery, repo: Some(repo), build: None, job: None });
    Ok(())
}

/// Returns the newest call that was refused, unless one was accepted since.
pub async fn newest(store: &Store, repo: RepoId) -> Result<Option<RefusedHook>, StoreError> {
    let found = sqlx::query(
        "SELECT reason, at FROM refused_hooks WHERE repo = ?1 AND at > coalesce(
             (SELECT received_at FROM deliveries WHERE repo = ?1 AND found = 0 ORDER BY seq DESC LIMIT 1), 0)",
    )
    .bind(repo.to_string())
    .fetch_optional(store.readers())
    .await?;
    found.map(|row| Ok(RefusedHook { at: row::time(&row, "at")?, reason: row.try_get("reason")? })).transpose()
}
