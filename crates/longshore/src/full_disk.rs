//! Waits while the disk of the data folder is full: what a job needs written there is written late, and not lost.

use std::time::{Duration, Instant};

use longshore_core::JobId;
use longshore_store::StoreError;

/// The pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Repeats `work` on the database while the disk is full, another program keeps the database locked, or too many files
/// are open, for at most `patience`. `what` is what the job waits for.
pub(crate) async fn retry_while_full<T, F>(
    job: JobId,
    what: &str,
    patience: Duration,
    work: impl Fn() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let since = Instant::now();
    let mut waits = false;
    loop {
        match work().await {
            Err(error) if error.is_transient() && since.elapsed() < patience => {
                if !std::mem::replace(&mut waits, true) {
                    tracing::error!(%job, %error, "a job waits for {what}");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            done => {
                if waits && done.is_ok() {
                    tracing::info!(%job, waited_ms = since.elapsed().as_millis(), "a job no longer waits for {what}");
                }
                return done;
            }
        }
    }
}
