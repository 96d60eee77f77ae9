//! The summaries that steps wrote about themselves, for the pages of their job and of their build.

use askama::filters::Safe;
use longshore_core::JobId;

use super::markdown::{Markdown, markdown};
use crate::views::JobView;

/// How many bytes surround a summary, and how many it must have room for at least.
const MARKUP_BYTES: usize = 600;
const MIN_BYTES: usize = 200;

#[derive(Debug)]
pub(super) struct Summary {
    pub(super) job: JobId,
    pub(super) job_name: String,
    /// The step's number and name.
    pub(super) number: u32,
    pub(super) step: String,
    words: Markdown,
}

impl Summary {
    pub(super) fn html(&self) -> Safe<&str> {
        Safe(&self.words.html)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.words.cut
    }

    pub(super) fn bytes(&self) -> usize {
        MARKUP_BYTES + self.words.html.len()
    }
}

/// Renders the summaries of these jobs in their order, as many as fit into `all` bytes, none longer than `each`. Also
/// returns how many did not fit.
pub(super) fn render_summaries(jobs: &[JobView], each: usize, all: usize) -> (Vec<Summary>, usize) {
    let (mut shown, mut more, mut left) = (Vec::new(), 0, all);
    for (job, step) in jobs.iter().flat_map(|job| job.steps.iter().map(move |step| (job, step))) {
        let Some(text) = &step.summary else { continue };
        if left < MARKUP_BYTES + MIN_BYTES {
            more += 1;
            continue;
        }
        let words = markdown(text, each.min(left - MARKUP_BYTES));
        let (job_name, step_name) = (job.name.clone(), step.name.clone());
        let summary = Summary { job: job.id, job_name, number: step.number, step: step_name, words };
        left = left.saturating_sub(summary.bytes());
        shown.push(summary);
    }
    (shown, more)
}
