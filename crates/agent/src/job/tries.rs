//! One try of a step, from its process's start to what it has told: the same for steps that are waited for and those in the background.

use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{StepResult, StepSpec, StepStatus};
use longshore_core::plan::RetryOn;

use super::{Broken, Job, Stage, Stop, later};
use crate::ending::Ending;
use crate::files::{MAX_STRING, StepFiles, Told};
use crate::memory;
use crate::step::Ready;
use crate::sys::Reaped;
use crate::unstarted::{Fault, NOT_STARTED, StartError};
use crate::verdict::{finished, judge, millis, skipped};

/// A try that runs.
#[derive(Debug)]
pub(super) struct Try {
    number: u16,
    background: bool,
    /// From 1.
    attempt: u32,
    /// For the next one.
    ready: Ready,
    /// When the first try began.
    started: Instant,
    pid: i32,
    files: StepFiles,
    /// How often the kernel had killed for memory before.
    kills: Option<u64>,
    limit: Option<Instant>,
    /// The job had been stopped before: another limit ends it.
    after_stop: bool,
    ending: Ending,
    /// Why it is being ended, if it is.
    why: Option<StepStatus>,
    /// It is ended because the job is over, whatever its process makes of that.
    dismissed: bool,
    reaped: Option<Reaped>,
}

/// How far a try is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Course {
    /// Come again then, at the latest.
    Runs(Option<Instant>),
    Over,
}

impl Try {
    /// The job is over: it gets TERM, the grace, then KILL.
    pub(super) fn dismiss(&mut self, why: StepStatus, grace: Duration) {
        if self.why.is_none() {
            (self.why, self.dismissed) = (Some(why), true);
            self.ending = Ending::new(self.pid, grace);
        }
    }
}

impl Job {
    /// Starts a try, or a later one where this cannot be started. Nothing: none could, and the step is over.
    pub(super) fn start_try(
        &mut self,
        number: u16,
        ready: Ready,
        mut attempt: u32,
        started: Instant,
        stage: &mut Stage<'_>,
    ) -> Result<Option<Try>, Broken> {
        let Some(step) = stage.spec.steps.get(usize::from(number)) else { return Ok(None) };
        loop {
            let kills = memory::kills();
            let error = match stage.surroundings.start(number, attempt, &ready, &self.inside.children) {
                Ok(running) => {
                    self.streams.add(number, false, running.stdout);
                    if let Some(stderr) = running.stderr {
                        self.streams.add(number, true, stderr);
                    }
                    let aftermath = self.aftermath.filter(|_| !step.background);
                    return Ok(Some(Try {
                        number,
                        background: step.background,
                        attempt,
                        ready,
                        started,
                        pid: running.pid,
                        files: running.files,
                        kills,
                        limit: [step.timeout_ms.map(later), aftermath].into_iter().flatten().min(),
                        after_stop: self.stop.is_some(),
                        ending: Ending::new(running.pid, Duration::from_millis(stage.spec.grace_ms)),
                        why: None,
                        dismissed: false,
                        reaped: None,
                    }));
                }
                Err(error) => error,
            };
            let result = self.not_started(number, &error)?;
            if !self.tries_again(step, &result, attempt) {
                self.step_is_over(number, started, result, Told::default(), stage)?;
                return match error.fault() {
                    Fault::Passing(kind) => Err(Broken::new(kind, error.to_string())),
                    Fault::Commands | Fault::Ours(_) => Ok(None),
                };
            }
            attempt += 1;
            self.note(number, format!("could not start; try {attempt} of {}", tries(step)))?;
        }
    }

    /// Says why a try did not start. What no other try can mend and is not the command's doing ends the job.
    fn not_started(&mut self, number: u16, error: &StartError) -> Result<StepResult, Broken> {
        let text = error.to_string();
        self.note(number, text.clone())?;
        let unstarted = StepResult { status: StepStatus::Error, ..skipped() };
        match error.fault() {
            Fault::Commands => {
                Ok(StepResult { status: StepStatus::Failure, exit_code: Some(NOT_STARTED), ..unstarted })
            }
            Fault::Passing(_) => Ok(unstarted),
            Fault::Ours(kind) => {
                self.say(&finished(number, unstarted))?;
                Err(Broken::new(kind, text))
            }
        }
    }

    /// Whether another try may follow one that ended so.
    fn tries_again(&self, step: &StepSpec, result: &StepResult, attempt: u32) -> bool {
        let why = match result.status {
            StepStatus::Failure => RetryOn::Failure,
            StepStatus::TimedOut => RetryOn::Timeout,
            StepStatus::Error => RetryOn::Error,
            StepStatus::Success | StepStatus::Skipped | StepStatus::Canceled => return false,
        };
        attempt < tries(step) && self.stop.is_none() && step.retry.as_ref().is_some_and(|retry| retry.on.contains(&why))
    }

    /// Ends a try whose time is over, or whose job is stopped. Steps in the background go on until the job's last step.
    pub(super) fn go_on(&mut self, running: &mut Try) -> Course {
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
            return if running.reaped.is_some() { Course::Over } else { Course::Runs(running.limit) };
        }
        let next = running.ending.go_on(running.reaped.is_some());
        if running.ending.is_over() { Course::Over } else { Course::Runs(next) }
    }

    /// What becomes of a step whose try is over: the next try, or nothing more.
    pub(super) fn try_is_over(&mut self, running: Try, stage: &mut Stage<'_>) -> Result<Option<Try>, Broken> {
        let number = running.number;
        let Some(step) = stage.spec.steps.get(usize::from(number)) else { return Ok(None) };
        let (result, told) = self.result_of(&running)?;
        if running.dismissed || !self.tries_again(step, &result, running.attempt) {
            self.step_is_over(number, running.started, result, told, stage)?;
            return Ok(None);
        }
        let why = match (result.status, result.exit_code) {
            (StepStatus::TimedOut, _) | (_, None) => "ran out of time".to_owned(),
            (_, Some(code)) => format!("ended with exit code {code}"),
        };
        let attempt = running.attempt + 1;
        self.note(number, format!("{why}; try {attempt} of {}", tries(step)))?;
        self.start_try(number, running.ready, attempt, running.started, stage)
    }

    /// How a try ended, and what it has told.
    fn result_of(&mut self, running: &Try) -> Result<(StepResult, Told), Broken> {
        let number = running.number;
        self.drain(number)?;
        let mut result = match (&running.reaped, running.why) {
            (Some(reaped), why) => judge(reaped, why, 0),
            // Not even KILL ended it: it hangs in the kernel.
            (None, why) => StepResult { status: why.unwrap_or(StepStatus::Error), ..skipped() },
        };
        if running.dismissed {
            (result.exit_code, result.signal) = (None, None);
        }
        let kills = memory::kills();
        if result.status == StepStatus::Failure && memory::rose(running.kills.max(self.kills_told), kills) {
            (result.out_of_memory, self.kills_told) = (true, kills);
        }
        let told = running.files.read().and_then(|told| {
            let length: usize = self.path.iter().chain(&told.path).map(|folder| folder.len() + 1).sum();
            if length > MAX_STRING / 2 {
                return Err(format!(
                    "LONGSHORE_PATH makes PATH {length} bytes long, and steps may put 64 KiB before it"
                ));
            }
            Ok(told)
        });
        match told {
            Ok(told) => Ok((result, told)),
            Err(message) => {
                self.note(number, message)?;
                if result.status == StepStatus::Success {
                    (result.status, result.exit_code) = (StepStatus::Failure, Some(1));
                }
                Ok((result, Told::default()))
            }
        }
    }

    /// The end of every step that was to run, of whichever kind: what it has told is there for those after it.
    fn step_is_over(
        &mut self,
        number: u16,
        started: Instant,
        mut result: StepResult,
        told: Told,
        stage: &mut Stage<'_>,
    ) -> Result<(), Broken> {
        result.wall_ms = millis(started.elapsed());
        (result.outputs, result.summary) = (told.outputs, told.summary);
        self.hide(number, &mut result)?;
        stage.values.add_env(told.env);
        self.path.splice(0..0, told.path);
        self.say(&finished(number, result.clone()))?;
        if let Some(step) = stage.spec.steps.get(usize::from(number)) {
            self.conclude(number, step, &result, &mut stage.values);
        }
        Ok(())
    }
}

/// How often a step may be tried.
fn tries(step: &StepSpec) -> u32 {
    1 + step.retry.as_ref().map_or(0, |retry| retry.max)
}
