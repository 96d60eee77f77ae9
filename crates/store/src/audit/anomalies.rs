//! Finds the anomalies in the audit log. [`longshore_core::anomaly`] decides what is one.
//!
//! One task of the server runs [`run`]: it reads each record once, in order, and writes what it finds in the transaction
//! that notes how far it has read.

use std::time::Duration;

use longshore_core::{
    JobId, RepoId, Timestamp,
    anomaly::{AnomalyKind, Audited, FoundAnomaly, MANY_WITHIN_MS, SAME_WITHIN_MS},
};
use sqlx::{Row as _, sqlite::SqliteRow};
use tokio_util::sync::CancellationToken;

use crate::{
    Page, Store, StoreError, WriteTx,
    audit::{self, Decision, Entry, Record},
    notices, page, row, settings,
};

/// The most records in which refusals are counted.
const RECORDS_COUNTED: i64 = 5000;
/// Records that one transaction reads.
const RECORDS_PER_BATCH: u32 = 200;
/// The pause after an error.
const ERROR_PAUSE: Duration = Duration::from_secs(60);
/// The setting with the number of the last record that was read.
const JUDGED: &str = "audit records judged";

/// An anomaly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    pub seq: i64,
    pub kind: AnomalyKind,
    /// For people.
    pub message: String,
    pub repo: Option<RepoId>,
    pub job: Option<JobId>,
    /// The number of the newest record that showed it.
    pub record: i64,
    pub times: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// Reads records as they are written, until `shutdown`.
pub async fn run(store: Store, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(judge_for_ever(&store)).await;
}

async fn judge_for_ever(store: &Store) {
    let mut audited = store.audited();
    loop {
        audited.borrow_and_update();
        match judge(store).await {
            Ok(()) => {
                if audited.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not search the audit log for anomalies; it is tried again");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// Reads all records that were not read yet. Called by [`run`], and by tests.
pub async fn judge(store: &Store) -> Result<(), StoreError> {
    loop {
        let judged = settings::get(store, JUDGED).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let records = audit::after(store, judged, RECORDS_PER_BATCH).await?;
        let Some(last) = records.last().map(|record| record.number) else { return Ok(()) };
        let mut tx = store.write().await?;
        let mut new = Vec::new();
        for record in &records {
            let mut all = vec![audited(&record.entry).anomaly()];
            if record.entry.decision == Decision::Denied {
                all.extend([first_refusal(&mut tx, record).await?, many_refusals(&mut tx, record).await?]);
            }
            for found in all.into_iter().flatten() {
                if add_anomaly(&mut tx, &found, record).await? {
                    new.push(found);
                }
            }
        }
        settings::set(&mut tx, JUDGED, &last.to_string()).await?;
        tx.commit().await?;
        for FoundAnomaly { kind, message, .. } in new {
            tracing::warn!(%kind, "{message}");
        }
    }
}

fn audited(entry: &Entry) -> Audited<'_> {
    let Entry { who, via, action, object, reason, repo, repo_name, job, .. } = entry;
    Audited { who, via, action, object, reason, repo: *repo, repo_name, job: *job }
}

async fn first_refusal(tx: &mut WriteTx, record: &Record) -> Result<Option<FoundAnomaly>, StoreError> {
    let audited = audited(&record.entry);
    let Some(repo) = audited.repo_of_refused_job() else { return Ok(None) };
    let happened: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM anomalies WHERE kind = ?1 AND about = ?2)
             OR EXISTS (SELECT 1 FROM audit WHERE repo = ?2 AND decision = 'denied' AND number < ?3
                        AND line ->> '$.entry.via' = 'job')",
    )
    .bind(AnomalyKind::FirstRefusal.as_str())
    .bind(repo.to_string())
    .bind(record.number)
    .fetch_one(tx.conn())
    .await?;
    Ok((!happened).then(|| audited.first_refusal(repo)))
}

async fn many_refusals(tx: &mut WriteTx, record: &Record) -> Result<Option<FoundAnomaly>, StoreError> {
    let entry = &record.entry;
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM audit WHERE number BETWEEN ?1 AND ?2 AND decision = 'denied' AND at > ?3
             AND who = ?4 AND line ->> '$.entry.via' = ?5 AND line ->> '$.entry.job' IS ?6",
    )
    .bind(record.number - RECORDS_COUNTED)
    .bind(record.number)
    .bind(entry.at - MANY_WITHIN_MS)
    .bind(&entry.who)
    .bind(&entry.via)
    // Jobs of many repositories have the same name.
    .bind(entry.job.map(|job| job.to_string()))
    .fetch_one(tx.conn())
    .await?;
    Ok(audited(entry).many_refusals(row::count(count)))
}

/// Writes down what was found. Returns whether it is new.
async fn add_anomaly(tx: &mut WriteTx, found: &FoundAnomaly, record: &Record) -> Result<bool, StoreError> {
    let at = record.entry.at;
    let updated = sqlx::query(
        "UPDATE anomalies SET times = times + 1, last_at = ?1, record = ?2 WHERE kind = ?3 AND about = ?4 AND last_at > ?5",
    )
    .bind(at)
    .bind(record.number)
    .bind(found.kind.as_str())
    .bind(&found.about)
    .bind(at - SAME_WITHIN_MS)
    .execute(tx.conn())
    .await?;
    if updated.rows_affected() > 0 {
        return Ok(false);
    }
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO anomalies (kind, about, message, repo, job, record, first_at, last_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
         RETURNING seq",
    )
    .bind(found.kind.as_str())
    .bind(&found.about)
    .bind(&found.message)
    .bind(record.entry.repo.map(|id| id.to_string()))
    .bind(record.entry.job.map(|id| id.to_string()))
    .bind(record.number)
    .bind(at)
    .fetch_one(tx.conn())
    .await?;
    notices::note_anomaly(tx, seq, record.entry.repo, Timestamp::now()).await?;
    Ok(true)
}

/// Lists anomalies, newest first.
pub async fn list(store: &Store, before: Option<i64>, limit: u32) -> Result<Page<Anomaly>, StoreError> {
    let limit = page::clamp(limit);
    let rows = sqlx::query("SELECT * FROM anomalies WHERE seq < ? ORDER BY seq DESC LIMIT ?")
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit + 1)
        .fetch_all(store.readers())
        .await?;
    let anomalies: Result<Vec<Anomaly>, StoreError> = rows.iter().map(from_row).collect();
    Ok(Page::from_rows(anomalies?, limit, |anomaly| anomaly.seq))
}

/// Returns an anomaly by its number.
pub async fn get(store: &Store, seq: i64) -> Result<Option<Anomaly>, StoreError> {
    let found = sqlx::query("SELECT * FROM anomalies WHERE seq = ?").bind(seq).fetch_optional(store.readers()).await?;
    found.as_ref().map(from_row).transpose()
}

/// Counts anomalies of each kind.
pub async fn counts(store: &Store) -> Result<Vec<(AnomalyKind, u64)>, StoreError> {
    let mut counts = Vec::new();
    for kind in AnomalyKind::ALL {
        let query = sqlx::query_scalar("SELECT count(*) FROM anomalies WHERE kind = ?").bind(kind.as_str());
        counts.push((kind, row::count(query.fetch_one(store.readers()).await?)));
    }
    Ok(counts)
}

fn from_row(row: &SqliteRow) -> Result<Anomaly, StoreError> {
    Ok(Anomaly {
        seq: row.try_get("seq")?,
        kind: row::parsed(row, "kind")?,
        message: row.try_get("message")?,
        repo: row::parsed_opt(row, "repo")?,
        job: row::parsed_opt(row, "job")?,
        record: row.try_get("record")?,
        times: row::unsigned(row, "times")?,
        first_at: row::time(row, "first_at")?,
        last_at: row::time(row, "last_at")?,
    })
}
