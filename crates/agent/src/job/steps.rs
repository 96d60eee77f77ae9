//! One step: made ready, started, and waited for unless it runs in the background.

use std::time::Instant;

use longshore_agent_protocol::FromAgent;
use longshore_agent_protocol::message::{StepResult, StepSpec, StepStatus};

use super::tries::Course;
use super::{Broken, Job, Stage};
use crate::account::Account;
use crate::clock;
use crate::step::{Ready, Surroundings};
use crate::values::Values;
use crate::verdict::{finished, skipped};

impl Job {
    /// All tries of a step; of one in the background, the first one's start.
    pub(super) fn run_step(&mut self, number: u16, step: &StepSpec, stage: &mut Stage<'_>) -> Result<(), Broken> {
        self.say(&FromAgent::StepStarted { step: number, time_ms: clock::now_ms() })?;
        let started = Instant::now();
        let ready = match self.ready(step, &stage.surroundings, &stage.values) {
            Ok(ready) => ready,
            Err(message) => return self.not_understood(number, step, &message, &mut stage.values),
        };
        let Some(mut running) = self.start_try(number, ready, 1, started, stage)? else { return Ok(()) };
        if step.background {
            self.background.push(running);
            return Ok(());
        }
        loop {
            let beside = self.hear_backgrounds(stage)?;
            match self.go_on(&mut running) {
                Course::Runs(until) => self.turn([until, beside].into_iter().flatten().min())?,
                Course::Over => match self.try_is_over(running, stage)? {
                    Some(again) => running = again,
                    None => return Ok(()),
                },
            }
        }
    }

    /// The step with everything filled in; the error says what cannot be.
    fn ready(&self, step: &StepSpec, surroundings: &Surroundings, values: &Values) -> Result<Ready, String> {
        let (own, within) = values.with_step_env(&step.env).map_err(|error| format!("`env`: {error}"))?;
        let run = step.run.evaluate_script(&within).map_err(|error| format!("`run`: {error}"))?;
        let working_directory = step.working_directory.as_ref().map(|directory| directory.evaluate_script(&within));
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

    /// A step that cannot be said what it is: the pipeline's own doing.
    pub(super) fn not_understood(
        &mut self,
        number: u16,
        step: &StepSpec,
        message: &str,
        values: &mut Values,
    ) -> Result<(), Broken> {
        self.note(number, message.to_owned())?;
        let result = StepResult { status: StepStatus::Error, ..skipped() };
        self.say(&finished(number, result.clone()))?;
        self.conclude(number, step, &result, values);
        Ok(())
    }
}
