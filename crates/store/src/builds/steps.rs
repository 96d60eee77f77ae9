//! Stores the steps of jobs as the executor reports them. Reports may come twice or late: a step that is over never
//! changes.

use longshore_core::{JobId, Status, StepResult, Timestamp};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{ChangeKind, StoreError, WriteTx, attempts, attempts::UsedImage, jobs, row, write::NewChange};

/// A step of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// From 0, as in the plan; a service's from `Record::FIRST_SERVICE`.
    pub position: u16,
    pub name: String,
    /// `queued` until it starts.
    pub status: Status,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub wall_ms: Option<u64>,
    pub cpu_ms: Option<u64>,
    pub peak_memory_bytes: Option<u64>,
    pub out_of_memory: bool,
    /// Markdown that the step wrote about itself.
    pub summary: Option<String>,
    /// A service's: when it was ready.
    pub ready_at: Option<Timestamp>,
    /// A service's, and that of a step with an image of its own.
    pub image: Option<UsedImage>,
}

/// Notes that a step of the attempt runs. Returns `false` if that was known.
pub async fn started(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    position: u16,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE steps SET status = 'running', started_at = ?
         WHERE job = ? AND position = ? AND status = 'queued'
           AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = steps.job AND jobs.attempt = ? AND jobs.finished_at IS NULL)",
    )
    .bind(at.as_millis())
    .bind(job.to_string())
    .bind(position)
    .bind(attempt)
    .execute(tx.conn())
    .await?;
    changed(tx, job, done.rows_affected() > 0).await
}

/// Notes that a service of the attempt is ready. Returns `false` if that was known.
pub async fn ready(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    position: u16,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE steps SET ready_at = ? WHERE job = ? AND position = ? AND ready_at IS NULL
           AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = steps.job AND jobs.attempt = ?)",
    )
    .bind(at.as_millis())
    .bind(job.to_string())
    .bind(position)
    .bind(attempt)
    .execute(tx.conn())
    .await?;
    changed(tx, job, done.rows_affected() > 0).await
}

/// Notes that a step of the attempt is over. Returns `false` if that was known.
pub async fn finished(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    position: u16,
    result: &StepResult,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE steps SET status = ?, exit_code = ?, signal = ?, finished_at = ?, wall_ms = ?, cpu_ms = ?,
                peak_memory_bytes = ?, out_of_memory = ?, summary = ?
         WHERE job = ? AND position = ? AND status IN ('queued', 'running')
           AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = steps.job AND jobs.attempt = ?)",
    )
    .bind(result.status.as_str())
    .bind(result.exit_code)
    .bind(result.signal)
    .bind(at.as_millis())
    .bind(row::signed(result.wall_ms))
    .bind(row::signed(result.cpu_ms))
    .bind(row::signed(result.peak_memory_bytes))
    .bind(result.out_of_memory)
    .bind(Some(&result.summary).filter(|summary| !summary.is_empty()))
    .bind(job.to_string())
    .bind(position)
    .bind(attempt)
    .execute(tx.conn())
    .await?;
    changed(tx, job, done.rows_affected() > 0).await
}

async fn changed(tx: &mut WriteTx, job: JobId, news: bool) -> Result<bool, StoreError> {
    if news {
        let (repo, build) = jobs::home(tx.conn(), job).await?;
        tx.note_change(NewChange { kind: ChangeKind::Step, repo: Some(repo), build: Some(build), job: Some(job) });
    }
    Ok(news)
}

/// Ends the steps of a job that is over: a step that ran ends with the job, one that had not begun is skipped.
pub(crate) async fn end_all(
    tx: &mut WriteTx,
    job: JobId,
    job_status: Status,
    now: Timestamp,
) -> Result<(), StoreError> {
    // A job that succeeded leaves no step running. If a step says it runs, its report was lost, which is our error.
    let of_running = if job_status == Status::Success { Status::Error } else { job_status };
    sqlx::query(
        "UPDATE steps SET finished_at = CASE status WHEN 'running' THEN ? END,
                status = CASE status WHEN 'running' THEN ? ELSE 'skipped' END
         WHERE job = ? AND status IN ('queued', 'running')",
    )
    .bind(now.as_millis())
    .bind(of_running.as_str())
    .bind(job.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(crate) fn from_row(row: &SqliteRow) -> Result<Step, StoreError> {
    let unsigned = |column: &str| -> Result<Option<u64>, StoreError> {
        Ok(row.try_get::<Option<i64>, _>(column)?.and_then(|value| u64::try_from(value).ok()))
    };
    Ok(Step {
        position: row::unsigned(row, "position")?,
        name: row.try_get("name")?,
        status: row::parsed(row, "status")?,
        exit_code: row.try_get("exit_code")?,
        signal: row.try_get("signal")?,
        started_at: row::time_opt(row, "started_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
        wall_ms: unsigned("wall_ms")?,
        cpu_ms: unsigned("cpu_ms")?,
        peak_memory_bytes: unsigned("peak_memory_bytes")?,
        out_of_memory: row.try_get("out_of_memory")?,
        summary: row.try_get("summary")?,
        ready_at: row::time_opt(row, "ready_at")?,
        image: attempts::image_in(row)?,
    })
}
