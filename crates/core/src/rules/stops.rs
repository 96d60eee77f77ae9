//! Builds that nobody waits for any more: somebody cancels them, a newer build takes their group, their pull request goes on or ends.
//!
//! All jobs that can need a stopped job are stopped with it: nothing is looked at for the sake of those that need it.

use super::{Decision, JobFacts, PullRequestBuild, QueueEvent, Snapshot, state::JobEvent};
use crate::{BuildId, BuildPlan};

/// The concurrency groups that a new build of this plan takes from older ones.
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

/// Somebody cancels a build.
pub(super) fn build_canceled(snapshot: &Snapshot) -> Decision {
    stop(&snapshot.jobs, |_| Some(JobEvent::CancelRequested))
}

/// A new build has taken the groups of the snapshot's jobs.
pub(super) fn groups_are_taken(snapshot: &Snapshot, build: BuildId, number: u64) -> Decision {
    stop(&snapshot.jobs, |job| {
        let group = &job.plan.concurrency.as_ref()?.group;
        (job.build != build).then(|| superseded(format!("superseded by #{number} (concurrency group `{group}`)")))
    })
}

/// A pull request is closed. Builds that its closing started go on.
pub(super) fn pull_request_closed(snapshot: &Snapshot, number: u64) -> Decision {
    stop(&snapshot.jobs, |job| {
        let build = snapshot.pull_request.builds.iter().find(|build| build.build == job.build)?;
        (!build.of_closing).then(|| superseded(format!("pull request #{number} was closed")))
    })
}

/// A build was made of a pull request: those of its older commits are not waited for any more, where the repository says so. One that
/// comes too late (its delivery had to wait) is canceled itself, for the sake of the newer one. Builds that a person asked for, and those
/// of the closing, cancel nothing.
pub(super) fn pull_request_built(snapshot: &Snapshot, build: BuildId) -> Decision {
    let builds = &snapshot.pull_request.builds;
    let of = |id: BuildId| builds.iter().find(|build| build.build == id);
    let Some(own) = of(build).filter(|own| snapshot.pull_request.cancels_older && !own.of_closing) else {
        return Decision::default();
    };
    // Deliveries are in the order of the commits; a build without a delivery has no place in it.
    let Some(delivered) = own.delivered else { return Decision::default() };
    let is_newer = |other: &&PullRequestBuild| {
        other.commit != own.commit && !other.of_closing && other.delivered.is_some_and(|other| other > delivered)
    };
    let newest = builds.iter().filter(is_newer).max_by_key(|other| other.delivered);
    let reason = format!("superseded by #{} (newer commit of the pull request)", newest.unwrap_or(own).number);
    stop(&snapshot.jobs, |job| {
        let stops = match newest {
            Some(_) => job.build == build,
            None => of(job.build).is_some_and(|other| other.commit != own.commit && !other.of_closing),
        };
        stops.then(|| superseded(reason.clone()))
    })
}

fn superseded(reason: String) -> JobEvent {
    JobEvent::Superseded { reason }
}

/// Lets the event that `event` returns happen to each job. What was stopped leaves room.
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
