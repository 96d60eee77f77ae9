//! Steps that run beside the others: what becomes of them, and their end with the job.

use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{JobSpec, StepResult, StepStatus};

use super::{Broken, Job};
use crate::ending::Ending;
use crate::files::StepFiles;
use crate::sys::Reaped;
use crate::verdict::{failure_of, finished, judge, millis, skipped};

/// A step that runs beside the others.
pub(super) struct Background {
    pub(super) number: u16,
    pub(super) pid: i32,
    pub(super) files: StepFiles,
    pub(super) started: Instant,
}

impl Job {
    /// Tells of background steps that have ended by themselves; one that failed has failed the job.
    pub(super) fn hear_backgrounds(&mut self, spec: &JobSpec) -> Result<(), Broken> {
        self.take_events();
        for at in (0..self.background.len()).rev() {
            let Some(reaped) = self.ended.remove(&self.background[at].pid) else { continue };
            let background = self.background.remove(at);
            self.drain(background.number)?;
            let result = judge(&reaped, None, millis(background.started.elapsed()));
            if let Some(step) = spec.steps.get(usize::from(background.number))
                && self.failure.is_none()
                && !step.continue_on_error
            {
                self.failure = failure_of(background.number, step, &result);
            }
            self.tell_background(&background, result)?;
        }
        Ok(())
    }

    /// Ends what still runs in the background: it has done its service.
    pub(super) fn end_backgrounds(&mut self, grace: Duration) -> Result<(), Broken> {
        let why = if self.stop.is_some() { StepStatus::Canceled } else { StepStatus::Success };
        let mut endings: Vec<_> = self.background.iter().map(|background| Ending::new(background.pid, grace)).collect();
        let mut reaped: Vec<Option<Reaped>> = vec![None; endings.len()];
        while endings.iter().any(|ending| !ending.is_over()) {
            let mut next: Option<Instant> = None;
            for (at, ending) in endings.iter_mut().enumerate() {
                reaped[at] = reaped[at].take().or_else(|| self.ended.remove(&self.background[at].pid));
                if !ending.is_over() {
                    let come_again = ending.go_on(reaped[at].is_some());
                    next = [next, come_again].into_iter().flatten().min();
                }
            }
            if endings.iter().any(|ending| !ending.is_over()) {
                self.turn(next)?;
            }
        }
        for (background, reaped) in std::mem::take(&mut self.background).into_iter().zip(reaped) {
            self.drain(background.number)?;
            let wall_ms = millis(background.started.elapsed());
            let result = match reaped {
                Some(reaped) => StepResult { exit_code: None, signal: None, ..judge(&reaped, Some(why), wall_ms) },
                None => StepResult { status: why, wall_ms, ..skipped() },
            };
            self.tell_background(&background, result)?;
        }
        Ok(())
    }

    pub(super) fn tell_background(&mut self, background: &Background, mut result: StepResult) -> Result<(), Broken> {
        match background.files.read() {
            Ok(told) => (result.outputs, result.summary) = (told.outputs, told.summary),
            Err(message) => self.note(background.number, message)?,
        }
        self.hide(background.number, &mut result)?;
        self.say(&finished(background.number, result))
    }
}
