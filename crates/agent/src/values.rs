//! The values that a job's expressions can use, as they stand between two steps.
//!
//! Owned by `job`, which reports the ends of steps. What the runner knew came with the plan; only the agent knows
//! `steps`, `env`, files and the progress so far.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore_agent_protocol::message::{StepResult, StepStatus};
use longshore_core::expression::{Context, EvalError, Progress, Value};
use longshore_core::template::Template;

use crate::hash_files::hash_files;

/// The contexts of a job.
#[derive(Debug)]
pub(crate) struct Values {
    contexts: BTreeMap<String, Value>,
    steps: BTreeMap<String, Value>,
    env: BTreeMap<String, String>,
    progress: Progress,
    workspace: PathBuf,
}

impl Values {
    /// Returns the values before the first step.
    pub(crate) fn new(known: BTreeMap<String, Value>, workspace: PathBuf) -> Self {
        let mut values = Self {
            contexts: known,
            steps: BTreeMap::new(),
            env: BTreeMap::new(),
            progress: Progress::default(),
            workspace,
        };
        values.contexts.insert("steps".to_owned(), Value::Map(BTreeMap::new()));
        values.contexts.insert("env".to_owned(), Value::Map(BTreeMap::new()));
        values
    }

    /// Sets the progress so far.
    pub(crate) fn set_progress(&mut self, failed: bool, canceled: bool) {
        self.progress = Progress { failed, canceled, skipped: false };
    }

    /// Returns the job's variables: its own, and those that steps have added.
    pub(crate) const fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    pub(crate) fn add_env(&mut self, env: BTreeMap<String, String>) {
        self.env.extend(env);
        self.contexts.insert("env".to_owned(), Value::map(self.env.clone()));
    }

    /// Records a step's end in `steps.<id>`. `outcome` is the step's own end, `conclusion` its meaning for the job.
    pub(crate) fn step_ended(&mut self, id: Option<&str>, result: &StepResult, continue_on_error: bool) {
        let Some(id) = id else { return };
        let outcome = status_word(result.status);
        let conclusion = match result.status {
            StepStatus::Failure | StepStatus::Error | StepStatus::TimedOut if continue_on_error => "success",
            _ => outcome,
        };
        let step = Value::map([
            ("outputs", Value::map(result.outputs.clone())),
            ("outcome", outcome.into()),
            ("conclusion", conclusion.into()),
        ]);
        self.steps.insert(id.to_owned(), step);
        self.contexts.insert("steps".to_owned(), Value::Map(self.steps.clone()));
    }

    /// Evaluates a step's variables, each of which sees the job's. Returns them, and a view of the contexts that
    /// includes them.
    pub(crate) fn with_step_env(
        &self,
        env: &BTreeMap<String, Template>,
    ) -> Result<(BTreeMap<String, String>, ValuesWithStepEnv<'_>), EvalError> {
        let mut filled = BTreeMap::new();
        for (name, value) in env {
            filled.insert(name.clone(), value.evaluate(self)?);
        }
        let mut all = self.env.clone();
        all.extend(filled.clone());
        Ok((filled, ValuesWithStepEnv { values: self, env: Value::map(all) }))
    }
}

const fn status_word(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Success => "success",
        StepStatus::Failure => "failure",
        StepStatus::Error => "error",
        StepStatus::Skipped => "skipped",
        StepStatus::Canceled => "canceled",
        StepStatus::TimedOut => "timed-out",
    }
}

impl Context for Values {
    fn context(&self, name: &str) -> Option<&Value> {
        self.contexts.get(name)
    }

    fn progress(&self) -> Option<Progress> {
        Some(self.progress)
    }

    fn hash_files(&self, patterns: &[String]) -> Option<Result<String, String>> {
        Some(hash_files(&self.workspace, patterns))
    }

    fn has_files(&self) -> bool {
        true
    }
}

/// The contexts with a step's own variables in `env`.
#[derive(Debug)]
pub(crate) struct ValuesWithStepEnv<'a> {
    values: &'a Values,
    env: Value,
}

impl Context for ValuesWithStepEnv<'_> {
    fn context(&self, name: &str) -> Option<&Value> {
        if name == "env" { Some(&self.env) } else { self.values.context(name) }
    }

    fn progress(&self) -> Option<Progress> {
        self.values.progress()
    }

    fn hash_files(&self, patterns: &[String]) -> Option<Result<String, String>> {
        self.values.hash_files(patterns)
    }

    fn has_files(&self) -> bool {
        true
    }
}
