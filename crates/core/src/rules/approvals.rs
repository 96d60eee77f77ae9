//! Jobs that wait for approval: what the question is, and what an approval or a refusal changes.

use super::{Change, Decision, JobFacts, QueueEvent, Refused, Snapshot, ends, needs::Eligibility, state::JobEvent};
use crate::Status;

/// The start of the reason of a job that waits for approval. The question follows.
const AWAITS_APPROVAL: &str = "awaiting approval: ";
/// What earlier versions wrote instead. The database may still contain it.
const FORMERLY: &str = "waits for approval: ";

/// Returns the reason of a job that waits for approval although its needs let it run. `None` if no approval is needed
/// any more.
pub(super) fn waits_for(job: &JobFacts) -> Option<String> {
    let question = job.plan.question().filter(|_| !job.approved)?;
    Some(format!("{AWAITS_APPROVAL}{question}"))
}

/// Returns the question in the reason of a job that waits and is not ready. `None` if it waits for something else.
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

/// Approves every job of a build that waits for approval now. For a stranger's build, this also approves the commit for
/// jobs whose needs are not finished. Questions of the pipeline's own `approval` are asked when their jobs come up.
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

/// Returns whether a job waits for approval and for nothing else.
fn is_asked(job: &JobFacts, snapshot: &Snapshot) -> bool {
    job.plan.question().is_some() && job.eligibility(snapshot) == Eligibility::Runs
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
