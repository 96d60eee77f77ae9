//! One step: made ready, started, waited for, tried again, and told of.

use std::time::{Duration, Instant};

use longshore_agent_protocol::FromAgent;
use longshore_agent_protocol::message::{AgentError, JobSpec, StepResult, StepSpec, StepStatus};
use longshore_core::plan::RetryOn;
use rustix::io::Errno;

use super::background::Background;
use super::{Broken, Job, Stop, later};
use crate::account::Account;
use crate::ending::Ending;
use crate::files::Told;
use crate::step::{Ready, StartError, Surroundings};
use crate::values::Values;
use crate::verdict::{finished, judge, millis, skipped};
use crate::{clock, memory};

impl Job {
    /// All tries of a step; nothing for one that runs on in the background.
    pub(super) fn run_step(
        &mut self,
        number: u16,
        step: &StepSpec,
        spec: &JobSpec,
        surroundings: &Surroundings,
        values: &mut Values,
    ) -> Result<Option<StepResult>, Broken> {
        self.say(&FromAgent::StepStarted { step: number, time_ms: clock::now_ms() })?;
        let started = Instant::now();
        let ready = match self.ready(step, surroundings, values) {
            Ok(ready) => ready,
            Err(message) => return self.not_understood(number, &message).map(Some),
        };
        let tries = 1 + step.retry.as_ref().map_or(0, |retry| retry.max);
        let mut attempt = 1;
        let (mut result, told) = loop {
            let (running, kills) =
                (surroundings.start(number, attempt, &ready, &self.inside.children), memory::kills());
            let running = match running {
                Ok(running) => running,
                Err(error) => match self.not_started(number, &error)? {
                    result if self.tries_again(step, &result, attempt, tries) => {
                        self.note(number, format!("could not start; try {} of {tries}", attempt + 1))?;
                        attempt += 1;
                        continue;
                    }
                    result => break (result, Told::default()),
                },
            };
            self.streams.add(number, false, running.stdout);
            if let Some(stderr) = running.stderr {
                self.streams.add(number, true, stderr);
            }
            if step.background {
                self.background.push(Background { number, pid: running.pid, files: running.files, started });
                return Ok(None);
            }
            let mut result = self.wait_for(number, step, spec, running.pid)?;
            result.out_of_memory = result.status == StepStatus::Failure && memory::rose(kills, memory::kills());
            let told = match running.files.read() {
                Ok(told) => told,
                Err(message) => {
                    self.note(number, message)?;
                    if result.status == StepStatus::Success {
                        (result.status, result.exit_code) = (StepStatus::Failure, Some(1));
                    }
                    Told::default()
                }
            };
            if !self.tries_again(step, &result, attempt, tries) {
                break (result, told);
            }
            let why = match (result.status, result.exit_code) {
                (StepStatus::TimedOut, _) | (_, None) => "ran out of time".to_owned(),
                (_, Some(code)) => format!("ended with exit code {code}"),
            };
            attempt += 1;
            self.note(number, format!("{why}; try {attempt} of {tries}"))?;
        };
        result.wall_ms = millis(started.elapsed());
        (result.outputs, result.summary) = (told.outputs, told.summary);
        self.hide(number, &mut result)?;
        values.add_env(told.env);
        self.path.splice(0..0, told.path);
        self.say(&finished(number, result.clone()))?;
        Ok(Some(result))
    }

    /// The step with everything filled in; the error says what cannot be.
    pub(super) fn ready(&self, step: &StepSpec, surroundings: &Surroundings, values: &Values) -> Result<Ready, String> {
        let (own, within) = values.with_step_env(&step.env).map_err(|error| format!("`env`: {error}"))?;
        let run = step.run.evaluate(&within).map_err(|error| format!("`run`: {error}"))?;
        let working_directory = step.working_directory.as_ref().map(|directory| directory.evaluate(&within));
        let working_directory =
            working_directory.transpose().map_err(|error| format!("`working-directory`: {error}"))?;
        let account = match &step.user {
            Some(user) => Account::lookup(user, &self.inside.options.etc)?,
            None => surroundings.account.clone(),
        };
        let mut env = values.env().clone();
        env.extend(own);
        Ok(Ready {
            run,
            shell: step.shell.clone(),
            working_directory,
            env,
            path: self.path.clone(),
            account,
            terminal: step.tty,
        })
    }

    pub(super) fn tries_again(&self, step: &StepSpec, result: &StepResult, attempt: u32, tries: u32) -> bool {
        let why = match result.status {
            StepStatus::Failure => RetryOn::Failure,
            StepStatus::TimedOut => RetryOn::Timeout,
            StepStatus::Error => RetryOn::Error,
            StepStatus::Success | StepStatus::Skipped | StepStatus::Canceled => return false,
        };
        attempt < tries && self.stop.is_none() && step.retry.as_ref().is_some_and(|retry| retry.on.contains(&why))
    }

    /// Waits for a step's process, and ends it when its time is over or the job is stopped.
    pub(super) fn wait_for(
        &mut self,
        number: u16,
        step: &StepSpec,
        spec: &JobSpec,
        pid: i32,
    ) -> Result<StepResult, Broken> {
        let started = Instant::now();
        // A job that is stopped already ends its `always()` steps by another limit.
        let aftermath = self.aftermath;
        let limit = step.timeout_ms.map(later);
        let limit = [limit, aftermath].into_iter().flatten().min();
        let mut ending = Ending::new(pid, Duration::from_millis(spec.grace_ms));
        let mut why = None;
        let mut reaped = None;
        loop {
            reaped = reaped.or_else(|| self.ended.remove(&pid));
            if why.is_none() && reaped.is_none() {
                why = match self.stop {
                    Some(Stop::Canceled) if aftermath.is_none() => Some(StepStatus::Canceled),
                    Some(Stop::TimedOut) if aftermath.is_none() => Some(StepStatus::TimedOut),
                    _ if limit.is_some_and(|limit| Instant::now() >= limit) => Some(StepStatus::TimedOut),
                    _ => None,
                };
            }
            let next = if why.is_some() { ending.go_on(reaped.is_some()) } else { limit };
            if reaped.is_some() && (why.is_none() || ending.is_over()) {
                break;
            }
            self.turn(next)?;
            self.hear_backgrounds(spec)?;
        }
        let wall_ms = millis(started.elapsed());
        self.drain(number)?;
        let Some(reaped) = reaped else {
            return Err(Broken::new(AgentError::Internal, "a step ended without an end"));
        };
        Ok(judge(&reaped, why, wall_ms))
    }

    /// A step that cannot be said what it is: the pipeline's own doing.
    pub(super) fn not_understood(&mut self, number: u16, message: &str) -> Result<StepResult, Broken> {
        self.note(number, message.to_owned())?;
        let result = StepResult { status: StepStatus::Error, ..skipped() };
        self.say(&finished(number, result.clone()))?;
        Ok(result)
    }

    /// Says why a try did not start. What no step of this job can mend ends the job.
    pub(super) fn not_started(&mut self, number: u16, error: &StartError) -> Result<StepResult, Broken> {
        let text = error.to_string();
        self.note(number, text.clone())?;
        let result = StepResult { status: StepStatus::Error, ..skipped() };
        let kind = match error {
            StartError::NoShell { .. } => AgentError::ImageUnusable,
            StartError::Script { source, .. } if source.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
                AgentError::DiskFull
            }
            StartError::Script { .. } => AgentError::Internal,
            // The pipeline's own doing.
            StartError::NoDirectory { .. }
            | StartError::OutsideDirectory { .. }
            | StartError::Terminal(_)
            | StartError::Spawn(_) => return Ok(result),
        };
        self.say(&finished(number, result))?;
        Err(Broken::new(kind, text))
    }
}
