//! Runs one step: prepares it, starts it, and waits for it unless it runs in the background.

use std::time::Instant;

use longshore_agent_protocol::FromAgent;
use longshore_agent_protocol::message::{MemberPurpose, StepResult, StepSpec, StepStatus};
use longshore_core::template::Template;

use super::tries::TryProgress;
use super::{Job, JobError, StepScope};
use crate::account;
use crate::clock;
use crate::step::{PreparedStep, Program};
use crate::values::Values;
use crate::verdict::{skipped_result, step_finished};

impl Job {
    /// Runs all tries of a step. For a background step, only starts the first try.
    pub(super) fn run_step(&mut self, number: u16, step: &StepSpec, scope: &mut StepScope<'_>) -> Result<(), JobError> {
        self.send(&FromAgent::StepStarted { step: number, time_ms: clock::now_ms() })?;
        let started = Instant::now();
        if !step.wait.is_empty() {
            return self.wait_for_steps(number, step, started, scope);
        }
        let ready = match self.evaluate_step(step, scope) {
            Ok(ready) => ready,
            Err(message) => return self.fail_unevaluated_step(number, step, &message, &mut scope.values),
        };
        let prepared = matches!(scope.spec.member, Some(MemberPurpose::Service { .. })).then(|| ready.clone());
        let Some(mut running) = self.start_try(number, ready, 1, started, scope)? else { return Ok(()) };
        if let Some(prepared) = prepared {
            self.watch_readiness(&prepared, scope)?;
        }
        if step.background {
            self.background.push(running);
            return Ok(());
        }
        loop {
            let background_deadline = self.advance_background_steps(scope)?;
            match self.advance_try(&mut running) {
                TryProgress::Runs(until) => self.turn([until, background_deadline].into_iter().flatten().min())?,
                TryProgress::Over => match self.finish_try(running, scope)? {
                    Some(again) => running = again,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Evaluates everything in the step. The error names what has no value.
    fn evaluate_step(&self, step: &StepSpec, scope: &StepScope<'_>) -> Result<PreparedStep, String> {
        let StepScope { spec, launcher, values } = scope;
        let (step_env, values_in_step) = values.with_step_env(&step.env).map_err(|error| format!("`env`: {error}"))?;
        let run = step.run.evaluate_script(&values_in_step).map_err(|error| format!("`run`: {error}"))?;
        let image = step.image.as_ref().map(|image| image.evaluate_script(&values_in_step));
        let image = image.transpose().map_err(|error| format!("`image`: {error}"))?;
        let words = |what: &str, texts: &[Template]| {
            let texts: Result<Vec<_>, _> = texts.iter().map(|text| text.evaluate_script(&values_in_step)).collect();
            texts.map_err(|error| format!("`{what}`: {error}"))
        };
        let program = match &step.program {
            Some(program) => Some(Program {
                entrypoint: words("entrypoint", &program.entrypoint)?,
                command: words("command", &program.command)?,
            }),
            None => None,
        };
        let working_directory =
            step.working_directory.as_ref().map(|directory| directory.evaluate_script(&values_in_step));
        let working_directory =
            working_directory.transpose().map_err(|error| format!("`working-directory`: {error}"))?;
        let account = match &step.user {
            // Another image has other users.
            Some(user) if step.image.is_none() => account::lookup(user, &self.runtime.options.etc)?,
            Some(_) | None => launcher.account.clone(),
        };
        let mut env = values.env().clone();
        env.extend(step_env);
        Ok(PreparedStep {
            run,
            shell: step.shell.clone(),
            working_directory,
            env,
            path: self.path.clone(),
            account,
            terminal: step.tty,
            program,
            image,
            plain_environment: matches!(spec.member, Some(MemberPurpose::Service { .. })),
        })
    }

    /// Reports a step whose texts cannot be evaluated. That is the pipeline's fault.
    pub(super) fn fail_unevaluated_step(
        &mut self,
        number: u16,
        step: &StepSpec,
        message: &str,
        values: &mut Values,
    ) -> Result<(), JobError> {
        self.note(number, message.to_owned())?;
        let result = StepResult { status: StepStatus::Error, ..skipped_result() };
        self.send(&step_finished(number, result.clone()))?;
        self.record_step_end(number, step, &result, values);
        Ok(())
    }
}
