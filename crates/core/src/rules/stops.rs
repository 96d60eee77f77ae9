//! Obsolete builds: somebody cancels them, a newer build takes over their group, or their pull request gets new commits
//! or is closed.
//!
//! All jobs that can need a stopped job are stopped with it, so their needs need no further decision.

use super::{Decision, JobFacts, PullRequestBuild, QueueEvent, Snapshot, state::JobEvent};
use crate::{BuildId, BuildPlan};

/// Returns the concurrency groups that a new build of this plan takes over from older ones.
#[must_use]
pub fn groups_taken(plan: &BuildPlan) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for concurrency in plan.jobs.iter().filter_map(|job| job.concurrency.as_ref()) {
        if concurrency.cancel_in_progress && !taken.contains(&concurrency.group) {
            taken.push(concurrency.group.clone());
        }
    }
    taken
}

/// Cancels a build.
pub(super) fn build_canceled(snapshot: &Snapshot) -> Decision {
    stop(&snapshot.jobs, |_| Some(JobEvent::CancelRequested))
}

/// Stops the snapshot's jobs, whose groups a new build has taken over.
pub(super) fn groups_are_taken(snapshot: &Snapshot, build: BuildId, number: u64) -> Decision {
    stop(&snapshot.jobs, |job| {
        let group = &job.plan.concurrency.as_ref()?.group;
        (job.build != build).then(|| superseded(format!("superseded by #{number} (concurrency group `{group}`)")))
    })
}

/// Stops the builds of a pull request that was closed, except those that its closing started.
pub(super) fn pull_request_closed(snapshot: &Snapshot, number: u64) -> Decision {
    stop(&snapshot.jobs, |job| {
        let build = snapshot.pull_request.builds.iter().find(|build| build.build == job.build)?;
        (!build.of_closing).then(|| superseded(format!("pull request #{number} was closed")))
    })
}

/// Stops the builds of older commits of a pull request after a new build, if the repository's setting says so. A build
/// that comes too late (its delivery had to wait) is itself canceled in favor of the newer one. Builds that a person
/// started, and those of the closing, stop nothing.
pub(super) fn pull_request_built(snapshot: &Snapshot, build: BuildId) -> Decision {
    let builds = &snapshot.pull_request.builds;
    let find = |id: BuildId| builds.iter().find(|build| build.build == id);
    let Some(own) = find(build).filter(|own| snapshot.pull_request.cancels_older && !own.of_closing) else {
        return Decision::default();
    };
    // Deliveries are in the order of the commits. A build without a delivery has no position in it.
    let Some(delivered) = own.delivered else { return Decision::default() };
    let is_newer = |other: &&PullRequestBuild| {
        other.commit != own.commit && !other.of_closing && other.delivered.is_some_and(|other| other > delivered)
    };
    let newest = builds.iter().filter(is_newer).max_by_key(|other| other.delivered);
    let reason = format!("superseded by #{} (newer commit of the pull request)", newest.unwrap_or(own).number);
    stop(&snapshot.jobs, |job| {
        let stops = match newest {
            Some(_) => job.build == build,
            None => find(job.build).is_some_and(|other| other.commit != own.commit && !other.of_closing),
        };
        stops.then(|| superseded(reason.clone()))
    })
}

fn superseded(reason: String) -> JobEvent {
    JobEvent::Superseded { reason }
}

/// Applies the event that `event` returns to each job. Stopped jobs free capacity for others.
fn stop(jobs: &[JobFacts], event: impl Fn(&JobFacts) -> Option<JobEvent>) -> Decision {
    let mut decision = Decision::default();
    for job in jobs {
        if let Some(event) = event(job)
            && decision.happen(job, &event).is_some()
        {
            decision.follow.push(QueueEvent::Room { repo: job.repo });
        }
    }
    decision
}
