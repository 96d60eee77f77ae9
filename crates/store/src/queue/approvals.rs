//! Approves or declines a job, or approves every job of a build that waits for it.

use longshore_core::{BuildId, JobId, Timestamp, access::Actor, rules::QueueEvent};

use crate::{
    StoreError, WriteTx,
    acts::{self, ActKind, ActTarget},
    people,
    transition::{Effects, handle},
};

/// Approves a job. [`StoreError::Conflict`] if the job asks nobody.
pub async fn approve(tx: &mut WriteTx, job: JobId, by: &Actor, now: Timestamp) -> Result<(), StoreError> {
    let effects = handle(tx, QueueEvent::Approved { job }, now).await?;
    record_approvals(tx, &effects, by, now).await.map(drop)
}

/// Approves every job of a build that is awaiting approval, and the commit of a stranger's build for the jobs that come
/// later. Returns how many jobs that are. [`StoreError::Conflict`] if no job asks.
pub async fn approve_build(tx: &mut WriteTx, build: BuildId, by: &Actor, now: Timestamp) -> Result<usize, StoreError> {
    let effects = handle(tx, QueueEvent::BuildApproved { build }, now).await?;
    record_approvals(tx, &effects, by, now).await
}

/// Declines a job. [`StoreError::Conflict`] if the job asks nobody.
pub async fn decline(tx: &mut WriteTx, job: JobId, by: &Actor, now: Timestamp) -> Result<(), StoreError> {
    let effects = handle(tx, QueueEvent::Declined { job, by: by.name.clone() }, now).await?;
    for declined in effects.moves.iter().filter(|declined| declined.job == job) {
        acts::record(tx, ActKind::Declined, ActTarget::job(declined.build, job), by, now).await?;
    }
    Ok(())
}

/// Writes down who approved, and remembers the builds' authors as known.
async fn record_approvals(
    tx: &mut WriteTx,
    effects: &Effects,
    by: &Actor,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut builds: Vec<BuildId> = Vec::new();
    for (build, job) in &effects.approved {
        acts::record(tx, ActKind::Approved, ActTarget::job(*build, *job), by, now).await?;
        sqlx::query("UPDATE jobs SET approved_by = ?, approved_at = ? WHERE id = ?")
            .bind(&by.name)
            .bind(now.as_millis())
            .bind(job.to_string())
            .execute(tx.conn())
            .await?;
        if !builds.contains(build) {
            builds.push(*build);
        }
    }
    for build in builds {
        people::remember_author(tx, build, now).await?;
    }
    Ok(effects.approved.len())
}
