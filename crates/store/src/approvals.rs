//! Somebody says yes: to one job, or to all that waits for it in a build.

use longshore_core::{BuildId, JobId, JobPlan, Status, Timestamp, access::Actor, rules::needs::Readiness};
use sqlx::{QueryBuilder, Sqlite};

use crate::{
    StoreError, WriteTx,
    acts::{self, About, Act},
    gates, jobs, people,
    transition::{STANDING, Standing, follow_build},
};

/// Approves a job. [`StoreError::Conflict`] where nobody is asked.
pub async fn approve(tx: &mut WriteTx, job: JobId, by: &Actor, now: Timestamp) -> Result<(), StoreError> {
    let standing = asked(tx, job, "approve").await?;
    note(tx, &standing, by, now).await?;
    gates::mark_ready(tx, job).await?;
    people::approved(tx, standing.build, now).await?;
    gates::release(tx, standing.repo, now).await?;
    follow_build(tx, standing.repo, standing.build, now).await?;
    Ok(())
}

/// Approves every job of a build that waits for it now, and the commit of a stranger's build for the jobs whose needs are not over. What
/// the pipeline's author lets ask is asked when its time comes. How many jobs that were; [`StoreError::Conflict`] where nobody is asked.
pub async fn approve_build(tx: &mut WriteTx, build: BuildId, by: &Actor, now: Timestamp) -> Result<usize, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(STANDING);
    query.push(
        " WHERE jobs.finished_at IS NULL AND jobs.status = 'blocked' AND jobs.ready = 0 AND jobs.approved_by IS NULL",
    );
    let rows = query.push(" AND jobs.build = ").push_bind(build.to_string()).push(" ORDER BY jobs.seq").build();
    let rows = rows.fetch_all(tx.conn()).await?;
    let (mut approved, mut repo) = (0, None);
    for row in &rows {
        let standing = Standing::from_row(row)?;
        let plan = jobs::fetch_plan(tx.conn(), standing.id).await?.ok_or(StoreError::NotFound("job"))?;
        let asked = is_asked(tx, &standing, &plan).await?;
        if !asked && (plan.stranger.is_none() || plan.approval.is_some()) {
            continue;
        }
        note(tx, &standing, by, now).await?;
        if asked {
            gates::mark_ready(tx, standing.id).await?;
        }
        repo = Some(standing.repo);
        approved += 1;
    }
    let Some(repo) = repo else {
        return Err(StoreError::Conflict("there is nothing to approve: no job of the build waits for it".to_owned()));
    };
    people::approved(tx, build, now).await?;
    gates::release(tx, repo, now).await?;
    follow_build(tx, repo, build, now).await?;
    Ok(approved)
}

/// The standing of a job that somebody is asked about; [`StoreError::Conflict`] where nobody is.
pub(crate) async fn asked(tx: &mut WriteTx, job: JobId, verb: &str) -> Result<Standing, StoreError> {
    let standing = Standing::of(tx, job).await?;
    let plan = jobs::fetch_plan(tx.conn(), job).await?.ok_or(StoreError::NotFound("job"))?;
    let (ready, approved) = decided(tx, job).await?;
    if standing.status != Status::Blocked || plan.question().is_none() || ready || approved {
        return Err(StoreError::Conflict(format!("there is nothing to {verb}: the job is {}", standing.status)));
    }
    if !is_asked(tx, &standing, &plan).await? {
        return Err(StoreError::Conflict(format!("there is nothing to {verb} yet: jobs that it needs are not over")));
    }
    Ok(standing)
}

/// Whether a job that waits has a question and nothing else before that.
async fn is_asked(tx: &mut WriteTx, job: &Standing, plan: &JobPlan) -> Result<bool, StoreError> {
    Ok(plan.question().is_some() && gates::readiness_of(tx, job, plan).await? == Readiness::Runs)
}

/// Whether a job is ready, and whether it is approved.
async fn decided(tx: &mut WriteTx, job: JobId) -> Result<(bool, bool), StoreError> {
    let query = "SELECT ready, approved_by IS NOT NULL FROM jobs WHERE id = ?";
    Ok(sqlx::query_as(query).bind(job.to_string()).fetch_one(tx.conn()).await?)
}

/// Whether somebody has said yes to a job.
pub(crate) async fn is_approved(tx: &mut WriteTx, job: JobId) -> Result<bool, StoreError> {
    decided(tx, job).await.map(|(_, approved)| approved)
}

async fn note(tx: &mut WriteTx, job: &Standing, by: &Actor, now: Timestamp) -> Result<(), StoreError> {
    acts::record(tx, Act::Approved, About::job(job.build, job.id), by, now).await?;
    sqlx::query("UPDATE jobs SET approved_by = ?, approved_at = ? WHERE id = ?")
        .bind(&by.name)
        .bind(now.as_millis())
        .bind(job.id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}
