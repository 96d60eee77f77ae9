//! The known commits of a repository's branches and tags, and the results of checking the repository for missed pushes.
//!
//! The scheduler compares [`reported`] with the remote and [`record`]s the result in one transaction. A push that no
//! webhook reported becomes a delivery of its own, which the ingest loop processes like any other.

use std::collections::{BTreeMap, HashMap};

use longshore_core::{DeliveryId, RepoId, Timestamp};
use serde_json::json;
use sqlx::Row as _;

use crate::{ChangeKind, Store, StoreError, WriteTx, deliveries::DeliveryStatus, row, write::NewChange};

/// A branch or tag that moved without a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    pub git_ref: String,
    /// The commit that was last reported for it. `None` for a new one.
    pub before: Option<String>,
    /// Where it is.
    pub after: String,
}

/// The result of checking a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    pub missed: Vec<Missed>,
    /// Branches and tags that are only noted, because they existed before the first check. By name, with their objects.
    pub known_from_now: BTreeMap<String, String>,
    /// Branches and tags that are gone, with the commits that were last reported for them.
    pub gone: BTreeMap<String, String>,
}

/// The reaction to a missed push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is a delivery in the inbox now.
    New(DeliveryId),
    /// It was found before, and waits in the inbox.
    Waits(DeliveryId),
    /// It was found before and could not be built. [`record`] takes it again if a person asked for the check.
    Failed(DeliveryId),
}

/// Returns the commits that were last reported for branches and tags, by name.
pub async fn reported(store: &Store, repo: RepoId) -> Result<HashMap<String, String>, StoreError> {
    let query = "SELECT git_ref, at FROM told_refs
                 WHERE repo = ? AND (git_ref LIKE 'refs/heads/%' OR git_ref LIKE 'refs/tags/%')";
    let rows = sqlx::query(query).bind(repo.to_string()).fetch_all(store.readers()).await?;
    rows.iter().map(|row| Ok((row.try_get("git_ref")?, row.try_get("at")?))).collect()
}

/// Returns the ids of all repositories.
pub async fn repos(store: &Store) -> Result<Vec<RepoId>, StoreError> {
    let rows = sqlx::query("SELECT id FROM repos ORDER BY seq").fetch_all(store.readers()).await?;
    rows.iter().map(|row| row::parsed(row, "id")).collect()
}

/// Stores the result of a check. Returns what was done about each missed push, in their order. What was
/// reported differently since [`reported`] was read stays.
pub async fn record(
    tx: &mut WriteTx,
    repo: RepoId,
    found: &Differences,
    by_hand: bool,
    now: Timestamp,
) -> Result<Vec<Taken>, StoreError> {
    sqlx::query(
        "INSERT INTO told_refs (repo, git_ref, at) SELECT ?, key, value FROM json_each(?) WHERE true
         ON CONFLICT DO NOTHING",
    )
    .bind(repo.to_string())
    .bind(row::to_json(&found.known_from_now)?)
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "DELETE FROM told_refs WHERE repo = ?
         AND (git_ref, at) IN (SELECT key, value FROM json_each(?))",
    )
    .bind(repo.to_string())
    .bind(row::to_json(&found.gone)?)
    .execute(tx.conn())
    .await?;
    let mut taken = Vec::with_capacity(found.missed.len());
    for missed in &found.missed {
        taken.push(record_missed(tx, repo, missed, by_hand, now).await?);
    }
    let before: Option<(Option<i64>, Option<String>)> =
        sqlx::query_as("SELECT looked_at, look_error FROM repos WHERE id = ?")
            .bind(repo.to_string())
            .fetch_optional(tx.conn())
            .await?;
    sqlx::query("UPDATE repos SET looked_at = ?, look_error = NULL WHERE id = ?")
        .bind(now.as_millis())
        .bind(repo.to_string())
        .execute(tx.conn())
        .await?;
    // A check by the clock that finds nothing changes no page.
    if by_hand || matches!(before, Some((None, _) | (_, Some(_)))) {
        note_change(tx, repo, ChangeKind::Repo);
    }
    Ok(taken)
}

/// Stores why a repository could not be checked.
pub async fn failed(tx: &mut WriteTx, repo: RepoId, reason: &str) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE repos SET look_error = ?1 WHERE id = ?2 AND look_error IS NOT ?1");
    let done = update.bind(reason).bind(repo.to_string()).execute(tx.conn()).await?;
    if done.rows_affected() > 0 {
        note_change(tx, repo, ChangeKind::Repo);
    }
    Ok(())
}

async fn record_missed(
    tx: &mut WriteTx,
    repo: RepoId,
    missed: &Missed,
    by_hand: bool,
    now: Timestamp,
) -> Result<Taken, StoreError> {
    let Missed { git_ref, before, after } = missed;
    // As a plain remote's hook reports a push.
    let body = json!({ "ref": git_ref, "before": before.as_deref().unwrap_or_default(), "after": after }).to_string();
    let known = sqlx::query(
        "SELECT id, status FROM deliveries WHERE repo = ? AND found = 1 AND body = ? ORDER BY seq DESC LIMIT 1",
    )
    .bind(repo.to_string())
    .bind(body.as_bytes());
    if let Some(known) = known.fetch_optional(tx.conn()).await? {
        let id = row::parsed(&known, "id")?;
        match row::parsed(&known, "status")? {
            DeliveryStatus::Pending => return Ok(Taken::Waits(id)),
            DeliveryStatus::Failed if !by_hand => return Ok(Taken::Failed(id)),
            // The ref has come back to where it was.
            DeliveryStatus::Failed | DeliveryStatus::Done | DeliveryStatus::Ignored => {}
        }
    }
    let id = DeliveryId::new();
    sqlx::query(
        "INSERT INTO deliveries (id, repo, delivery_key, event, status, received_at, next_try_at, found, body)
         VALUES (?1, ?2, 'found ' || ?1, 'push', 'pending', ?3, ?3, 1, ?4)",
    )
    .bind(id.to_string())
    .bind(repo.to_string())
    .bind(now.as_millis())
    .bind(body.as_bytes())
    .execute(tx.conn())
    .await?;
    note_change(tx, repo, ChangeKind::Delivery);
    Ok(Taken::New(id))
}

fn note_change(tx: &mut WriteTx, repo: RepoId, kind: ChangeKind) {
    tx.note_change(NewChange { kind, repo: Some(repo), build: None, job: None });
}
