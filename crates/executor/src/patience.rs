//! Waiting for an engine that went away: restarted, hanging, its socket gone for a while.
//!
//! Jobs run on without it. What has to be asked is asked again, with longer pauses, until it answers or the patience of
//! [`EngineOptions`](crate::EngineOptions) is at its end.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::engine::Shared;
use crate::error::EngineError;
use crate::log_recorder::LogRecorder;

/// Between two looks at an engine that does not answer.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// When the job's log says that it waits.
const SAID_AFTER: Duration = Duration::from_secs(1);

/// Asks until the engine answers, with yes or no.
pub(crate) async fn patiently<T, F>(
    shared: &Shared,
    recorder: &mut LogRecorder,
    ask: impl Fn() -> F,
) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let mut wait = Wait::new(shared);
    loop {
        match ask().await {
            Err(error) if error.is_passing() => {
                tracing::debug!(%error, "the engine does not answer");
                wait.again(recorder, error).await?;
            }
            answer => return answer,
        }
    }
}

/// One wait, however many tries.
pub(crate) struct Wait {
    begun: Instant,
    give_up: Instant,
    pauses: ExponentialBackoff,
    said: bool,
}

impl Wait {
    pub(crate) fn new(shared: &Shared) -> Self {
        let begun = Instant::now();
        let pauses = ExponentialBuilder::new().with_min_delay(PAUSE).with_max_delay(LONGEST_PAUSE).without_max_times();
        Self { begun, give_up: begun + shared.options.patience, pauses: pauses.build(), said: false }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The engine's, once it has been away for too long.
    pub(crate) async fn again(&mut self, recorder: &mut LogRecorder, error: EngineError) -> Result<(), EngineError> {
        if Instant::now() >= self.give_up {
            return Err(error);
        }
        if !self.said && self.begun.elapsed() >= SAID_AFTER {
            self.said = true;
            recorder.note(&format!("waiting for the engine: {error}"));
            // At once: people look at the log to see why nothing happens.
            recorder.flush().await.map_err(crate::job::journal_failed)?;
        }
        tokio::time::sleep(self.pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        Ok(())
    }
}
