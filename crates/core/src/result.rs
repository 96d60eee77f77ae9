//! The results of steps and jobs, as an agent reports them. Agent, executor, scheduler and store share these types.
//!
//! They are written as JSON into frames and log files, so new fields need a default and none may be renamed.
//! [`Outcome`](crate::Outcome) decides what a result means for a job's status.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Status;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    pub status: StepStatus,
    /// 128 + n if signal n ended it; `None` if it did not run.
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub wall_ms: u64,
    /// User and system time of those of the step's processes that were waited for.
    pub cpu_ms: u64,
    /// The peak resident memory of its largest process.
    pub peak_memory_bytes: u64,
    pub out_of_memory: bool,
    /// What the step wrote to `LONGSHORE_OUTPUT`, except outputs that would reveal a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// The Markdown that the step wrote to `LONGSHORE_SUMMARY`, masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

/// A step's final status.
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
    /// Returns the word used in the API and the database.
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
    /// `step` is the index of the first step that failed, from 0.
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

/// The kind of an error in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentError {
    /// The image lacks the shell or the user.
    ImageUnusable,
    /// The checkout could not be unpacked.
    CheckoutFailed,
    DiskFull,
    /// An expression of the job has no value.
    Expression,
    /// A service ended early, could not be started, or was not ready in time.
    ServiceFailed,
    /// The container of a step could not be started, or ended before its step did.
    ContainerFailed,
    /// What the job was to leave exceeds a limit, or nobody took it.
    ArtifactsFailed,
    /// Another protocol version, or a plan that cannot be read.
    Protocol,
    Internal,
}
