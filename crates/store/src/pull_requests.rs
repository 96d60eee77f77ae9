//! What becomes of a pull request's builds when it goes on or ends: newer commits cancel the builds of older ones, its closing all.

use longshore_core::{BuildId, Event, Lane, RepoId, Timestamp, rules::QueueEvent};

use crate::{StoreError, WriteTx, queue, transition::happen};

/// A pull request is closed. Returns how many builds were stopped.
pub async fn close(tx: &mut WriteTx, repo: RepoId, number: u64, now: Timestamp) -> Result<usize, StoreError> {
    let happened = happen(tx, QueueEvent::PullRequestClosed { repo, number }, now).await?;
    queue::forget(tx, Lane { repo, stranger: Some(number) }).await?;
    Ok(happened.stopped())
}

/// A build was made of an event: where that is of a pull request, older builds of it may stop.
pub(crate) async fn built(
    tx: &mut WriteTx,
    repo: RepoId,
    build: BuildId,
    event: &Event,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(pull_request) = &event.pull_request else { return Ok(()) };
    happen(tx, QueueEvent::PullRequestBuilt { repo, build, number: pull_request.number }, now).await.map(drop)
}
