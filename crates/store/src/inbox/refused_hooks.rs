//! The calls of each repository's webhook that were refused, by reason. A refused call is not a delivery: nobody knows
//! who made it. It is kept only to tell people why nothing arrives, and of a few reasons.

use longshore_core::{RepoId, Timestamp};
use sqlx::Row as _;

use crate::{ChangeKind, Store, StoreError, WriteTx, row, write::NewChange};

/// How many reasons of a repository are kept: the newest.
pub const MAX_REASONS: u32 = 8;

/// Calls that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedHook {
    /// When the newest of them came.
    pub at: Timestamp,
    /// What is wrong, and what to change.
    pub reason: String,
    /// How many there were.
    pub calls: u64,
}

/// The newest call that was accepted.
const ACCEPTED: &str =
    "coalesce((SELECT received_at FROM deliveries WHERE repo = ?1 AND found = 0 ORDER BY seq DESC LIMIT 1), 0)";

/// Notes calls that were refused. Calls for the same reason are counted, from the last call on that was accepted.
pub async fn note(tx: &mut WriteTx, repo: RepoId, refused: &RefusedHook) -> Result<(), StoreError> {
    let query = format!(
        "INSERT INTO refused_hooks (repo, reason, at, calls) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (repo, reason) DO UPDATE SET at = ?3, calls = iif(at > {ACCEPTED}, calls, 0) + ?4"
    );
    sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(repo.to_string())
        .bind(&refused.reason)
        .bind(refused.at.as_millis())
        .bind(row::signed(refused.calls))
        .execute(tx.conn())
        .await?;
    sqlx::query(
        "DELETE FROM refused_hooks WHERE repo = ?1 AND reason NOT IN (
             SELECT reason FROM refused_hooks WHERE repo = ?1 ORDER BY at DESC, reason LIMIT ?2)",
    )
    .bind(repo.to_string())
    .bind(MAX_REASONS)
    .execute(tx.conn())
    .await?;
    tx.note_change(NewChange { kind: ChangeKind::Delivery, repo: Some(repo), build: None, job: None });
    Ok(())
}

/// Returns the calls that were refused since one was accepted, those with the newest call first.
pub async fn since_accepted(store: &Store, repo: RepoId) -> Result<Vec<RefusedHook>, StoreError> {
    let query = format!(
        "SELECT reason, at, calls FROM refused_hooks WHERE repo = ?1 AND at > {ACCEPTED} ORDER BY at DESC, reason"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(repo.to_string()).fetch_all(store.readers()).await?;
    rows.iter()
        .map(|row| {
            Ok(RefusedHook {
                at: row::time(row, "at")?,
                reason: row.try_get("reason")?,
                calls: row::unsigned(row, "calls")?,
            })
        })
        .collect()
}
