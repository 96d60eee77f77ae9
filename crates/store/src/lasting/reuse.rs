//! Successes that later jobs with the same inputs can use.
//!
//! A job takes over only what was made with at least as much trust as itself: a repository's own jobs those of its own,
//! a pull request of a stranger also those of the same pull request.

use longshore_core::{JobId, Lane, Status, Timestamp, rules::QueueEvent, rules::state::JobEvent};
use sqlx::Row as _;

use crate::{Conflict, Store, StoreError, WriteTx, new_jobs, row, transition::handle, workspaces};

/// The inputs of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// A hash over the repository, the files, the definition and what the needed jobs gave.
    pub hash: String,
    /// The images that it is started from.
    pub images: String,
    /// Whether it has left a workspace on which jobs begin: it is kept for the jobs that use its success.
    pub has_workspace: bool,
}

/// A success that a job may use instead of running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub job: JobId,
    /// The number of the build that it ran in, if that still exists, or else of the one that took it over.
    pub build: u64,
    pub images: String,
    /// How many artifacts it has to have.
    pub artifacts: usize,
    /// The attempt that left the workspace which is kept of it, if one is.
    pub workspace: Option<(JobId, u32)>,
}

/// Returns the newest successes with these inputs that a job of `lane` may use, and whose files all still exist. With
/// `artifacts` the job leaves that many. An approved job of a stranger uses only what ran with an approval: whoever
/// approved it has not seen what a job without one fetched.
pub async fn candidates(
    store: &Store,
    job: JobId,
    lane: Lane,
    inputs: &str,
    artifacts: usize,
) -> Result<Vec<Candidate>, StoreError> {
    let rows = sqlx::query(
        "SELECT jobs.id, reusable.images, coalesce(ran.number, builds.number) AS number, workspace.job AS left_by, jobs.attempt
         FROM reusable JOIN jobs ON jobs.id = reusable.job JOIN builds ON builds.id = jobs.build
              LEFT JOIN jobs AS original ON original.id = jobs.carried_over
              LEFT JOIN builds AS ran ON ran.id = original.build
              LEFT JOIN lasting_workspaces AS workspace
                     ON workspace.job = coalesce(jobs.carried_over, jobs.id) AND workspace.attempt = jobs.attempt
         WHERE reusable.inputs = ?1 AND reusable.lane IN (?2, ?3) AND jobs.status = 'success'
           AND (SELECT count(*) FROM artifacts WHERE artifacts.job = jobs.id AND kind = 'files'
                  AND (expires_at IS NULL OR expires_at > ?5)) >= ?4
           AND (reusable.lane = ?3
                OR CASE WHEN jobs.carried_over IS NULL THEN jobs.approved_by ELSE original.approved_by END IS NOT NULL
                OR (SELECT approved_by FROM jobs WHERE id = ?6) IS NULL)
         ORDER BY jobs.seq DESC LIMIT 10",
    )
    .bind(inputs)
    .bind(lane.to_string())
    .bind(Lane { repo: lane.repo, stranger: None }.to_string())
    .bind(i64::try_from(artifacts).unwrap_or(i64::MAX))
    .bind(Timestamp::now().as_millis())
    .bind(job.to_string())
    .fetch_all(store.readers())
    .await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let left_by: Option<JobId> = row::parsed_opt(row, "left_by")?;
        let attempt = row::unsigned(row, "attempt")?;
        Ok(Candidate {
            workspace: left_by.map(|job| (job, attempt)),
            job: row::parsed(row, "id")?,
            build: row::unsigned(row, "number")?,
            images: row.try_get("images")?,
            artifacts,
        })
    };
    rows.iter().map(read).collect()
}

/// Returns the lane of a job.
pub async fn lane(store: &Store, job: JobId) -> Result<Lane, StoreError> {
    let row = sqlx::query("SELECT lane FROM jobs WHERE id = ?").bind(job.to_string()).fetch_optional(store.readers());
    row::parsed(&row.await?.ok_or(StoreError::NotFound("job"))?, "lane")
}

/// Keeps what an attempt is made of that is about to end well, and its workspace.
pub async fn keep(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    inputs: &Inputs,
    now: Timestamp,
) -> Result<(), StoreError> {
    if inputs.has_workspace {
        workspaces::keep(tx, job, attempt, now).await?;
    }
    sqlx::query(
        "INSERT INTO reusable (job, lane, inputs, images) SELECT id, lane, ?3, ?4 FROM jobs WHERE id = ?1 AND attempt = ?2
         ON CONFLICT DO UPDATE SET inputs = excluded.inputs, images = excluded.images",
    )
    .bind(job.to_string())
    .bind(attempt)
    .bind(&inputs.hash)
    .bind(&inputs.images)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Ends a running attempt with the success of another job. [`StoreError::Conflict`] if that is gone, or the attempt is
/// not the running one.
pub async fn take(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    from: &Candidate,
    inputs: &Inputs,
    now: Timestamp,
) -> Result<(), StoreError> {
    let found = sqlx::query("SELECT status, attempt FROM jobs WHERE id = ?").bind(job.to_string());
    let found = found.fetch_optional(tx.conn()).await?.ok_or(StoreError::NotFound("job"))?;
    let runs = matches!(row::parsed(&found, "status")?, Status::Running | Status::Canceling);
    if !runs || row::unsigned::<u32>(&found, "attempt")? != attempt {
        return Err(Conflict::AttemptEnded(attempt).into());
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM artifacts WHERE job = ? AND kind = 'files'")
        .bind(from.job.to_string())
        .fetch_one(tx.conn())
        .await?;
    if usize::try_from(left).unwrap_or(0) < from.artifacts {
        return Err(Conflict::OriginalGone.into());
    }
    keep(tx, job, attempt, inputs, now).await?;
    new_jobs::take_over(tx, job, from.job, now).await?;
    let reason = longshore_core::reuse::reason(from.build);
    handle(tx, QueueEvent::Job { job, event: JobEvent::Reused { reason } }, now).await?;
    // The end has written the length of a log of its own, which it has not.
    sqlx::query(
        "UPDATE jobs SET log_bytes = o.log_bytes FROM (SELECT log_bytes FROM jobs WHERE id = ?2) AS o WHERE id = ?1",
    )
    .bind(job.to_string())
    .bind(from.job.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}
