//! Finds the last lines of jobs that failed, for their build's page, and the line that such a job's page opens at.
//!
//! A page has a budget. The first jobs that failed share it, each with the end of the step that failed.

use std::collections::HashMap;

use longshore_core::{JobId, Status};
use longshore_files::logs::{
    LineRange, LogLine, MAX_LINES, Mark, MarkKind, Outline,
    ansi::{Piece, pieces},
};
use longshore_store::logs;

use super::{log_row::Row, site::Site};
use crate::{
    error::ApiError,
    views::{JobView, StepView},
};

/// How many jobs show their last lines.
const MAX_JOBS: usize = 6;
/// How many jobs name their first error.
const MAX_ERRORS: usize = 12;
const SHOWN_LINES: u64 = 20;
/// How many bytes their markup takes together, approximately.
const MARKUP_BYTES: usize = 11 << 10;
/// How many bytes of one line are shown.
const MAX_LINE_BYTES: usize = 300;

/// The first error that a job's log has in the step that failed.
#[derive(Debug)]
pub(crate) struct FirstError {
    pub(crate) job: JobId,
    pub(crate) job_name: String,
    pub(crate) line: u64,
    /// Its text, without colours.
    pub(crate) text: String,
}

/// The end of a job's log.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The line that says why: the first error of the step, else its last line. `None` if the step printed nothing.
    pub(crate) line: Option<u64>,
    /// The step that failed, if one did.
    pub(crate) step: Option<String>,
    pub(crate) rows: Vec<Row>,
}

impl Tail {
    pub(super) fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.to_string().len()).sum()
    }
}

/// Returns the ends of the logs of the first jobs that failed, and the first error of each that has one.
pub(crate) async fn load_tails(
    site: &Site,
    jobs: &[JobView],
) -> Result<(HashMap<JobId, Tail>, Vec<FirstError>), ApiError> {
    let (mut tails, mut errors) = (HashMap::new(), Vec::new());
    let mut bytes = 0;
    for (at, job) in jobs.iter().filter(|job| has_failed(job)).take(MAX_ERRORS).enumerate() {
        let outline = logs::outline(&site.store, job.id, None).await?;
        let Some(failing) = find_failing(job, &outline) else { continue };
        let error = first_error(&failing, &outline);
        errors.extend(error.map(|mark| FirstError {
            job: job.id,
            job_name: job.name.clone(),
            line: mark.n,
            text: without_colours(&mark.text),
        }));
        if at >= MAX_JOBS {
            continue;
        }
        let mut lines = last_lines(site, job, &failing, SHOWN_LINES).await?;
        // Other steps ran at the same time, and their lines stand between those of this step.
        if (lines.len() as u64) < SHOWN_LINES.min(failing.count()) {
            lines = last_lines(site, job, &failing, MAX_LINES).await?;
        }
        let last = lines.last().map(|line| line.n);
        let row = |line| Row {
            line,
            elsewhere: Some(format!("{}/jobs/{}", site.base(), job.id)),
            beside: None,
            shown: MAX_LINE_BYTES,
        };
        lines.drain(..lines.len().saturating_sub(SHOWN_LINES as usize));
        let mut rows: Vec<Row> =
            lines.into_iter().filter(|line| line.mark != Some(MarkKind::EndGroup)).map(row).collect();
        let kept = rows.iter().rev().take_while(|row| {
            bytes += row.to_string().len();
            bytes <= MARKUP_BYTES
        });
        let kept = kept.count();
        rows.drain(..rows.len() - kept);
        let line = error.map(|mark| mark.n).or(last);
        tails.insert(job.id, Tail { line, step: failing.step.map(|step| step.name.clone()), rows });
    }
    Ok((tails, errors))
}

/// Returns the first error among the lines of the step that failed.
pub(super) fn first_error<'a>(failing: &Failing<'_>, outline: &'a Outline) -> Option<&'a Mark> {
    let is_its = |mark: &&Mark| {
        (failing.first..=failing.last).contains(&mark.n) && failing.is_its(Some(u32::from(mark.step) + 1))
    };
    outline.marks.iter().filter(is_its).find(|mark| mark.kind == MarkKind::Error)
}

fn without_colours(text: &str) -> String {
    let shown = pieces(text).filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Style(_) | Piece::Other => None,
    });
    shown.collect()
}

/// Returns the failed step's lines among the last `within` lines up to its end.
async fn last_lines(site: &Site, job: &JobView, failing: &Failing<'_>, within: u64) -> Result<Vec<LogLine>, ApiError> {
    let count = failing.count().min(within);
    if count == 0 {
        return Ok(Vec::new());
    }
    let range = LineRange::From(failing.last + 1 - count, count);
    let mut lines = logs::window(&site.store, job.id, None, range).await?.lines;
    lines.retain(|line| failing.is_its(line.step));
    Ok(lines)
}

/// Returns whether the job failed, and its failure counts.
pub(super) fn has_failed(job: &JobView) -> bool {
    is_failure(job.status) && !job.continue_on_error
}

pub(super) fn is_failure(status: Status) -> bool {
    matches!(status, Status::Failure | Status::Error | Status::TimedOut)
}

/// The lines that a job ended with: those of the step that failed, or all lines if no step did. `first` is behind
/// `last` if the step printed nothing.
pub(super) struct Failing<'a> {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) step: Option<&'a StepView>,
}

impl Failing<'_> {
    /// Counts the lines from the first to the last, including those of other steps between them.
    fn count(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Returns whether a line of the step with this number belongs to them.
    pub(super) fn is_its(&self, step: Option<u32>) -> bool {
        self.step.is_none_or(|failed| step.is_none_or(|step| step == failed.number))
    }
}

/// Returns the lines that a job ended with. `None` if the job did not fail, or has printed nothing.
pub(super) fn find_failing<'a>(job: &'a JobView, outline: &Outline) -> Option<Failing<'a>> {
    if !is_failure(job.status) && job.status != Status::Canceled {
        return None;
    }
    let step =
        job.steps.iter().rev().chain(&job.services).find(|step| is_failure(step.status) && step.exit_code != Some(0));
    let border = |begins: bool| {
        let number = step?.number;
        outline.borders.iter().find(|border| border.begins == begins && u32::from(border.step) + 1 == number)
    };
    let last = border(false).map_or(outline.total, |border| border.lines);
    let first = border(true).map_or(1, |border| border.lines + 1).min(last + 1);
    (last > 0).then_some(Failing { first, last, step })
}
