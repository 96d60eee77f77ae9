//! A step.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::job::Retry;
use super::values::{Condition, Duration, Env, Flag, OneOrMore, Text};

/// One script, or one container on the same workspace.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["run"] }, { "required": ["image"] }]))]
pub(super) struct Step {
    /// What people read; the script's first line without it.
    name: Option<Text>,
    /// Its name in `steps.<id>`.
    id: Option<String>,
    /// The script, run by the shell so that it ends at the first command that fails.
    run: Option<Text>,
    /// When the step runs: `success()` without it.
    r#if: Option<Condition>,
    /// Environment variables of this step.
    env: Option<Env>,
    /// `sh`, `bash`, or a program with its arguments, such as `python3 -u`.
    shell: Option<Text>,
    /// Relative to the workspace, or absolute.
    working_directory: Option<Text>,
    /// How long the step may take.
    timeout: Option<Duration>,
    /// Whether the job goes on, and may succeed, when this step fails.
    continue_on_error: Option<Flag>,
    /// How often it is tried again.
    retry: Option<Retry>,
    /// A container of its own; without `run` the image's own program runs.
    image: Option<Text>,
    /// Settings of a plugin: `PLUGIN_*`.
    with: Option<BTreeMap<String, Value>>,
    /// Instead of the image's.
    entrypoint: Option<OneOrMore>,
    /// Instead of the image's.
    command: Option<OneOrMore>,
    /// Who it runs as.
    user: Option<Text>,
    /// Whether it has a terminal.
    tty: Option<bool>,
    /// Whether the next step starts at once; it ends with the job.
    background: Option<bool>,
}
