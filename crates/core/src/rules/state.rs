//! The only place that decides the next status of a job, and of a build. It is exhaustive: the store writes these
//! decisions by compare-and-set, and nobody else writes a status.

use super::{JobFacts, Move};
use crate::{
    Outcome, Status,
    plan::{Retry, RetryOn},
};

/// An event of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// Everything it needs has succeeded.
    NeedsMet,
    /// Its needs or its `if` do not let it run. The reason says which.
    DoesNotRun { reason: String },
    /// It could run, but waits for this: an approval, a group, its matrix.
    Waits { reason: String },
    /// Somebody declined it.
    Declined { by: String },
    /// Another job of its matrix failed.
    MatrixFailed { reason: String },
    /// Its build is obsolete: a newer one has taken over its group, or its pull request was closed.
    Superseded { reason: String },
    /// An attempt ended, and there will be another.
    TriesAgain { reason: String },
    /// The dispatcher passed it to the executor.
    Claimed,
    /// Somebody canceled it.
    CancelRequested,
    /// The executor reported its outcome. Its log is complete.
    Ended(Outcome),
    /// It need not run, because an earlier success is reused. The reason says whose.
    Reused { reason: String },
}

/// The effect of an event on a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// It gets this status, for this reason.
    To(Status, Option<String>),
    /// Nothing changes: the event was a repetition, or came too late.
    Stays,
}

/// Returns the effect of `event` on a job with this status. A final status is never changed.
#[must_use]
pub fn next(status: Status, event: &JobEvent) -> Transition {
    use Transition::{Stays, To};
    match (status, event) {
        (
            Status::Success | Status::Failure | Status::Error | Status::Canceled | Status::Skipped | Status::TimedOut,
            JobEvent::NeedsMet
            | JobEvent::DoesNotRun { .. }
            | JobEvent::Waits { .. }
            | JobEvent::Declined { .. }
            | JobEvent::MatrixFailed { .. }
            | JobEvent::Superseded { .. }
            | JobEvent::TriesAgain { .. }
            | JobEvent::Claimed
            | JobEvent::CancelRequested
            | JobEvent::Ended(_)
            | JobEvent::Reused { .. },
        ) => Stays,

        (Status::Blocked, JobEvent::NeedsMet) => To(Status::Queued, None),
        (Status::Queued | Status::Running | Status::Canceling, JobEvent::NeedsMet) => Stays,

        (Status::Blocked | Status::Queued, JobEvent::DoesNotRun { reason }) => {
            To(Status::Skipped, Some(reason.clone()))
        }
        (Status::Running | Status::Canceling, JobEvent::DoesNotRun { .. }) => Stays,

        (Status::Blocked, JobEvent::Waits { reason }) => To(Status::Blocked, Some(reason.clone())),
        (Status::Queued | Status::Running | Status::Canceling, JobEvent::Waits { .. }) => Stays,

        (Status::Blocked, JobEvent::Declined { by }) => To(Status::Canceled, Some(format!("declined by {by}"))),
        (Status::Queued | Status::Running | Status::Canceling, JobEvent::Declined { .. }) => Stays,

        (Status::Blocked | Status::Queued, JobEvent::MatrixFailed { reason }) => {
            To(Status::Skipped, Some(reason.clone()))
        }
        (Status::Blocked | Status::Queued, JobEvent::Superseded { reason }) => {
            To(Status::Canceled, Some(reason.clone()))
        }
        (Status::Running, JobEvent::MatrixFailed { reason } | JobEvent::Superseded { reason }) => {
            To(Status::Canceling, Some(reason.clone()))
        }
        (Status::Canceling, JobEvent::MatrixFailed { .. } | JobEvent::Superseded { .. }) => Stays,

        (Status::Running, JobEvent::TriesAgain { reason }) => To(Status::Queued, Some(reason.clone())),
        (Status::Blocked | Status::Queued | Status::Canceling, JobEvent::TriesAgain { .. }) => Stays,

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

        // Nothing of it is running that would have to be stopped first.
        (Status::Running | Status::Canceling, JobEvent::Reused { reason }) => To(Status::Success, Some(reason.clone())),
        (Status::Blocked | Status::Queued, JobEvent::Reused { .. }) => Stays,
    }
}

/// Returns the transition that `event` causes. `None` if the job stays as it is.
pub(super) fn step(job: &JobFacts, event: &JobEvent) -> Option<Move> {
    let Transition::To(to, reason) = next(job.status, event) else { return None };
    // The cancel gave the reason; the end itself adds nothing.
    let reason = match (event, &job.reason) {
        (JobEvent::Ended(Outcome::Canceled), Some(why)) if job.status == Status::Canceling => Some(why.clone()),
        _ => reason,
    };
    if to == job.status && reason == job.reason {
        return None;
    }
    let exit_code = match event {
        JobEvent::Ended(outcome) => outcome.exit_code(),
        JobEvent::Reused { .. } => Some(0),
        JobEvent::NeedsMet
        | JobEvent::DoesNotRun { .. }
        | JobEvent::Waits { .. }
        | JobEvent::Declined { .. }
        | JobEvent::MatrixFailed { .. }
        | JobEvent::Superseded { .. }
        | JobEvent::TriesAgain { .. }
        | JobEvent::Claimed
        | JobEvent::CancelRequested => None,
    };
    let claimed = matches!(event, JobEvent::Claimed);
    Some(Move {
        job: job.id,
        repo: job.repo,
        build: job.build,
        from: job.status,
        to,
        reason,
        exit_code,
        attempt: job.attempt + u32::from(claimed),
        claimed,
    })
}

/// Returns why an attempt with this outcome is retried. `None` if it is not. `attempt` counts from 1.
#[must_use]
pub fn tries_again(retry: &Retry, attempt: u32, outcome: &Outcome) -> Option<String> {
    let asked = match outcome {
        Outcome::Success | Outcome::Canceled => return None,
        Outcome::Failure { .. } => RetryOn::Failure,
        Outcome::TimedOut { .. } => RetryOn::Timeout,
        Outcome::Error { kind, .. } if kind.may_pass() => RetryOn::Error,
        Outcome::Error { .. } => return None,
    };
    let is_retried = attempt <= retry.max && retry.on.contains(&asked);
    let reason = outcome.reason().unwrap_or_default();
    is_retried.then(|| format!("retrying (attempt {} of {}): {reason}", attempt + 1, retry.max.saturating_add(1)))
}

/// Returns a build's status from those of its jobs. A build without jobs is a success.
#[must_use]
pub fn build_status(jobs: impl IntoIterator<Item = Status>) -> Status {
    let jobs: Vec<Status> = jobs.into_iter().collect();
    let any = |s: Status| jobs.contains(&s);
    if jobs.iter().all(|s| s.is_final()) {
        // The worst status wins. Skipped jobs do not count if another one ran.
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
            JobEvent::DoesNotRun { reason: "r".to_owned() },
            JobEvent::Waits { reason: "r".to_owned() },
            JobEvent::Declined { by: "b".to_owned() },
            JobEvent::MatrixFailed { reason: "r".to_owned() },
            JobEvent::Superseded { reason: "r".to_owned() },
            JobEvent::TriesAgain { reason: "r".to_owned() },
            JobEvent::Claimed,
            JobEvent::CancelRequested,
            JobEvent::Ended(Outcome::Success),
            JobEvent::Ended(Outcome::Failure { exit_code: 1, step: "x".to_owned(), out_of_memory: false }),
            JobEvent::Ended(Outcome::TimedOut { limit_ms: 1 }),
            JobEvent::Ended(Outcome::Canceled),
            JobEvent::Ended(Outcome::Error { kind: ErrorKind::Lost, message: "m".to_owned() }),
            JobEvent::Reused { reason: "r".to_owned() },
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
    fn a_job_is_claimed_from_the_queue_alone_and_comes_back_to_it_by_another_try_alone() {
        for status in Status::ALL.into_iter().filter(|s| !s.is_final()) {
            for event in events() {
                let Transition::To(to, _) = next(status, &event) else { continue };
                if to == Status::Running {
                    assert_eq!((status, &event), (Status::Queued, &JobEvent::Claimed));
                }
                if to == Status::Queued {
                    assert!(matches!(event, JobEvent::NeedsMet | JobEvent::TriesAgain { .. }), "{status} + {event:?}");
                }
                if to == Status::Canceling {
                    assert_eq!(status, Status::Running, "{event:?}");
                }
                if to == Status::Blocked {
                    assert_eq!(status, Status::Blocked, "{event:?}");
                }
            }
        }
    }

    #[test]
    fn another_try_follows_only_the_ends_that_were_named_and_may_pass() {
        let retry = Retry { max: 1, on: vec![RetryOn::Error, RetryOn::Timeout] };
        let error = |kind| Outcome::Error { kind, message: "gone".to_owned() };
        assert_eq!(tries_again(&retry, 1, &error(ErrorKind::Lost)).as_deref(), Some("retrying (attempt 2 of 2): gone"));
        assert!(tries_again(&retry, 1, &Outcome::TimedOut { limit_ms: 1 }).is_some());
        assert_eq!(tries_again(&retry, 2, &error(ErrorKind::Lost)), None);
        assert_eq!(tries_again(&retry, 1, &error(ErrorKind::SecretMissing)), None);
        let failure = Outcome::Failure { exit_code: 1, step: "x".to_owned(), out_of_memory: false };
        assert_eq!(tries_again(&retry, 1, &failure), None);
        assert_eq!(tries_again(&retry, 1, &Outcome::Canceled), None);
        assert!(tries_again(&Retry { max: 3, on: vec![RetryOn::Failure] }, 3, &failure).is_some());
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
