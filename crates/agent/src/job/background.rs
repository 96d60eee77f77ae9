//! Steps that run beside the others: their tries go on in every turn, and what is left of them ends with the job.

use std::time::{Duration, Instant};

use longshore_agent_protocol::message::StepStatus;

use super::tries::Course;
use super::{Broken, Job, Stage};

impl Job {
    /// Does what is due for the steps in the background: ends those whose time is over, tells of those that have ended, tries them
    /// again. Says when to come again, if nothing happens before.
    pub(super) fn hear_backgrounds(&mut self, stage: &mut Stage<'_>) -> Result<Option<Instant>, Broken> {
        self.take_events();
        let mut next = None;
        for mut running in std::mem::take(&mut self.background) {
            loop {
                match self.go_on(&mut running) {
                    Course::Runs(until) => {
                        next = [next, until].into_iter().flatten().min();
                        self.background.push(running);
                    }
                    Course::Over => {
                        if let Some(again) = self.try_is_over(running, stage)? {
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

    /// Ends what still runs in the background: it has done its service.
    pub(super) fn end_backgrounds(&mut self, stage: &mut Stage<'_>, grace: Duration) -> Result<(), Broken> {
        self.hear_backgrounds(stage)?;
        let why = if self.stop.is_some() { StepStatus::Canceled } else { StepStatus::Success };
        for running in &mut self.background {
            running.dismiss(why, grace);
        }
        loop {
            let next = self.hear_backgrounds(stage)?;
            if self.background.is_empty() {
                return Ok(());
            }
            self.turn(next)?;
        }
    }
}
