//! What a process's end means for its step, and a step's end for its job. Pure; called by `job`.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_agent_protocol::message::{FromAgent, JobResult, StepResult, StepSpec, StepStatus};

use crate::clock;
use crate::sys::{End, Reaped};
use crate::unstarted::NOT_STARTED;

/// The result of a step whose process ended; `why` says if it was ended by us.
pub(crate) fn judge(reaped: &Reaped, why: Option<StepStatus>, wall_ms: u64) -> StepResult {
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

/// The result of a step that did not run.
pub(crate) const fn skipped() -> StepResult {
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

/// What the job's result is if nothing worse comes after this step.
pub(crate) fn failure_of(number: u16, step: &StepSpec, result: &StepResult) -> Option<JobResult> {
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

/// The message that says a step's result.
pub(crate) fn finished(step: u16, result: StepResult) -> FromAgent {
    FromAgent::StepFinished { step, time_ms: clock::now_ms(), result }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
