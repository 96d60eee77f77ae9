//! Removes images of jobs with Docker that the engine finished after the job's cleanup.

use std::time::Duration;

use longshore_executor::{AttemptId, Executor};
use longshore_store::{Store, jobs};
use tokio_util::sync::CancellationToken;

/// The pause between two checks. Few builds end after their job, and their images do no harm meanwhile.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// Removes such images at the start and then at intervals, until `shutdown`.
pub(crate) async fn run(executor: Executor, store: Store, shutdown: CancellationToken) {
    let work = async {
        loop {
            // The mark of a push goes once the pushed name has gone.
            for _ in 0..2 {
                match remove(&executor, &store).await {
                    Ok(removed) if removed.is_empty() => break,
                    Ok(removed) => tracing::info!(?removed, "removed images that the engine finished after their jobs"),
                    Err(error) => tracing::warn!(%error, "images of ended jobs may be left on the engine"),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

async fn remove(executor: &Executor, store: &Store) -> anyhow::Result<Vec<String>> {
    // First the list: what is in it was begun by jobs that the store knows.
    let images = executor.made_images().await?;
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let over = jobs::attempts_over(store).await?;
    let over = over.into_iter().map(|(job, attempt)| AttemptId { job, attempt });
    Ok(executor.remove_made_images(images, over).await)
}
