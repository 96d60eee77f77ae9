//! What becomes of a pull request's builds when it goes on or ends: newer commits cancel the builds of older ones, its closing all.

use longshore_core::{BuildId, Event, Lane, RepoId, Timestamp, event::PullRequest};
use sqlx::{QueryBuilder, Sqlite};

use crate::{
    StoreError, WriteTx, gates, queue, row,
    transition::{STANDING, Standing},
};

/// A pull request is closed: its builds that are not over are not waited for any more. Those that its closing itself starts go on.
/// How many were stopped.
pub async fn close(tx: &mut WriteTx, repo: RepoId, number: u64, now: Timestamp) -> Result<usize, StoreError> {
    let jobs = fetch_jobs(tx, repo, number, "").await?;
    let stopped = gates::stop(tx, repo, &jobs, &format!("the pull request #{number} was closed"), now).await?;
    queue::forget(tx, Lane { repo, stranger: Some(number) }).await?;
    if stopped > 0 {
        gates::release(tx, repo, now).await?;
    }
    Ok(stopped)
}

/// A build was made of a pull request: those of its older commits are not waited for any more, where the repository says so. One that
/// comes too late (its delivery had to wait) is canceled itself, for the sake of the newer one. Builds that were made once more or whose
/// delivery was, which a person asked for, cancel nothing.
pub(crate) async fn supersede_older(
    tx: &mut WriteTx,
    repo: RepoId,
    build: BuildId,
    number: u64,
    event: &Event,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(pull_request) = event.pull_request.as_ref() else { return Ok(()) };
    if pull_request.action == PullRequest::CLOSED {
        return Ok(());
    }
    let asked: bool = sqlx::query_scalar("SELECT cancel_older FROM repos WHERE id = ?")
        .bind(repo.to_string())
        .fetch_one(tx.conn())
        .await?;
    // The order of deliveries is that of the commits; without one there is none.
    let came: Option<i64> = sqlx::query_scalar(
        "SELECT d.seq FROM builds JOIN deliveries AS d ON d.id = builds.delivery
         WHERE builds.id = ? AND d.delivery_key NOT LIKE '% again ' || d.id",
    )
    .bind(build.to_string())
    .fetch_optional(tx.conn())
    .await?;
    let Some(came) = came.filter(|_| asked) else { return Ok(()) };
    let newer: Option<i64> = sqlx::query_scalar(
        "SELECT b.number FROM builds AS b JOIN deliveries AS d ON d.id = b.delivery
         WHERE b.repo = ?1 AND b.pull_request = ?2 AND b.commit_id <> ?3 AND d.seq > ?4 AND d.delivery_key NOT LIKE '% again ' || d.id
           AND json_extract(b.event_json, '$.pull_request.action') <> 'closed'
         ORDER BY d.seq DESC LIMIT 1",
    )
    .bind(repo.to_string())
    .bind(row::signed(pull_request.number))
    .bind(&event.commit)
    .bind(came)
    .fetch_optional(tx.conn())
    .await?;
    let mut jobs = fetch_jobs(tx, repo, pull_request.number, &event.commit).await?;
    let newer = match newer {
        Some(newer) => {
            jobs = fetch_jobs(tx, repo, pull_request.number, "").await?;
            jobs.retain(|job| job.build == build);
            newer.unsigned_abs()
        }
        None => number,
    };
    let reason = format!("build #{newer} is of a newer commit of the pull request");
    if gates::stop(tx, repo, &jobs, &reason, now).await? > 0 {
        gates::release(tx, repo, now).await?;
    }
    Ok(())
}

/// The jobs of a pull request's builds that are not over, but for those of `commit` and those that its closing started.
async fn fetch_jobs(tx: &mut WriteTx, repo: RepoId, number: u64, commit: &str) -> Result<Vec<Standing>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(STANDING);
    query.push(" WHERE jobs.finished_at IS NULL AND builds.finished_at IS NULL AND builds.repo = ");
    query.push_bind(repo.to_string()).push(" AND builds.pull_request = ").push_bind(row::signed(number));
    query.push(" AND builds.commit_id <> ").push_bind(commit.to_owned());
    query.push(" AND json_extract(builds.event_json, '$.pull_request.action') <> ").push_bind(PullRequest::CLOSED);
    let rows = query.push(" ORDER BY jobs.seq").build().fetch_all(tx.conn()).await?;
    rows.iter().map(Standing::from_row).collect()
}
