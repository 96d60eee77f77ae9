//! The one place that decides what a job's next status is. Pure and exhaustive: the store applies what it says by
//! compare-and-set, and nobody else writes a status.

use crate::{Outcome, Status};

/// What happens to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// Everything it needs has succeeded.
    NeedsMet,
    /// Something it needs did not succeed; the word says which.
    NeedFailed { need: String },
    /// The dispatcher gave it to the executor.
    Claimed,
    /// Somebody asked for its end.
    CancelRequested,
    /// The executor says how it ended, its log being complete.
    Ended(Outcome),
}

/// What an event does to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// It goes on to this status, for this reason.
    To(Status, Option<String>),
    /// Nothing changes: it has happened already, or came too late.
    Stays,
}

/// What `event` does to a job that stands at `status`. A final status is never left.
#[must_use]
pub fn next(status: Status, event: &JobEvent) -> Transition {
    use Transition::{Stays, To};
    match (status, event) {
        (
            Status::Success | Status::Failure | Status::Error | Status::Canceled | Status::Skipped | Status::TimedOut,
            JobEvent::NeedsMet
            | JobEvent::NeedFailed { .. }
            | JobEvent::Claimed
            | JobEvent::CancelRequested
            | JobEvent::Ended(_),
        ) => Stays,

        (Status::Blocked, JobEvent::NeedsMet) => To(Status::Queued, None),
        (Status::Queued | Status::Running | Status::Canceling, JobEvent::NeedsMet) => Stays,

        (Status::Blocked | Status::Queued, JobEvent::NeedFailed { need }) => {
            To(Status::Skipped, Some(format!("`{need}`, which it needs, did not succeed")))
        }
        (Status::Running | Status::Canceling, JobEvent::NeedFailed { .. }) => Stays,

        (Status::Queued, JobEvent::Claimed) => To(Status::Running, None),
        (Status::Blocked | Status::Running | Status::Canceling, JobEvent::Claimed) => Stays,

        (Status::Blocked | Status::Queued, JobEvent::CancelRequested) => {
            To(Status::Canceled, Some("canceled before it started".to_owned()))
        }
        (Status::Running, JobEvent::CancelRequested) => To(Status::Canceling, None),
        (Status::Canceling, JobEvent::CancelRequested) => Stays,

        (Status::Running | Status::Canceling | Status::Queued | Status::Blocked, JobEvent::Ended(outcome)) => {
            To(outcome.status(), outcome.reason())
        }
    }
}

/// A build's status from its jobs'. An empty build is a success: nothing was asked of it.
#[must_use]
pub fn build_status(jobs: impl IntoIterator<Item = Status>) -> Status {
    let jobs: Vec<Status> = jobs.into_iter().collect();
    let any = |s: Status| jobs.contains(&s);
    if jobs.iter().all(|s| s.is_final()) {
        // The worst word wins; a skipped job says nothing when another ran.
        for status in [Status::Error, Status::Failure, Status::TimedOut, Status::Canceled, Status::Success] {
            if any(status) {
                return status;
            }
        }
        return if jobs.is_empty() { Status::Success } else { Status::Skipped };
    }
    if any(Status::Canceling) {
        Status::Canceling
    } else if any(Status::Running) || jobs.iter().any(|s| s.is_final()) {
        Status::Running
    } else if any(Status::Queued) {
        Status::Queued
    } else {
        Status::Blocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn events() -> Vec<JobEvent> {
        vec![
            JobEvent::NeedsMet,
            JobEvent::NeedFailed { need: "lint".to_owned() },
            JobEvent::Claimed,
            JobEvent::CancelRequested,
            JobEvent::Ended(Outcome::Success),
            JobEvent::Ended(Outcome::Failure { exit_code: 1, step: "x".to_owned(), out_of_memory: false }),
            JobEvent::Ended(Outcome::TimedOut { limit_ms: 1 }),
            JobEvent::Ended(Outcome::Canceled),
            JobEvent::Ended(Outcome::Error { kind: ErrorKind::Lost, message: "m".to_owned() }),
        ]
    }

    #[test]
    fn no_event_leaves_a_final_status() {
        for status in Status::ALL.into_iter().filter(|s| s.is_final()) {
            for event in events() {
                assert_eq!(next(status, &event), Transition::Stays, "{status} + {event:?}");
            }
        }
    }

    #[test]
    fn a_canceled_job_is_never_claimed_again() {
        let Transition::To(status, _) = next(Status::Queued, &JobEvent::CancelRequested) else { panic!("stays") };
        assert_eq!(next(status, &JobEvent::Claimed), Transition::Stays);
        assert_eq!(next(Status::Canceling, &JobEvent::Claimed), Transition::Stays);
    }

    #[test]
    fn a_build_is_final_exactly_when_all_its_jobs_are() {
        for a in Status::ALL {
            for b in Status::ALL {
                assert_eq!(build_status([a, b]).is_final(), a.is_final() && b.is_final(), "{a} and {b}");
            }
        }
    }

    #[test]
    fn one_bad_job_is_never_a_green_build() {
        for status in [Status::Failure, Status::Error, Status::TimedOut, Status::Canceled] {
            assert_eq!(build_status([Status::Success, status, Status::Skipped]), status);
        }
    }
}
