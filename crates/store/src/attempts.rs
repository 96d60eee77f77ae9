//! Tries of a job that are over, of jobs that may be tried again. Each has its own log.

use longshore_core::{JobId, Outcome, Status, Timestamp};
use serde::Deserialize;
use sqlx::sqlite::SqliteRow;

use crate::{StoreError, WriteTx, row};

/// A try that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub attempt: u32,
    pub status: Status,
    pub reason: Option<String>,
    pub exit_code: Option<i32>,
    pub claimed_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    pub log_bytes: u64,
}

/// Keeps how a try ended.
pub(crate) async fn keep(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    let log_bytes = tx.store().logs().len(job, attempt);
    sqlx::query(
        "INSERT INTO job_attempts (job, attempt, status, reason, exit_code, claimed_at, started_at, finished_at, log_bytes)
         SELECT id, attempt, ?, ?, ?, claimed_at, started_at, ?, ? FROM jobs WHERE id = ?
         ON CONFLICT DO NOTHING",
    )
    .bind(outcome.status().as_str())
    .bind(outcome.reason())
    .bind(outcome.exit_code())
    .bind(now.as_millis())
    .bind(row::signed(log_bytes))
    .bind(job.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The job as it was before its first try, but for the number of its tries.
pub(crate) async fn begin_again(tx: &mut WriteTx, job: JobId) -> Result<(), StoreError> {
    sqlx::query("UPDATE jobs SET pulling_at = NULL, starting_at = NULL, started_at = NULL, engine_facts = NULL, outputs = NULL WHERE id = ?")
        .bind(job.to_string())
        .execute(tx.conn())
        .await?;
    sqlx::query(
        "UPDATE steps SET status = 'queued', exit_code = NULL, signal = NULL, started_at = NULL, finished_at = NULL,
                wall_ms = NULL, cpu_ms = NULL, peak_memory_bytes = NULL, out_of_memory = 0, summary = NULL WHERE job = ?",
    )
    .bind(job.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// As the list of a job's tries comes with the job.
#[derive(Deserialize)]
struct Row {
    attempt: u32,
    status: Status,
    reason: Option<String>,
    exit_code: Option<i32>,
    claimed_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: i64,
    log_bytes: u64,
}

pub(crate) fn from_json(row: &SqliteRow) -> Result<Vec<Attempt>, StoreError> {
    let rows: Vec<Row> = row::json(row, "attempts")?;
    let attempts = rows.into_iter().map(|row| Attempt {
        attempt: row.attempt,
        status: row.status,
        reason: row.reason,
        exit_code: row.exit_code,
        claimed_at: row.claimed_at.map(Timestamp::from_millis),
        started_at: row.started_at.map(Timestamp::from_millis),
        finished_at: Timestamp::from_millis(row.finished_at),
        log_bytes: row.log_bytes,
    });
    Ok(attempts.collect())
}
