//! A step.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::job::{Pull, Retry};
use super::values::{Condition, Duration, Env, Flag, OneOrMany, Text, Wait};

/// One script, or one container on the same workspace.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["run"] }, { "required": ["image"] }, { "required": ["wait"] }]))]
pub(super) struct Step {
    /// The name that people read; by default the first line of the script.
    name: Option<Text>,
    /// Its name in `steps.<id>`.
    id: Option<String>,
    /// The script. The shell stops at the first command that fails.
    run: Option<Text>,
    /// When the step runs; by default `success()`.
    r#if: Option<Condition>,
    /// Environment variables of this step.
    env: Option<Env>,
    /// `sh`, `bash`, or a program with its arguments, such as `python3 -u`.
    shell: Option<Text>,
    /// The directory the step runs in, relative to the workspace or absolute.
    working_directory: Option<Text>,
    /// How long the step may take.
    timeout: Option<Duration>,
    /// Whether the job goes on, and can succeed, when this step fails.
    continue_on_error: Option<Flag>,
    /// How often the step is attempted again.
    retry: Option<Retry>,
    /// Runs the step in a container of its own; without `run`, the image's own program runs.
    image: Option<Text>,
    /// When the registry is asked for the image; by default as for the job's.
    pull: Option<Pull>,
    /// Settings of a plugin, which gets them as `PLUGIN_*`.
    with: Option<BTreeMap<String, Value>>,
    /// Replaces the image's entrypoint.
    entrypoint: Option<OneOrMany<Text>>,
    /// Replaces the image's command.
    command: Option<OneOrMany<Text>>,
    /// The user it runs as.
    user: Option<Text>,
    /// Whether it has a terminal.
    tty: Option<bool>,
    /// Whether the next step starts at once; the step then ends with the job.
    background: Option<bool>,
    /// Instead of running anything, waits for these steps in the background; `true` for all that come before.
    wait: Option<Wait>,
}
