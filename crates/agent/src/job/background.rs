//! Steps that run beside the others: their tries advance in every turn, and end with the job.

use std::time::{Duration, Instant};

use longshore_agent_protocol::message::StepStatus;

use super::tries::TryProgress;
use super::{Job, JobError, StepScope};

impl Job {
    /// Advances the background steps: ends those whose time is over, reports those that have ended, tries them again.
    /// Returns when to call again if nothing happens before.
    pub(super) fn advance_background_steps(&mut self, scope: &mut StepScope<'_>) -> Result<Option<Instant>, JobError> {
        self.take_events();
        let mut next = None;
        for mut running in std::mem::take(&mut self.background) {
            loop {
                match self.advance_try(&mut running) {
                    TryProgress::Runs(until) => {
                        next = [next, until].into_iter().flatten().min();
                        self.background.push(running);
                    }
                    TryProgress::Over => {
                        if let Some(again) = self.finish_try(running, scope)? {
                            running = again;
                            continue;
                        }
                    }
                }
                break;
            }
        }
        Ok(next)
    }

    /// Ends the background steps that still run at the job's end.
    pub(super) fn end_background_steps(&mut self, scope: &mut StepScope<'_>, grace: Duration) -> Result<(), JobError> {
        self.advance_background_steps(scope)?;
        let why = if self.stop.is_some() { StepStatus::Canceled } else { StepStatus::Success };
        for running in &mut self.background {
            running.dismiss(why, grace);
        }
        loop {
            let next = self.advance_background_steps(scope)?;
            if self.background.is_empty() {
                return Ok(());
            }
            self.turn(next)?;
        }
    }
}
