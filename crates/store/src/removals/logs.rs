//! Removes logs. A removal is noted in the transaction that deletes the last reference, and carried out after its
//! commit, so that a kill in between leaves nothing behind. While a backup is made, files stay: the next removal, or
//! the next start, takes them.
//!
//! A log belongs to its job and to every job that carried it over. It is removed with the last of them.

use longshore_core::JobId;
use longshore_files::{folder, turn};
use sqlx::Row as _;

use super::Parent;
use crate::{Store, StoreError, WriteTx, row};

/// Files that one round removes.
const FILES_PER_ROUND: u32 = 500;

/// Returns the logs that the jobs of a build or a repository refer to. Called before the jobs are deleted; [`note`]
/// takes the result afterwards.
pub(crate) async fn logs_of(tx: &mut WriteTx, parent: Parent) -> Result<Vec<(JobId, u32)>, StoreError> {
    let (query, id) = match parent {
        Parent::Build(id) => (
            "SELECT coalesce(carried_over, id) AS source, carried_over, attempt FROM jobs WHERE build = ? AND attempt > 0",
            id.to_string(),
        ),
        Parent::Repo(id) => (
            "SELECT coalesce(jobs.carried_over, jobs.id) AS source, jobs.carried_over, jobs.attempt
             FROM jobs JOIN builds ON builds.id = jobs.build WHERE builds.repo = ? AND jobs.attempt > 0",
            id.to_string(),
        ),
    };
    let rows = sqlx::query(query).bind(id).fetch_all(tx.conn()).await?;
    let mut logs = Vec::with_capacity(rows.len());
    for found in &rows {
        let source = row::parsed(found, "source")?;
        let last: u32 = row::unsigned(found, "attempt")?;
        let first = if found.try_get::<Option<&str>, _>("carried_over")?.is_some() { last } else { 1 };
        logs.extend((first..=last).map(|attempt| (source, attempt)));
    }
    Ok(logs)
}

/// Notes for removal those of the logs that no job refers to any more. Called after the jobs are deleted.
pub(crate) async fn note(tx: &mut WriteTx, logs: &[(JobId, u32)]) -> Result<(), StoreError> {
    for (job, attempt) in logs {
        let path = tx.store().logs().relative_path(*job, *attempt);
        sqlx::query(
            "INSERT INTO log_removals (path) SELECT ?1
             WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = ?2)
               AND NOT EXISTS (SELECT 1 FROM jobs WHERE carried_over = ?2 AND attempt = ?3)
             ON CONFLICT DO NOTHING",
        )
        .bind(path.to_string_lossy().into_owned())
        .bind(job.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    }
    tx.remove_logs_after_commit();
    Ok(())
}

/// Removes the files that were noted, unless a backup is being made.
pub(crate) async fn carry_out(store: &Store) -> Result<(), StoreError> {
    let root = store.data_dir().join(folder::LOGS);
    loop {
        let paths: Vec<String> = sqlx::query_scalar("SELECT path FROM log_removals LIMIT ?")
            .bind(FILES_PER_ROUND)
            .fetch_all(store.readers())
            .await?;
        if paths.is_empty() {
            return Ok(());
        }
        let Some(_turn) = turn::removal(store.data_dir())? else {
            tracing::info!("logs that nothing refers to stay until the backup under way is made");
            return Ok(());
        };
        store.logs().remove(paths.iter().map(|path| root.join(path)).collect()).await;
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new("DELETE FROM log_removals WHERE path IN (");
        let mut list = query.separated(", ");
        for path in paths {
            list.push_bind(path);
        }
        query.push(")");
        // Nobody watches these rows, so this needs only the connection and no turn among the writers.
        query.build().execute(store.writer()).await?;
    }
}
