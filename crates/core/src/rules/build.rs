//! The state of a build: its status and its reason follow from its jobs.

use super::state::build_status;
use crate::Status;

/// Why a build ends before any of its jobs is created.
pub const HAS_ERRORS: &str = "the pipeline has errors";

/// The most jobs that a reason names.
const MAX_NAMED_JOBS: usize = 2;

/// The part of a job that its build depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOfBuild {
    pub name: String,
    pub status: Status,
    pub reason: Option<String>,
    /// Its failure does not fail the build.
    pub continue_on_error: bool,
}

/// The state of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStanding {
    pub status: Status,
    /// Why it ended this way, or what it waits for.
    pub reason: Option<String>,
    /// One of its jobs is running.
    pub runs: bool,
}

/// Returns the state of a build with these jobs, which are in the plan's order.
#[must_use]
pub fn standing(jobs: &[JobOfBuild]) -> BuildStanding {
    let is_passed_over = |job: &JobOfBuild| {
        job.continue_on_error && matches!(job.status, Status::Failure | Status::Error | Status::TimedOut)
    };
    let counts_as = |job: &JobOfBuild| if is_passed_over(job) { Status::Success } else { job.status };
    let status = build_status(jobs.iter().map(counts_as));
    let runs = jobs.iter().any(|job| matches!(job.status, Status::Running | Status::Canceling));
    let all = |wanted: &[Status]| list(jobs.iter().filter(|job| wanted.contains(&counts_as(job))));
    let reason = match status {
        Status::Success => passed_over(jobs.iter().filter(|job| is_passed_over(job))),
        // Nothing of it is in progress: the reason says what it waits for.
        Status::Running if !jobs.iter().any(|job| matches!(job.status, Status::Queued | Status::Running)) => {
            all(&[Status::Blocked])
        }
        Status::Queued | Status::Running | Status::Canceling => None,
        Status::Failure | Status::Error | Status::TimedOut => all(&[Status::Failure, Status::Error, Status::TimedOut]),
        Status::Blocked | Status::Canceled | Status::Skipped => all(&[status]),
    };
    BuildStanding { status, reason, runs }
}

/// Names jobs with their reasons.
fn list<'a>(jobs: impl Iterator<Item = &'a JobOfBuild>) -> Option<String> {
    let reasons: Vec<String> =
        jobs.filter_map(|job| Some(format!("{}: {}", job.name, job.reason.as_deref()?))).collect();
    let named = reasons.iter().take(MAX_NAMED_JOBS).map(String::as_str).collect::<Vec<_>>().join("; ");
    match reasons.len() {
        0 => None,
        all if all > MAX_NAMED_JOBS => Some(format!("{named}; and {} more", all - MAX_NAMED_JOBS)),
        _ => Some(named),
    }
}

fn passed_over<'a>(mut failed: impl Iterator<Item = &'a JobOfBuild>) -> Option<String> {
    let first = failed.next()?;
    let more = match failed.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("allowed to fail: {}{more}: {}", first.name, first.reason.as_deref()?))
}
