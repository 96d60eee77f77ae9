//! Reruns a build: plans a new build with the same frozen plan, since no final status ever changes.

use std::collections::{HashMap, HashSet};

use longshore_core::{BuildId, BuildPlan, JobId, Severity, Status};
use longshore_pipeline::Code;
use longshore_store::{
    Store,
    builds::{self, NewBuild},
    jobs::{self, Job},
};

use crate::scheduler::{RequestError, not_found};

/// Which jobs run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rerun {
    All,
    /// Those that did not succeed.
    Failed,
    /// This job, those that need it, and those that did not succeed.
    Job(JobId),
}

/// Returns the new build, with the jobs that it carries over.
pub(crate) async fn plan(store: &Store, build: BuildId, what: Rerun) -> Result<NewBuild, RequestError> {
    let old = builds::get(store, build).await?.ok_or_else(|| not_found("build"))?;
    if !old.status.is_final() {
        return Err(RequestError::Conflict(format!(
            "build #{} is still {}: wait until it finishes, or cancel it first",
            old.number, old.status
        )));
    }
    if old.diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(RequestError::Conflict(format!(
            "the pipeline of build #{} has errors: rerunning the same commit would change nothing",
            old.number
        )));
    }
    let plan = builds::plan(store, build).await?.ok_or_else(|| not_found("build"))?;
    let jobs = jobs::of_build(store, build).await?;
    let carried_over = match what {
        Rerun::All => Vec::new(),
        Rerun::Failed => carried_over_jobs(&jobs, &plan, None),
        Rerun::Job(job) => carried_over_jobs(&jobs, &plan, Some(job)),
    };
    if carried_over.len() == jobs.len() {
        return Err(RequestError::Conflict(format!("every job of build #{} succeeded: nothing to rerun", old.number)));
    }
    let mut diagnostics = old.diagnostics;
    // These diagnostics are found again.
    diagnostics.retain(|found| found.code != Code::SecretWithheld.as_str());
    Ok(NewBuild { rerun_of: Some(build), carried_over, ..NewBuild::new(old.repo, old.event, plan, diagnostics) })
}

/// Returns the jobs that succeeded and need no job that runs again. A job on whose workspace another begins that runs
/// again, does so too: its workspace is gone by now.
fn carried_over_jobs(jobs: &[Job], plan: &BuildPlan, again: Option<JobId>) -> Vec<(String, JobId)> {
    let begins_on: HashMap<&str, &str> =
        plan.jobs.iter().filter_map(|job| Some((job.key.as_str(), job.workspace_of.as_deref()?))).collect();
    let by_key: HashMap<&str, &Job> = jobs.iter().map(|job| (job.key.as_str(), job)).collect();
    let mut running: HashSet<&str> = jobs
        .iter()
        .filter(|job| job.status != Status::Success || Some(job.id) == again)
        .map(|job| job.key.as_str())
        .collect();
    loop {
        let more: Vec<&str> = by_key
            .values()
            .filter(|job| !running.contains(job.key.as_str()))
            .filter(|job| {
                let is_wanted = || begins_on.iter().any(|(key, base)| *base == job.key && running.contains(key));
                job.needs.iter().any(|need| running.contains(need.as_str())) || is_wanted()
            })
            .map(|job| job.key.as_str())
            .collect();
        if more.is_empty() {
            break;
        }
        running.extend(more);
    }
    jobs.iter().filter(|job| !running.contains(job.key.as_str())).map(|job| (job.key.clone(), job.id)).collect()
}
