//! How steps and jobs end, as an agent reports it: the words that agent, executor, scheduler and store share.
//!
//! Written as JSON in frames and in log files: fields are added with a default, and none is renamed. What an end means for a
//! job's status is [`Outcome`](crate::Outcome)'s to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Status;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    pub status: StepStatus,
    /// 128 + n when ended by signal n; absent when it did not run.
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub wall_ms: u64,
    /// User and system time of the step's processes that were waited for.
    pub cpu_ms: u64,
    /// Peak resident memory of its largest process.
    pub peak_memory_bytes: u64,
    pub out_of_memory: bool,
    /// What it wrote to `LONGSHORE_OUTPUT`, without what would show a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// What it wrote to `LONGSHORE_SUMMARY`, masked: Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

/// A step's end in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepStatus {
    Success,
    Failure,
    /// The agent could not start it.
    Error,
    Skipped,
    Canceled,
    TimedOut,
}

impl From<StepStatus> for Status {
    fn from(status: StepStatus) -> Self {
        match status {
            StepStatus::Success => Self::Success,
            StepStatus::Failure => Self::Failure,
            StepStatus::Error => Self::Error,
            StepStatus::Skipped => Self::Skipped,
            StepStatus::Canceled => Self::Canceled,
            StepStatus::TimedOut => Self::TimedOut,
        }
    }
}

impl StepStatus {
    /// The word, as everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Status::from(self).as_str()
    }
}

/// How the job ended, as the agent saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum JobResult {
    Success,
    /// `step` is the first that failed, by its place from 0.
    Failure {
        step: u16,
        exit_code: i32,
        out_of_memory: bool,
    },
    TimedOut {
        limit_ms: u64,
    },
    Canceled,
    /// The job could not be run as planned.
    Error {
        kind: AgentError,
        message: String,
    },
}

/// What of ours went wrong in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentError {
    /// No shell, or no such user, in the image.
    ImageUnusable,
    /// The checkout could not be unpacked.
    CheckoutFailed,
    DiskFull,
    /// What an expression of the job asks for has no value.
    Expression,
    /// Another protocol version, a plan that cannot be read.
    Protocol,
    Internal,
}
