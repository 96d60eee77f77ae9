//! What an event of one job means: for the job, for those that need it, for its matrix, and for those that wait for room.

use super::{
    Change, Decision, JobFacts, QueueEvent, Snapshot, approvals,
    needs::Readiness,
    state::{JobEvent, tries_again},
};
use crate::{ErrorKind, Outcome, Status};

/// Something happens to the one job of the snapshot.
pub(super) fn happens(snapshot: &Snapshot, event: &JobEvent) -> Decision {
    let mut decision = Decision::default();
    for job in &snapshot.jobs {
        happen(&mut decision, job, event);
    }
    decision
}

/// An attempt of the one job of the snapshot ended. What an older attempt says changes nothing.
pub(super) fn attempt_ended(snapshot: &Snapshot, attempt: u32, outcome: &Outcome) -> Decision {
    let mut decision = Decision::default();
    for job in snapshot.jobs.iter().filter(|job| job.attempt == attempt && !job.status.is_final()) {
        let mut event = JobEvent::Ended(outcome.clone());
        if let Some(retry) = &job.plan.retry {
            decision.changes.push(Change::KeepAttempt { job: job.id, attempt, outcome: outcome.clone() });
            if job.status == Status::Running
                && let Some(reason) = tries_again(retry, attempt, outcome)
            {
                decision.changes.push(Change::BeginAgain(job.id));
                event = JobEvent::TriesAgain { reason };
            }
        }
        happen(&mut decision, job, &event);
    }
    decision
}

/// The needs of the snapshot's jobs changed, or the jobs are new: those of them that wait are skipped, ask, or become ready.
pub(super) fn needs_changed(snapshot: &Snapshot) -> Decision {
    let mut decision = Decision::default();
    for job in snapshot.jobs.iter().filter(|job| job.status == Status::Blocked && !job.ready) {
        let event = match job.readiness(snapshot) {
            Readiness::Waits => continue,
            Readiness::Skipped(reason) => JobEvent::DoesNotRun { reason },
            Readiness::Broken(message) => JobEvent::Ended(Outcome::Error { kind: ErrorKind::Expression, message }),
            Readiness::Runs => match approvals::waits_for(job) {
                Some(reason) => JobEvent::Waits { reason },
                None => {
                    decision.changes.push(Change::Ready(job.id));
                    decision.follow.push(QueueEvent::Room { repo: job.repo });
                    continue;
                }
            },
        };
        happen(&mut decision, job, &event);
    }
    decision
}

/// A job of a matrix that fails fast failed: the others wait no longer, or are asked to stop.
pub(super) fn matrix_failed(snapshot: &Snapshot, name: &str) -> Decision {
    let event = JobEvent::MatrixFailed { reason: format!("`{name}` in the same matrix failed") };
    happens(snapshot, &event)
}

/// Lets an event happen to a job, and says what follows where the job is over then.
pub(super) fn happen(decision: &mut Decision, job: &JobFacts, event: &JobEvent) {
    let Some(to) = decision.happen(job, event).filter(|to| to.is_final()) else { return };
    let failed = matches!(to, Status::Failure | Status::Error | Status::TimedOut);
    if failed && !job.plan.continue_on_error && job.plan.matrix_group.is_some_and(|group| group.fail_fast) {
        let (pipeline, of_file) = (job.plan.pipeline.clone(), job.plan.job.clone());
        let name = job.plan.name.clone();
        decision.follow.push(QueueEvent::MatrixFailed { build: job.build, pipeline, job: of_file, name });
    }
    decision.follow.push(QueueEvent::NeedOver { build: job.build, job: job.id });
    decision.follow.push(QueueEvent::Room { repo: job.repo });
}
