//! The attempts of a job that may be tried again: the result of each, and the job as an earlier attempt left it.

use longshore_core::{JobId, Status, Timestamp};
use longshore_files::logs::{Border, Outline};

use crate::{
    error::ApiError,
    pages::show::address,
    views::{AttemptView, JobView, StepView},
};

/// An attempt in the list.
#[derive(Debug)]
pub(super) struct AttemptRow {
    pub(super) number: u32,
    pub(super) status: Status,
    pub(super) reason: Option<String>,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) address: String,
}

/// Returns all attempts; none for a job that was tried once.
pub(super) fn list(job: &JobView) -> Vec<AttemptRow> {
    let mut rows: Vec<AttemptRow> = job
        .attempts
        .iter()
        .map(|ended| AttemptRow {
            number: ended.attempt,
            status: ended.status,
            reason: ended.reason.clone(),
            from: ended.claimed_at,
            to: Some(ended.finished_at),
            address: attempt_address(job.id, earlier(job, ended.attempt)),
        })
        .collect();
    if rows.last().is_some_and(|last| last.number < job.attempt) {
        rows.push(AttemptRow {
            number: job.attempt,
            status: job.status,
            reason: job.reason.clone(),
            from: job.claimed_at,
            to: job.finished_at,
            address: attempt_address(job.id, None),
        });
    }
    if rows.len() < 2 {
        rows.clear();
    }
    rows
}

/// Returns the attempt's number, `None` if it is the newest one.
pub(super) fn earlier(job: &JobView, attempt: u32) -> Option<u32> {
    Some(attempt).filter(|attempt| *attempt != job.attempt.max(1))
}

fn attempt_address(job: JobId, earlier: Option<u32>) -> String {
    let attempt = earlier.map(|attempt| attempt.to_string()).unwrap_or_default();
    address(&format!("/jobs/{job}"), &[("attempt", &attempt)])
}

/// Returns the job as an earlier attempt left it. Only its log tells what became of its steps.
pub(super) fn as_left_by(mut job: JobView, attempt: u32, outline: &Outline) -> Result<JobView, ApiError> {
    let at =
        job.attempts.iter().position(|ended| ended.attempt == attempt).ok_or_else(|| ApiError::not_found("attempt"))?;
    let AttemptView { status, reason, exit_code, claimed_at, started_at, finished_at, .. } = job.attempts.remove(at);
    let of_step = |step: StepView| {
        let border = |begins: bool| {
            let is_its = |border: &&Border| border.begins == begins && u32::from(border.step) + 1 == step.number;
            outline.borders.iter().find(is_its)
        };
        let (began, ended) = (border(true), border(false));
        let end = ended.and_then(|border| border.end.as_ref());
        StepView {
            status: match (end, began) {
                (Some(end), _) => end.status,
                (None, Some(_)) => status,
                (None, None) => Status::Skipped,
            },
            exit_code: end.and_then(|end| end.exit_code),
            started_at: began.map(|border| border.time),
            finished_at: began.map(|_| ended.map_or(finished_at, |border| border.time)),
            number: step.number,
            name: step.name,
            signal: None,
            wall_ms: None,
            cpu_ms: None,
            peak_memory_bytes: None,
            out_of_memory: false,
            ready_at: None,
            image: None,
            summary: None,
        }
    };
    let [steps, services] = [std::mem::take(&mut job.steps), std::mem::take(&mut job.services)]
        .map(|steps| steps.into_iter().map(of_step).collect());
    let finished_at = Some(finished_at);
    Ok(JobView { status, reason, exit_code, attempt, claimed_at, started_at, finished_at, steps, services, ..job })
}
