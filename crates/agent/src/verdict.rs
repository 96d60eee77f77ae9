//! Derives a step's result from the end of its process, and the job's result from a step's. Pure; called by `job`.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_agent_protocol::message::{FromAgent, JobResult, StepResult, StepSpec, StepStatus};

use crate::clock;
use crate::start_error::NOT_STARTED;
use crate::sys::{End, Reaped};

/// Returns the result of a step whose process ended; `why` is set if the agent ended it.
pub(crate) fn step_result(reaped: &Reaped, why: Option<StepStatus>, wall_ms: u64) -> StepResult {
    let (exit_code, signal) = match reaped.end {
        End::Exited(code) => (code, None),
        End::Signaled(signal) => (128 + signal, Some(signal)),
    };
    let own = if exit_code == 0 { StepStatus::Success } else { StepStatus::Failure };
    StepResult {
        status: why.unwrap_or(own),
        exit_code: Some(exit_code),
        signal,
        wall_ms,
        cpu_ms: reaped.cpu_ms,
        peak_memory_bytes: reaped.peak_memory_bytes,
        out_of_memory: false,
        outputs: BTreeMap::new(),
        summary: String::new(),
    }
}

/// Returns the result of a step that did not run.
pub(crate) const fn skipped_result() -> StepResult {
    StepResult {
        status: StepStatus::Skipped,
        exit_code: None,
        signal: None,
        wall_ms: 0,
        cpu_ms: 0,
        peak_memory_bytes: 0,
        out_of_memory: false,
        outputs: BTreeMap::new(),
        summary: String::new(),
    }
}

/// Returns the job's failure after this step; `None` if the step does not fail the job.
pub(crate) fn job_failure(number: u16, step: &StepSpec, result: &StepResult) -> Option<JobResult> {
    match result.status {
        StepStatus::Success | StepStatus::Skipped | StepStatus::Canceled => None,
        StepStatus::TimedOut => Some(JobResult::TimedOut { limit_ms: step.timeout_ms.unwrap_or(result.wall_ms) }),
        StepStatus::Failure | StepStatus::Error => Some(JobResult::Failure {
            step: number,
            exit_code: result.exit_code.unwrap_or(NOT_STARTED),
            out_of_memory: result.out_of_memory,
        }),
    }
}

/// Builds the message with a step's result.
pub(crate) fn step_finished(step: u16, result: StepResult) -> FromAgent {
    FromAgent::StepFinished { step, time_ms: clock::now_ms(), result }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
