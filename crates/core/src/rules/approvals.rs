//! Jobs that wait until somebody says yes: who is asked, what, and when a yes or a no has nothing to answer.

use super::{Change, Decision, JobFacts, QueueEvent, Refused, Snapshot, ends, needs::Readiness, state::JobEvent};
use crate::Status;

/// What the reason of a job begins with that waits for a yes; the question follows.
const AWAITS_APPROVAL: &str = "awaiting approval: ";
/// What earlier versions wrote in its place, which may stand in the database.
const FORMERLY: &str = "waits for approval: ";

/// Why a job waits whose needs let it run; nothing where nobody is asked any more.
pub(super) fn waits_for(job: &JobFacts) -> Option<String> {
    let question = job.plan.question().filter(|_| !job.approved)?;
    Some(format!("{AWAITS_APPROVAL}{question}"))
}

/// The question in the reason of a job that waits and is not ready; nothing where it waits for something else.
#[must_use]
pub fn question_in(reason: &str) -> Option<&str> {
    reason.strip_prefix(AWAITS_APPROVAL).or_else(|| reason.strip_prefix(FORMERLY))
}

/// Approves the one job of the snapshot.
pub(super) fn approved(snapshot: &Snapshot) -> Result<Decision, Refused> {
    let mut decision = Decision::default();
    for job in &snapshot.jobs {
        check_asked(job, snapshot, "approve")?;
        approve(&mut decision, job, true);
    }
    Ok(decision)
}

/// Approves every job of a build that waits for it now, and the commit of a stranger's build for the jobs whose needs are not over. What
/// the pipeline's author lets ask is asked when its time comes.
pub(super) fn build_approved(snapshot: &Snapshot) -> Result<Decision, Refused> {
    let mut decision = Decision::default();
    for job in snapshot.jobs.iter().filter(|job| job.status == Status::Blocked && !job.ready && !job.approved) {
        let asked = is_asked(job, snapshot);
        if asked || (job.plan.stranger.is_some() && job.plan.approval.is_none()) {
            approve(&mut decision, job, asked);
        }
    }
    if decision.changes.is_empty() {
        return Err(Refused("nothing to approve: no job of this build is awaiting approval".to_owned()));
    }
    Ok(decision)
}

/// Declines the one job of the snapshot.
pub(super) fn declined(snapshot: &Snapshot, by: &str) -> Result<Decision, Refused> {
    let mut decision = Decision::default();
    for job in &snapshot.jobs {
        check_asked(job, snapshot, "decline")?;
        ends::happen(&mut decision, job, &JobEvent::Declined { by: by.to_owned() });
    }
    Ok(decision)
}

fn approve(decision: &mut Decision, job: &JobFacts, ready: bool) {
    decision.changes.push(Change::Approved { job: job.id, repo: job.repo, build: job.build });
    if ready {
        decision.changes.push(Change::Ready(job.id));
    }
    decision.follow.push(QueueEvent::Room { repo: job.repo });
}

/// Whether a job that waits has a question and nothing else before that.
fn is_asked(job: &JobFacts, snapshot: &Snapshot) -> bool {
    job.plan.question().is_some() && job.readiness(snapshot) == Readiness::Runs
}

fn check_asked(job: &JobFacts, snapshot: &Snapshot, verb: &str) -> Result<(), Refused> {
    if job.status != Status::Blocked || job.plan.question().is_none() || job.ready || job.approved {
        return Err(Refused(format!("nothing to {verb}: the job is {}", job.status.word())));
    }
    if !is_asked(job, snapshot) {
        return Err(Refused(format!("nothing to {verb} yet: jobs that this job needs have not finished")));
    }
    Ok(())
}
