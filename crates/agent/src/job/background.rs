//! Steps that run in the background, and steps that wait for them. The tries of background steps advance in every turn,
//! and end with the job.

use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{StepResult, StepSpec, StepStatus};

use super::tries::TryProgress;
use super::{Job, JobError, StepScope, Stop, time_after};
use crate::verdict::{millis, skipped_result, step_finished};

impl Job {
    /// Advances the background steps: ends those whose time is over, reports those that have ended, and starts their
    /// next tries. Returns when to call again if nothing happens before.
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

    /// Runs a step that waits for background steps. It fails if one of them has failed the job.
    pub(super) fn wait_for_steps(
        &mut self,
        number: u16,
        step: &StepSpec,
        started: Instant,
        scope: &mut StepScope<'_>,
    ) -> Result<(), JobError> {
        let limit = [step.timeout_ms.map(time_after), self.always_deadline].into_iter().flatten().min();
        let (after_stop, after_break) = (self.stop.is_some(), self.members.broken);
        let status = loop {
            let next = self.advance_background_steps(scope)?;
            let is_awaited = |running: &u16| step.wait.contains(running);
            if !self.background.iter().any(|running| is_awaited(&running.number)) {
                let has_failed = self.failed_background.iter().any(is_awaited);
                break if has_failed { StepStatus::Failure } else { StepStatus::Success };
            }
            match self.stop {
                Some(Stop::Canceled) if !after_stop => break StepStatus::Canceled,
                Some(Stop::TimedOut) if !after_stop => break StepStatus::TimedOut,
                Some(_) | None if self.members.broken && !after_break => break StepStatus::Canceled,
                Some(_) | None if limit.is_some_and(|limit| Instant::now() >= limit) => break StepStatus::TimedOut,
                Some(_) | None => self.turn([next, limit].into_iter().flatten().min())?,
            }
        };
        if status == StepStatus::Failure {
            let failed = self.failed_background.iter().filter(|failed| step.wait.contains(failed));
            let names: Vec<&str> =
                failed.filter_map(|failed| Some(scope.spec.steps.get(usize::from(*failed))?.name.as_str())).collect();
            self.note(number, format!("failed: {}", names.join(", ")))?;
        }
        let exit_code = (status == StepStatus::Failure).then_some(1);
        let result = StepResult { status, exit_code, wall_ms: millis(started.elapsed()), ..skipped_result() };
        self.send(&step_finished(number, result.clone()))?;
        self.record_step_end(number, step, &result, &mut scope.values);
        Ok(())
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
