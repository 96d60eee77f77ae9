//! The effects of an event of one job: on the job, on those that need it, on its matrix, and on those that wait for
//! free capacity.

use super::{
    Change, Decision, JobFacts, QueueEvent, Snapshot, approvals,
    needs::Eligibility,
    state::{JobEvent, tries_again},
};
use crate::{ErrorKind, Outcome, Status};

/// Applies an event to the one job of the snapshot.
pub(super) fn happens(snapshot: &Snapshot, event: &JobEvent) -> Decision {
    let mut decision = Decision::default();
    for job in &snapshot.jobs {
        happen(&mut decision, job, event);
    }
    decision
}

/// Ends an attempt of the one job of the snapshot. The end of an older attempt changes nothing.
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

/// Decides about the snapshot's jobs after their needs changed, or because they are new: those that wait are skipped,
/// wait for approval, or become ready.
pub(super) fn needs_changed(snapshot: &Snapshot) -> Decision {
    let mut decision = Decision::default();
    for job in snapshot.jobs.iter().filter(|job| job.status == Status::Blocked && !job.ready) {
        let event = match job.eligibility(snapshot) {
            Eligibility::Waits => continue,
            Eligibility::Skipped(reason) => JobEvent::DoesNotRun { reason },
            Eligibility::Broken(message) => JobEvent::Ended(Outcome::Error { kind: ErrorKind::Expression, message }),
            Eligibility::Runs => match approvals::waits_for(job) {
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

/// Stops the other jobs of a matrix with `fail-fast` after one failed: those that wait are canceled, and those that run
/// are told to stop.
pub(super) fn matrix_failed(snapshot: &Snapshot, name: &str) -> Decision {
    let event = JobEvent::MatrixFailed { reason: format!("`{name}` in the same matrix failed") };
    happens(snapshot, &event)
}

/// Applies an event to a job. If the job is finished then, adds the events that follow.
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
