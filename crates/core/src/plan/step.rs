//! A step of a job, and the steps that it waits for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{JobPlan, PullPolicy, Retry, is_false};
use crate::{expression::Expression, template::Template};

/// One command of a job, or one container beside it on the same workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepPlan {
    /// The step's name in `steps.<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name for people: `name`, or the script's first line, or the image.
    pub name: String,
    /// The script. Without one, the image's own program runs, as a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Template>,
    /// The step's own variables, which override the job's.
    pub env: BTreeMap<String, Template>,
    /// Relative to the workspace, or absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<Template>,
    /// `sh`, `bash` or a program with its arguments, such as `python3 -u`.
    pub shell: String,
    /// `if`. [`runs`](crate::expression::runs) decides for steps without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Expression>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub continue_on_error: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The image of a separate container for the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Template>,
    /// When its registry is asked for it; by default, as for the job's own image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullPolicy>,
    /// The `PLUGIN_*` variables of a step with its own image, by their names in the file. Lists are joined by commas.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Template>,
    /// The user to run as: names or numbers of the image, `user` or `user:group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether the step gets a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Whether the next step starts at once. A background step ends with the job.
    #[serde(default, skip_serializing_if = "is_false")]
    pub background: bool,
    /// The background steps that it waits for. Such a step runs nothing itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
}

impl JobPlan {
    /// Returns the steps before the one at a position.
    #[must_use]
    pub fn steps_before(&self, at: usize) -> &[StepPlan] {
        self.steps.get(..at).unwrap_or_default()
    }
}

/// The background steps that a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// All that come before it.
    All,
    /// Those with these names in `steps.<id>`.
    Steps(Vec<String>),
}

impl Wait {
    /// Returns the positions of the background steps among `before` that it waits for.
    pub fn positions<'a>(&'a self, before: &'a [StepPlan]) -> impl Iterator<Item = u16> + 'a {
        (0..).zip(before).filter(|(_, step)| self.includes(step)).map(|(at, _)| at)
    }

    /// Returns whether it waits for that step.
    #[must_use]
    pub fn includes(&self, step: &StepPlan) -> bool {
        step.background
            && match self {
                Self::All => true,
                Self::Steps(ids) => step.id.as_ref().is_some_and(|id| ids.contains(id)),
            }
    }
}
