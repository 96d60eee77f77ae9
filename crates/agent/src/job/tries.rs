//! One try of a step, from the start of its process to the values it passes on. The same for background steps and
//! others.

use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{StepResult, StepSpec, StepStatus};
use longshore_core::plan::RetryOn;

use super::members::MemberTry;
use super::{Job, JobError, StepScope, Stop, time_after};
use crate::ending::Ending;
use crate::files::{MAX_VARIABLE, StepFiles, WrittenValues};
use crate::memory;
use crate::start_error::{Fault, NOT_STARTED, StartError};
use crate::step::PreparedStep;
use crate::sys::Reaped;
use crate::verdict::{millis, skipped_result, step_finished, step_result};

/// A running try.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) number: u16,
    background: bool,
    /// Counts from 1.
    attempt: u32,
    /// Kept for the next try.
    ready: PreparedStep,
    /// When the first try began.
    started: Instant,
    body: Body,
    limit: Option<Instant>,
    /// Whether the job was stopped before the try began; then `limit` ends the try, and the stop does not.
    after_stop: bool,
    /// Whether a service had failed before the try began; then that does not end the try.
    after_break: bool,
    /// Why the try is being ended, if it is.
    why: Option<StepStatus>,
    /// Whether it is ended because the job is over; then its exit code does not count.
    dismissed: bool,
}

/// Where a try runs.
#[derive(Debug)]
enum Body {
    /// In the job's own container.
    Process(Process),
    /// In a container of its own image.
    Member(MemberTry),
}

/// A step's process in this container.
#[derive(Debug)]
struct Process {
    pid: i32,
    files: StepFiles,
    /// How often the kernel had killed for memory before.
    kills: Option<u64>,
    ending: Ending,
    reaped: Option<Reaped>,
}

/// The progress of a try.
#[derive(Debug, Clone, Copy)]
pub(super) enum TryProgress {
    /// Runs; has to advance again at this time at the latest.
    Runs(Option<Instant>),
    Over,
}

impl Try {
    /// Ends the try because the job is over: TERM, grace period, KILL.
    pub(super) fn dismiss(&mut self, why: StepStatus, grace: Duration) {
        if self.why.is_none() {
            (self.why, self.dismissed) = (Some(why), true);
            match &mut self.body {
                Body::Process(process) => process.ending = Ending::new(process.pid, grace),
                // It has its grace period in its plan.
                Body::Member(_) => {}
            }
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
            let error = match self.start_body(number, attempt, step, &ready, scope)? {
                Ok(body) => {
                    let always_deadline = self.always_deadline.filter(|_| !step.background);
                    // The time of a member counts from the arrival of its plan.
                    let limit = step.timeout_ms.filter(|_| step.image.is_none()).map(time_after);
                    return Ok(Some(Try {
                        number,
                        background: step.background,
                        attempt,
                        ready,
                        started,
                        body,
                        limit: [limit, always_deadline].into_iter().flatten().min(),
                        after_stop: self.stop.is_some(),
                        after_break: self.members.broken,
                        why: None,
                        dismissed: false,
                    }));
                }
                Err(error) => error,
            };
            let result = self.report_not_started(number, &error)?;
            if !self.may_try_again(step, &result, attempt) {
                self.finish_step(number, started, result, WrittenValues::default(), scope)?;
                return match error.fault() {
                    Fault::Transient(kind) => Err(JobError::new(kind, error.to_string())),
                    Fault::Commands | Fault::Job(_) => Ok(None),
                };
            }
            attempt += 1;
            self.note(number, format!("could not start; retrying (attempt {attempt} of {})", max_tries(step)))?;
        }
    }

    fn start_body(
        &mut self,
        number: u16,
        attempt: u32,
        step: &StepSpec,
        ready: &PreparedStep,
        scope: &StepScope<'_>,
    ) -> Result<Result<Body, StartError>, JobError> {
        if step.image.is_some() {
            return self.begin_member_try(number, attempt, step, ready, scope).map(Body::Member).map(Ok);
        }
        let kills = memory::oom_kills();
        let running = match scope.launcher.start(number, attempt, ready, &self.runtime.children) {
            Ok(running) => running,
            Err(error) => return Ok(Err(error)),
        };
        self.streams.add(number, false, running.stdout);
        if let Some(stderr) = running.stderr {
            self.streams.add(number, true, stderr);
        }
        let ending = Ending::new(running.pid, Duration::from_millis(scope.spec.grace_ms));
        Ok(Ok(Body::Process(Process { pid: running.pid, files: running.files, kills, ending, reaped: None })))
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
            Fault::Job(kind) => {
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
            && !self.members.broken
            && step.retry.as_ref().is_some_and(|retry| retry.on.contains(&why))
    }

    /// Ends a try whose time is over or whose job is stopped. Background steps run on until the job's last step.
    pub(super) fn advance_try(&mut self, running: &mut Try) -> TryProgress {
        let is_over = match &mut running.body {
            Body::Process(process) => {
                process.reaped = process.reaped.or_else(|| self.ended.remove(&process.pid));
                process.reaped.is_some()
            }
            Body::Member(member) => {
                let (is_over, limit) = self.refresh_member_try(member);
                running.limit = [running.limit, limit].into_iter().flatten().min();
                is_over
            }
        };
        if running.why.is_none() && !is_over {
            // A member's report may still wait for room in the spool.
            let unheard = matches!(running.body, Body::Member(_)) && !self.members.are_heard();
            let in_time = unheard || running.limit.is_none_or(|limit| Instant::now() < limit);
            running.why = match self.stop {
                Some(Stop::Canceled) if !running.background && !running.after_stop => Some(StepStatus::Canceled),
                Some(Stop::TimedOut) if !running.background && !running.after_stop => Some(StepStatus::TimedOut),
                Some(_) | None if !in_time => Some(StepStatus::TimedOut),
                Some(_) | None if self.members.broken && !running.background && !running.after_break => {
                    Some(StepStatus::Canceled)
                }
                Some(_) | None => None,
            };
        }
        if running.why.is_none() {
            return match &running.body {
                _ if is_over => TryProgress::Over,
                Body::Process(_) => TryProgress::Runs(running.limit),
                Body::Member(member) => TryProgress::Runs(self.member_wakes_at(member, running.limit)),
            };
        }
        match &mut running.body {
            Body::Process(process) => {
                let next = process.ending.advance(is_over);
                if process.ending.is_over() { TryProgress::Over } else { TryProgress::Runs(next) }
            }
            Body::Member(_) if is_over => TryProgress::Over,
            Body::Member(member) => self.end_member_try(member),
        }
    }

    /// Finishes a try: starts the next one, or reports the step's end and returns `None`.
    pub(super) fn finish_try(&mut self, mut running: Try, scope: &mut StepScope<'_>) -> Result<Option<Try>, JobError> {
        let number = running.number;
        let Some(step) = scope.spec.steps.get(usize::from(number)) else { return Ok(None) };
        let (result, written) = self.try_result(&mut running)?;
        if running.dismissed || !self.may_try_again(step, &result, running.attempt) {
            self.finish_step(number, running.started, result, written, scope)?;
            return Ok(None);
        }
        let why = match (result.status, result.exit_code) {
            (StepStatus::TimedOut, _) | (_, None) => "timed out".to_owned(),
            (_, Some(code)) => format!("exited with code {code}"),
        };
        let attempt = running.attempt + 1;
        self.note(number, format!("{why}; retrying (attempt {attempt} of {})", max_tries(step)))?;
        self.start_try(number, running.ready, attempt, running.started, scope)
    }

    /// Returns how a try ended, and the values it passes on.
    fn try_result(&mut self, running: &mut Try) -> Result<(StepResult, WrittenValues), JobError> {
        let number = running.number;
        let (mut result, written) = match &mut running.body {
            Body::Process(process) => {
                self.drain(number)?;
                let mut result = match (&process.reaped, running.why) {
                    (Some(reaped), why) => step_result(reaped, why, 0),
                    // Not even KILL ended it: it hangs in the kernel.
                    (None, why) => StepResult { status: why.unwrap_or(StepStatus::Error), ..skipped_result() },
                };
                let kills = memory::oom_kills();
                if result.status == StepStatus::Failure && memory::rose(process.kills.max(self.kills_reported), kills) {
                    (result.out_of_memory, self.kills_reported) = (true, kills);
                }
                let written = process.files.read();
                if result.out_of_memory {
                    self.note(number, self.runtime.memory.explain())?;
                }
                (result, written)
            }
            Body::Member(member) => {
                let (result, written) = self.member_result(number, member, running.why)?;
                (result, Ok(written))
            }
        };
        if running.dismissed {
            (result.exit_code, result.signal) = (None, None);
        }
        let written = written.and_then(|written| {
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
        if scope.spec.member.is_some() {
            (self.passed_env, self.passed_path) = (written.env.clone(), written.path.clone());
        }
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
pub(super) fn max_tries(step: &StepSpec) -> u32 {
    1 + step.retry.as_ref().map_or(0, |retry| retry.max)
}
