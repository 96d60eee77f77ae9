//! Removes the reports that no job refers to any more, and incomplete ones that a killed server left. A run has up to
//! 200,000 rows, so they are removed, a few thousand in each transaction. Called by [`retention`](crate::retention).

use longshore_core::JobId;
use sqlx::Row as _;

use crate::{Store, StoreError, WriteTx};

/// Rows that one transaction removes.
const ROWS_PER_TRANSACTION: i64 = 5_000;

/// Removes all runs that nothing refers to, and the names of tests that no run has any more.
pub(crate) async fn carry_out(store: &Store) -> Result<(), StoreError> {
    loop {
        // A run without a job is being written if its attempt is not over.
        let orphan: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM report_runs WHERE NOT EXISTS (SELECT 1 FROM job_reports WHERE run = report_runs.id)
               AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = report_runs.job AND jobs.attempt = report_runs.attempt
                               AND jobs.finished_at IS NULL)
             LIMIT 1",
        )
        .fetch_optional(store.readers())
        .await?;
        let Some(run) = orphan else { return Ok(()) };
        remove(store, run).await?;
    }
}

/// Removes what was written of an attempt and not published.
pub(crate) async fn remove_unpublished(store: &Store, job: JobId, attempt: u32) -> Result<(), StoreError> {
    let run: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM report_runs WHERE job = ? AND attempt = ?
           AND NOT EXISTS (SELECT 1 FROM job_reports WHERE run = report_runs.id)",
    )
    .bind(job.to_string())
    .bind(attempt)
    .fetch_optional(store.readers())
    .await?;
    match run {
        Some(run) => remove(store, run).await,
        None => Ok(()),
    }
}

async fn remove(store: &Store, run: i64) -> Result<(), StoreError> {
    let mut more = true;
    while more {
        let mut tx = store.write().await?;
        more = remove_tests(&mut tx, run).await?;
        tx.commit().await?;
    }
    let mut tx = store.write().await?;
    for query in [
        "DELETE FROM test_details WHERE run = ?",
        "DELETE FROM coverage_files WHERE run = ?",
        "DELETE FROM annotations WHERE run = ?",
        "DELETE FROM report_runs WHERE id = ?",
    ] {
        sqlx::query(query).bind(run).execute(tx.conn()).await?;
    }
    sqlx::query("DELETE FROM test_jobs WHERE NOT EXISTS (SELECT 1 FROM report_runs WHERE test_job = test_jobs.id)")
        .execute(tx.conn())
        .await?;
    tx.commit().await.map(drop)
}

/// Removes a few of a run's results, and the names that only they had. Returns whether there are more.
async fn remove_tests(tx: &mut WriteTx, run: i64) -> Result<bool, StoreError> {
    let range = sqlx::query(
        "SELECT min(test) AS first, max(test) AS last FROM (
             SELECT test FROM test_results WHERE run = ? ORDER BY test LIMIT ?)",
    )
    .bind(run)
    .bind(ROWS_PER_TRANSACTION)
    .fetch_one(tx.conn())
    .await?;
    let (Some(first), Some(last)) =
        (range.try_get::<Option<i64>, _>("first")?, range.try_get::<Option<i64>, _>("last")?)
    else {
        return Ok(false);
    };
    for query in [
        "DELETE FROM test_details WHERE run = ? AND test BETWEEN ? AND ?",
        "DELETE FROM test_results WHERE run = ? AND test BETWEEN ? AND ?",
    ] {
        sqlx::query(query).bind(run).bind(first).bind(last).execute(tx.conn()).await?;
    }
    sqlx::query(
        "DELETE FROM tests WHERE id BETWEEN ?2 AND ?3 AND job = (SELECT test_job FROM report_runs WHERE id = ?1)
           AND NOT EXISTS (SELECT 1 FROM report_runs CROSS JOIN test_results ON test_results.run = report_runs.id
                           WHERE report_runs.test_job = tests.job AND test_results.test = tests.id)",
    )
    .bind(run)
    .bind(first)
    .bind(last)
    .execute(tx.conn())
    .await?;
    Ok(true)
}
