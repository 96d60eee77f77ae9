//! Loads the jobs of a build with their edges, for `core::rules::graph`, which says what a job sees of the others.

use std::collections::BTreeSet;

use longshore_core::{
    BuildId, JobId, NeedEnd,
    rules::graph::{BuildGraph, GraphJob},
};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::{StoreError, row};

/// Loads the graph of a build: one query, whatever the number of jobs.
pub(crate) async fn load(conn: &mut SqliteConnection, build: BuildId) -> Result<BuildGraph, StoreError> {
    // The edges are read from the plan, which alone knows the optional ones.
    let rows = sqlx::query(
        "SELECT id, key, status, outputs, continue_on_error, json_extract(plan, '$.needs') AS needs
         FROM jobs WHERE build = ? ORDER BY seq",
    )
    .bind(build.to_string())
    .fetch_all(conn)
    .await?;
    Ok(BuildGraph::new(rows.iter().map(from_row).collect::<Result<_, _>>()?))
}

/// Returns the graph of `build`, and its jobs that wait for their needs and see `need`. If no job waits, no graph is
/// loaded: both are empty.
pub(crate) async fn dependents(
    conn: &mut SqliteConnection,
    build: BuildId,
    need: JobId,
) -> Result<(BuildGraph, Vec<JobId>), StoreError> {
    let rows =
        sqlx::query("SELECT id FROM jobs WHERE build = ? AND finished_at IS NULL AND status = 'blocked' AND ready = 0")
            .bind(build.to_string())
            .fetch_all(&mut *conn)
            .await?;
    let waiting = rows.iter().map(|row| row::parsed(row, "id")).collect::<Result<BTreeSet<JobId>, _>>()?;
    if waiting.is_empty() {
        return Ok(Default::default());
    }
    let graph = load(conn, build).await?;
    let dependents = graph.dependents(need).into_iter().filter(|job| waiting.contains(job)).collect();
    Ok((graph, dependents))
}

fn from_row(row: &SqliteRow) -> Result<GraphJob, StoreError> {
    Ok(GraphJob {
        id: row::parsed(row, "id")?,
        end: NeedEnd {
            key: row.try_get("key")?,
            status: row::parsed(row, "status")?,
            outputs: row::json_opt(row, "outputs")?.unwrap_or_default(),
            continue_on_error: row.try_get("continue_on_error")?,
        },
        needs: row::json_opt(row, "needs")?.unwrap_or_default(),
    })
}
