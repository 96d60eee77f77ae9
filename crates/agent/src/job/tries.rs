//! One try of a step, from the start of its process to the values it passes on. The same for background steps and
//! others.

use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{StepResult, StepSpec, StepStatus};
use longshore_core::plan::RetryOn;

use super::{Job, JobError, StepScope, Stop, time_after};
use crate::ending::Ending;
use crate::files::{MAX_VARIABLE, StepFiles, WrittenValues};
use crate::memory;
use crate::step::PreparedStep;
use crate::sys::Reaped;
use crate::unstarted::{Fault, NOT_STARTED, StartError};
use crate::verdict::{millis, skipped_result, step_finished, step_result};

/// A running try.
#[derive(Debug)]
pub(super) struct Try {
    number: u16,
    background: bool,
    /// Counts from 1.
    attempt: u32,
    /// Kept for the next try.
    ready: PreparedStep,
    /// When the first try began.
    started: Instant,
    pid: i32,
    files: StepFiles,
    /// How often the kernel had killed for memory before.
    kills: Option<u64>,
    limit: Option<Instant>,
    /// Whether the job was stopped before the try began; then `limit` ends the try, and the stop does not.
    after_stop: bool,
    ending: Ending,
    /// Why the try is being ended, if it is.
    why: Option<StepStatus>,
    /// Whether it is ended because the job is over; then its exit code does not count.
    dismissed: bool,
    reaped: Option<Reaped>,
}

/// The progress of a try.
#[derive(Debug, Clone, Copy)]
pub(super) enum TryProgress {
    /// Runs; has to be looked at again at this time at the latest.
    Runs(Option<Instant>),
    Over,
}

impl Try {
    /// Ends the try because the job is over: TERM, grace period, KILL.
    pub(super) fn dismiss(&mut self, why: StepStatus, grace: Duration) {
        if self.why.is_none() {
            (self.why, self.dismissed) = (Some(why), true);
            self.ending = Ending::new(self.pid, grace);
        }
    }
}

impl Job {
    /// Starts a try; if that fails, starts the next one. Returns `None` if no try could start and the step is over.
    pub(super) fn start_try(
        &mut self,
        number: u16,
        ready: PreparedStep,
        mut attempt: u32,
        started: Instant,
        scope: &mut StepScope<'_>,
    ) -> Result<Option<Try>, JobError> {
        let Some(step) = scope.spec.steps.get(usize::from(number)) else { return Ok(None) };
        loop {
            let kills = memory::oom_kills();
            let error = match scope.launcher.start(number, attempt, &ready, &self.runtime.children) {
                Ok(running) => {
                    self.streams.add(number, false, running.stdout);
                    if let Some(stderr) = running.stderr {
                        self.streams.add(number, true, stderr);
                    }
                    let always_deadline = self.always_deadline.filter(|_| !step.background);
                    return Ok(Some(Try {
                        number,
                        background: step.background,
                        attempt,
                        ready,
                        started,
                        pid: running.pid,
                        files: running.files,
                        kills,
                        limit: [step.timeout_ms.map(time_after), always_deadline].into_iter().flatten().min(),
                        after_stop: self.stop.is_some(),
                        ending: Ending::new(running.pid, Duration::from_millis(scope.spec.grace_ms)),
                        why: None,
                        dismissed: false,
                        reaped: None,
                    }));
                }
                Err(error) => error,
            };
            let result = self.report_not_started(number, &error)?;
            if !self.may_try_again(step, &result, attempt) {
                self.finish_step(number, started, result, WrittenValues::default(), scope)?;
                return match error.fault() {
                    Fault::Transient(kind) => Err(JobError::new(kind, error.to_string())),
                    Fault::Commands | Fault::Ours(_) => Ok(None),
                };
            }
            attempt += 1;
            self.note(number, format!("could not start; try {attempt} of {}", max_tries(step)))?;
        }
    }

    /// Reports why a try did not start. An error that no other try can fix, and that the command did not cause, ends
    /// the job.
    fn report_not_started(&mut self, number: u16, error: &StartError) -> Result<StepResult, JobError> {
        let text = error.to_string();
        self.note(number, text.clone())?;
        let unstarted = StepResult { status: StepStatus::Error, ..skipped_result() };
        match error.fault() {
            Fault::Commands => {
                Ok(StepResult { status: StepStatus::Failure, exit_code: Some(NOT_STARTED), ..unstarted })
            }
            Fault::Transient(_) => Ok(unstarted),
            Fault::Ours(kind) => {
                self.send(&step_finished(number, unstarted))?;
                Err(JobError::new(kind, text))
            }
        }
    }

    /// Returns whether another try follows this result.
    fn may_try_again(&self, step: &StepSpec, result: &StepResult, attempt: u32) -> bool {
        let why = match result.status {
            StepStatus::Failure => RetryOn::Failure,
            StepStatus::TimedOut => RetryOn::Timeout,
            StepStatus::Error => RetryOn::Error,
            StepStatus::Success | StepStatus::Skipped | StepStatus::Canceled => return false,
        };
        attempt < max_tries(step)
            && self.stop.is_none()
            && step.retry.as_ref().is_some_and(|retry| retry.on.contains(&why))
    }

    /// Ends a try whose time is over or whose job is stopped. Background steps run on until the job's last step.
    pub(super) fn advance_try(&mut self, running: &mut Try) -> TryProgress {
        running.reaped = running.reaped.or_else(|| self.ended.remove(&running.pid));
        if running.why.is_none() && running.reaped.is_none() {
            let in_time = running.limit.is_none_or(|limit| Instant::now() < limit);
            running.why = match self.stop {
                Some(Stop::Canceled) if !running.background && !running.after_stop => Some(StepStatus::Canceled),
                Some(Stop::TimedOut) if !running.background && !running.after_stop => Some(StepStatus::TimedOut),
                Some(_) | None if !in_time => Some(StepStatus::TimedOut),
                Some(_) | None => None,
            };
        }
        if running.why.is_none() {
            return if running.reaped.is_some() { TryProgress::Over } else { TryProgress::Runs(running.limit) };
        }
        let next = running.ending.advance(running.reaped.is_some());
        if running.ending.is_over() { TryProgress::Over } else { TryProgress::Runs(next) }
    }

    /// Finishes a try: starts the next one, or reports the step's end and returns `None`.
    pub(super) fn finish_try(&mut self, running: Try, scope: &mut StepScope<'_>) -> Result<Option<Try>, JobError> {
        let number = running.number;
        let Some(step) = scope.spec.steps.get(usize::from(number)) else { return Ok(None) };
        let (result, written) = self.try_result(&running)?;
        if running.dismissed || !self.may_try_again(step, &result, running.attempt) {
            self.finish_step(number, running.started, result, written, scope)?;
            return Ok(None);
        }
        let why = match (result.status, result.exit_code) {
            (StepStatus::TimedOut, _) | (_, None) => "ran out of time".to_owned(),
            (_, Some(code)) => format!("ended with exit code {code}"),
        };
        let attempt = running.attempt + 1;
        self.note(number, format!("{why}; try {attempt} of {}", max_tries(step)))?;
        self.start_try(number, running.ready, attempt, running.started, scope)
    }

    /// Returns how a try ended, and the values it passes on.
    fn try_result(&mut self, running: &Try) -> Result<(StepResult, WrittenValues), JobError> {
        let number = running.number;
        self.drain(number)?;
        let mut result = match (&running.reaped, running.why) {
            (Some(reaped), why) => step_result(reaped, why, 0),
            // Not even KILL ended it: it hangs in the kernel.
            (None, why) => StepResult { status: why.unwrap_or(StepStatus::Error), ..skipped_result() },
        };
        if running.dismissed {
            (result.exit_code, result.signal) = (None, None);
        }
        let kills = memory::oom_kills();
        if result.status == StepStatus::Failure && memory::rose(running.kills.max(self.kills_reported), kills) {
            (result.out_of_memory, self.kills_reported) = (true, kills);
        }
        let written = running.files.read().and_then(|written| {
            let length: usize = self.path.iter().chain(&written.path).map(|folder| folder.len() + 1).sum();
            if length > MAX_VARIABLE / 2 {
                return Err(format!(
                    "LONGSHORE_PATH makes PATH {length} bytes long, and steps may put 64 KiB before it"
                ));
            }
            Ok(written)
        });
        match written {
            Ok(written) => Ok((result, written)),
            Err(message) => {
                self.note(number, message)?;
                if result.status == StepStatus::Success {
                    (result.status, result.exit_code) = (StepStatus::Failure, Some(1));
                }
                Ok((result, WrittenValues::default()))
            }
        }
    }

    /// Reports the end of a step that was started or was to be started, and passes its values on to the steps after it.
    fn finish_step(
        &mut self,
        number: u16,
        started: Instant,
        mut result: StepResult,
        written: WrittenValues,
        scope: &mut StepScope<'_>,
    ) -> Result<(), JobError> {
        result.wall_ms = millis(started.elapsed());
        (result.outputs, result.summary) = (written.outputs, written.summary);
        self.mask_result(number, &mut result)?;
        scope.values.add_env(written.env);
        self.path.splice(0..0, written.path);
        self.send(&step_finished(number, result.clone()))?;
        if let Some(step) = scope.spec.steps.get(usize::from(number)) {
            self.record_step_end(number, step, &result, &mut scope.values);
        }
        Ok(())
    }
}

/// Returns how many tries a step has.
fn max_tries(step: &StepSpec) -> u32 {
    1 + step.retry.as_ref().map_or(0, |retry| retry.max)
}
