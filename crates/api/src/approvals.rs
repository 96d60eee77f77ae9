//! Approves a build, for the API and the pages.

use longshore_core::{BuildId, access::Action};
use longshore_scheduler::Scheduler;
use longshore_store::Store;

use crate::{auth::Caller, error::ApiError, lookup::find_build_to};

/// Approves every job of the build that is awaiting approval. Fails if the caller may not, or if no job waits.
pub(crate) async fn approve_build(
    store: &Store,
    scheduler: &Scheduler,
    caller: &Caller,
    id: BuildId,
) -> Result<(), ApiError> {
    find_build_to(store, caller, Action::Approve, id).await?;
    scheduler.approve_build(id, caller.actor()).await?;
    tracing::info!(build = %id, by = caller.name(), "a build was approved");
    Ok(())
}
