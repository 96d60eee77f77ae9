//! A job's attempts: what the running one reports, and how those of a job with `retry` ended. Each attempt has its own
//! log.

use std::collections::BTreeMap;

use longshore_core::{JobId, Outcome, Status, Timestamp};
use serde::Deserialize;
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{ChangeKind, Conflict, StoreError, WriteTx, jobs::home, row, write::NewChange};

/// An attempt that is over.
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

/// A phase of an attempt before its agent starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparing {
    /// Its image is pulled. Not reported if the engine has the image.
    Pulling,
    /// Its container is created.
    Starting,
}

/// Stores when a phase of the attempt began. Announces a change only for an attempt whose image is pulled: without a
/// pull, the phase is over in a moment. Does nothing if the attempt is not the running one or its agent has started.
pub async fn mark_preparing(
    tx: &mut WriteTx,
    id: JobId,
    attempt: u32,
    phase: Preparing,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(match phase {
        Preparing::Pulling => "UPDATE jobs SET pulling_at = ",
        Preparing::Starting => "UPDATE jobs SET starting_at = ",
    });
    query.push_bind(at.as_millis()).push(" WHERE id = ").push_bind(id.to_string()).push(" AND attempt = ");
    query.push_bind(attempt).push(" AND started_at IS NULL AND finished_at IS NULL RETURNING pulling_at");
    let Some(row) = query.build().fetch_optional(tx.conn()).await? else { return Ok(()) };
    if row::time_opt(&row, "pulling_at")?.is_some() {
        let (repo, build) = home(tx.conn(), id).await?;
        tx.note_change(NewChange { kind: ChangeKind::Job, repo: Some(repo), build: Some(build), job: Some(id) });
    }
    Ok(())
}

/// An image that a container was started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedImage {
    /// As the pipeline names it.
    pub name: String,
    /// `sha256:...`: what its registry calls it; `None` if it came from no registry.
    pub digest: Option<String>,
}

/// Stores which image the attempt's container, or that of one of its steps or services, is started from.
pub async fn set_image(
    tx: &mut WriteTx,
    id: JobId,
    attempt: u32,
    step: Option<u16>,
    image: &UsedImage,
) -> Result<(), StoreError> {
    let query = match step {
        None => sqlx::query("UPDATE jobs SET image = ?, image_digest = ? WHERE id = ? AND attempt = ?"),
        Some(_) => sqlx::query(
            "UPDATE steps SET image = ?, image_digest = ? WHERE job = ? AND position = ?
             AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = steps.job AND jobs.attempt = ?)",
        ),
    };
    let query = query.bind(&image.name).bind(&image.digest).bind(id.to_string());
    let query = match step {
        None => query,
        Some(step) => query.bind(step),
    };
    query.bind(attempt).execute(tx.conn()).await?;
    Ok(())
}

/// Stores when the attempt's agent started. Returns `false` if that was known or the attempt is not the running one.
pub async fn mark_started(tx: &mut WriteTx, id: JobId, attempt: u32, at: Timestamp) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE jobs SET started_at = ? WHERE id = ? AND attempt = ? AND started_at IS NULL AND finished_at IS NULL",
    )
    .bind(at.as_millis())
    .bind(id.to_string())
    .bind(attempt)
    .execute(tx.conn())
    .await?;
    let is_news = done.rows_affected() > 0;
    if is_news {
        let (repo, build) = home(tx.conn(), id).await?;
        tx.note_change(NewChange { kind: ChangeKind::Job, repo: Some(repo), build: Some(build), job: Some(id) });
    }
    Ok(is_news)
}

/// Stores that nothing of the attempt has run after all: it is about to be started once more.
pub async fn mark_not_started(tx: &mut WriteTx, id: JobId, attempt: u32) -> Result<(), StoreError> {
    let done =
        sqlx::query("UPDATE jobs SET started_at = NULL WHERE id = ? AND attempt = ? AND started_at IS NOT NULL AND finished_at IS NULL")
            .bind(id.to_string())
            .bind(attempt)
            .execute(tx.conn())
            .await?;
    if done.rows_affected() > 0 {
        let (repo, build) = home(tx.conn(), id).await?;
        tx.note_change(NewChange { kind: ChangeKind::Job, repo: Some(repo), build: Some(build), job: Some(id) });
    }
    Ok(())
}

/// Stores the number of the session with the attempt's agent: the next session's is higher, whatever the clock does.
/// [`StoreError::Conflict`] if the attempt is not the running one.
pub async fn set_session(tx: &mut WriteTx, id: JobId, attempt: u32, session: u32) -> Result<(), StoreError> {
    let done = sqlx::query("UPDATE jobs SET engine_facts = ? WHERE id = ? AND attempt = ? AND finished_at IS NULL")
        .bind(session.to_string())
        .bind(id.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 0 {
        return Err(Conflict::AttemptEnded(attempt).into());
    }
    Ok(())
}

/// Stores what the attempt gives to the jobs that need its job. Called before the attempt's end.
pub async fn set_outputs(
    tx: &mut WriteTx,
    id: JobId,
    attempt: u32,
    outputs: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE jobs SET outputs = ? WHERE id = ? AND attempt = ? AND finished_at IS NULL")
        .bind(row::to_json(outputs)?)
        .bind(id.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Stores how an attempt ended.
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

/// Resets the job and its steps to what they were before its first attempt, except for the number of attempts.
pub(crate) async fn begin_again(tx: &mut WriteTx, job: JobId) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE jobs SET pulling_at = NULL, starting_at = NULL, started_at = NULL, engine_facts = NULL, outputs = NULL,
                image = NULL, image_digest = NULL, report_readings = 0 WHERE id = ?",
    )
    .bind(job.to_string())
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "UPDATE steps SET status = 'queued', exit_code = NULL, signal = NULL, started_at = NULL, finished_at = NULL,
                wall_ms = NULL, cpu_ms = NULL, peak_memory_bytes = NULL, out_of_memory = 0, summary = NULL, ready_at = NULL, image = NULL, image_digest = NULL
         WHERE job = ?",
    )
    .bind(job.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Reads the image of a job's or a step's row.
pub(crate) fn image_in(row: &SqliteRow) -> Result<Option<UsedImage>, StoreError> {
    let (name, digest): (Option<String>, _) = (row.try_get("image")?, row.try_get("image_digest")?);
    Ok(name.map(|name| UsedImage { name, digest }))
}

/// An attempt in the JSON list that the query for a job returns.
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
