//! Checks the workspaces that jobs begin on, once all jobs are read.

use std::{collections::HashMap, iter};

use super::super::{code::Code, findings::Findings, graph::Needs, limits, model::Job};

/// Reports workspaces that are not of one job, and too many jobs that begin on each other's. `needs` are those of the
/// jobs, in their order.
pub(super) fn check(jobs: &[Job], needs: &[Needs<'_>], findings: &mut Findings<'_>) -> Option<()> {
    let by_name: HashMap<&str, &Job> = jobs.iter().map(|job| (job.name.as_str(), job)).collect();
    let base = |job: &&Job| by_name.get(job.draft.workspace_of.as_deref()?).copied();
    let mut valid = true;
    for (job, needs) in jobs.iter().zip(needs) {
        let Some(of) = base(&job) else { continue };
        let Some((_, place)) = needs.needs.iter().find(|(name, _)| *name == of.name) else { continue };
        if of.combinations.len() != 1 {
            let message = format!(
                "`{}` is a matrix of {} jobs, and a job starts on one workspace",
                of.name,
                of.combinations.len()
            );
            findings.error(Code::NotTogether, *place, message, "need a job without a matrix".to_owned());
            valid = false;
        }
        if iter::successors(Some(job), base).nth(limits::WORKSPACES).is_some() {
            let message =
                format!("at most {} jobs can start on each other's workspace, one after the other", limits::WORKSPACES);
            findings.error(Code::NotTogether, *place, message, "start on the workspace of an earlier job".to_owned());
            valid = false;
        }
    }
    valid.then_some(())
}
