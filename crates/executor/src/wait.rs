//! Waits for an engine that went away: it restarts, hangs, or its socket is missing for a while.
//!
//! Jobs run on without it. A call is repeated, with longer pauses, until the engine answers or the patience of
//! [`ExecutorOptions`](crate::ExecutorOptions) is used up.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::error::EngineError;
use crate::following::log_recorder::{LogRecorder, journal_failed};

/// Pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How long a wait lasts before the job's log mentions it.
const NOTED_AFTER: Duration = Duration::from_secs(1);

/// Repeats a call until the engine answers it, with a result or a refusal.
pub(crate) async fn ask_until_answered<T, F>(
    patience: Duration,
    recorder: &mut LogRecorder,
    ask: impl Fn() -> F,
) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let mut wait = Wait::new(patience);
    loop {
        match ask().await {
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "the Docker engine does not respond");
                wait.pause(recorder, error).await?;
            }
            answer => return answer,
        }
    }
}

/// One wait, over all its tries.
pub(crate) struct Wait {
    begun: Instant,
    patience: Duration,
    pauses: ExponentialBackoff,
    noted: bool,
}

impl Wait {
    pub(crate) fn new(patience: Duration) -> Self {
        let pauses =
            ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_delay(MAX_PAUSE).without_max_times();
        Self { begun: Instant::now(), patience, pauses: pauses.build(), noted: false }
    }

    /// Pauses before the next try.
    ///
    /// # Errors
    /// The engine's error, once the patience is used up.
    pub(crate) async fn pause(&mut self, recorder: &mut LogRecorder, error: EngineError) -> Result<(), EngineError> {
        let waited = self.begun.elapsed();
        if waited >= self.patience {
            return Err(error);
        }
        if !self.noted && waited >= NOTED_AFTER {
            self.noted = true;
            recorder.note(&format!("waiting for the engine: {error}"));
            // Flush at once: people look at the log to see why nothing happens.
            recorder.flush().await.map_err(journal_failed)?;
        }
        tokio::time::sleep(self.pauses.next().unwrap_or(MAX_PAUSE)).await;
        Ok(())
    }
}
