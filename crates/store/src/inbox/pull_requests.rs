//! Decides what happens to a pull request's builds when it gets a newer commit (the builds of older ones are canceled)
//! or is closed (all are).

use longshore_core::{BuildId, Event, Lane, RepoId, Timestamp, rules::QueueEvent};

use crate::{StoreError, WriteTx, queue, transition::handle};

/// Stops the builds of a pull request that was closed. Returns how many were stopped.
pub async fn close(tx: &mut WriteTx, repo: RepoId, number: u64, now: Timestamp) -> Result<usize, StoreError> {
    let effects = handle(tx, QueueEvent::PullRequestClosed { repo, number }, now).await?;
    queue::forget_lane(tx, Lane { repo, stranger: Some(number) }).await?;
    Ok(effects.stopped())
}

/// Stops older builds of a pull request after a new build was made for the same one. Does nothing for other events.
pub(crate) async fn built(
    tx: &mut WriteTx,
    repo: RepoId,
    build: BuildId,
    event: &Event,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(pull_request) = &event.pull_request else { return Ok(()) };
    handle(tx, QueueEvent::PullRequestBuilt { repo, build, number: pull_request.number }, now).await.map(drop)
}
