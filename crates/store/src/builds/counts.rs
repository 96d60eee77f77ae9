//! Figures for `/metrics`. They count only what has not finished, so that the size of the history does not matter.

use longshore_core::Status;

use crate::{Store, StoreError, row};

/// The number of jobs that wait and that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that are not over, by status; statuses without jobs are left out.
    pub jobs: Vec<(Status, u64)>,
    pub pending_deliveries: u64,
}

/// Returns the current figures.
pub async fn get(store: &Store) -> Result<Counts, StoreError> {
    let rows = sqlx::query(
        "SELECT status, count(*) AS jobs FROM jobs
         WHERE finished_at IS NULL GROUP BY status ORDER BY status",
    )
    .fetch_all(store.readers())
    .await?;
    let jobs = rows.iter().map(|r| Ok((row::parsed(r, "status")?, row::unsigned(r, "jobs")?)));
    let pending = sqlx::query("SELECT count(*) AS pending FROM deliveries WHERE status = 'pending'");
    Ok(Counts {
        jobs: jobs.collect::<Result<_, StoreError>>()?,
        pending_deliveries: row::unsigned(&pending.fetch_one(store.readers()).await?, "pending")?,
    })
}
