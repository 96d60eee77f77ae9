//! The state of a build, in words: whether it only waits and for what, how long it took, why it ended as it did.
//! Pure: works on the build and its jobs alone.

use longshore_core::{
    JobId, Outcome, Severity, Status, Timestamp,
    rules::state::{JobEvent, Transition, next},
};

use super::{
    pauses::Pauses,
    tail::{has_failed, is_failure},
};
use crate::views::{BuildView, JobView};

/// How long a wait before the first job must be to be shown.
const WAIT_MS: u64 = 500;
/// How many jobs a sentence names.
const MAX_NAMED_JOBS: usize = 3;

#[derive(Debug)]
pub(super) struct Standing {
    /// The status that pages show: `blocked` if the build only waits, whatever has ended before.
    pub(super) status: Status,
    pub(super) waits: Option<Waits>,
    pub(super) note: Option<Note>,
    pub(super) clocks: Vec<Clock>,
}

/// The job that says what the build waits for.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) job: JobId,
    pub(super) name: String,
    pub(super) reason: String,
}

/// Why the build ended as it did, or what has failed so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) bad: bool,
    pub(super) text: String,
}

/// A span of time with its label.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) word: &'static str,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

impl Standing {
    pub(super) fn new(build: &BuildView, jobs: &[JobView], pauses: &Pauses) -> Self {
        let only_waits = matches!(build.status, Status::Blocked | Status::Running)
            && jobs.iter().any(|job| job.status == Status::Blocked)
            && !jobs.iter().any(|job| matches!(job.status, Status::Queued | Status::Running | Status::Canceling));
        let waits = jobs.iter().filter(|job| only_waits && job.status == Status::Blocked);
        let waits = waits
            .filter_map(|job| Some(Waits { job: job.id, name: job.name.clone(), reason: job.reason.clone()? }))
            .next();
        // Jobs that a rerun carries over have ended before anything of it ran.
        let status = match (only_waits, build.status, build.started_at) {
            (true, ..) => Status::Blocked,
            (false, Status::Running, None) => Status::Queued,
            (false, status, _) => status,
        };
        // It is the job that says what the build waits for that may be awaiting approval.
        let asks = waits.as_ref().is_some_and(|waits| jobs.iter().any(|job| job.id == waits.job && job.asks.is_some()));
        let waiting = if asks { "awaiting approval" } else { "waiting" };
        Self { status, waits, note: build_note(build, jobs), clocks: clocks(build, jobs, (status, waiting), pauses) }
    }
}

/// `waiting` is the word for the time in which a build only waits.
fn clocks(
    build: &BuildView,
    jobs: &[JobView],
    (status, waiting): (Status, &'static str),
    pauses: &Pauses,
) -> Vec<Clock> {
    let BuildView { created_at, started_at, finished_at, .. } = *build;
    let clock = |word, from, to| Clock { word, from: Some(from), to };
    let Some(started) = started_at else {
        return match (status, finished_at) {
            (Status::Canceled, end) => vec![clock("queued", created_at, end)],
            (_, Some(_)) => Vec::new(),
            (Status::Queued, None) => vec![clock("queued", created_at, None)],
            (_, None) => vec![clock(waiting, created_at, None)],
        };
    };
    let mut clocks = Vec::new();
    if started.since(created_at) >= WAIT_MS {
        clocks.push(clock("queued", created_at, Some(started)));
    }
    // The time in which it only waited for people comes on top.
    let waited = i64::try_from(pauses.before(finished_at.unwrap_or(build.created_at))).unwrap_or(0)
        - i64::try_from(pauses.before(started)).unwrap_or(0);
    let worked_from = Timestamp::from_millis(started.as_millis() + waited.max(0));
    clocks.push(match (finished_at, status == Status::Blocked) {
        (Some(_), _) if status == Status::Canceled => clock("ran", worked_from, finished_at),
        (Some(_), _) => clock("took", worked_from, finished_at),
        (None, true) => {
            let last = jobs.iter().filter_map(|job| job.finished_at).max();
            clock(waiting, last.unwrap_or(started).max(started), None)
        }
        (None, false) => clock("running", started, None),
    });
    clocks
}

fn build_note(build: &BuildView, jobs: &[JobView]) -> Option<Note> {
    if build.status == Status::Canceled {
        return Some(Note { bad: false, text: cancel_note(jobs) });
    }
    let says_itself = build.diagnostics.iter().any(|finding| finding.severity == Severity::Error);
    if !build.status.is_final() {
        return failed_so_far(jobs);
    }
    if says_itself {
        return None;
    }
    Some(Note { bad: is_failure(build.status), text: build.reason.clone()? })
}

/// Names the jobs that have failed, as the build's reason does at its end.
fn failed_so_far(jobs: &[JobView]) -> Option<Note> {
    let failed: Vec<String> = jobs
        .iter()
        .filter(|job| has_failed(job))
        .map(|job| format!("{}: {}", job.name, job.reason.as_deref().unwrap_or(job.status.word())))
        .collect();
    let named = failed.iter().take(MAX_NAMED_JOBS).map(String::as_str).collect::<Vec<_>>().join("; ");
    match failed.len() {
        0 => None,
        1..=MAX_NAMED_JOBS => Some(Note { bad: true, text: named }),
        all => Some(Note { bad: true, text: format!("{named}; and {} more", all - MAX_NAMED_JOBS) }),
    }
}

/// Returns what a cancel interrupted.
fn cancel_note(jobs: &[JobView]) -> String {
    let ended = || jobs.iter().filter(|job| job.status == Status::Canceled);
    if let Some(job) = ended().find(|job| job.reason.as_deref().is_some_and(|reason| !only_says_canceled(reason))) {
        return format!("{}: {}", job.name, job.reason.as_deref().unwrap_or_default());
    }
    let ran: Vec<&JobView> = ended().filter(|job| job.claimed_at.is_some()).collect();
    let named = |jobs: &[&JobView]| {
        let names: Vec<_> = jobs.iter().take(MAX_NAMED_JOBS).map(|job| format!("`{}`", job.name)).collect();
        match jobs.len().saturating_sub(MAX_NAMED_JOBS) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    };
    let waited: Vec<&JobView> = ended().filter(|job| job.claimed_at.is_none()).collect();
    match (ran.is_empty(), jobs.iter().all(|job| job.claimed_at.is_none())) {
        (false, _) => {
            let verb = if ran.len() == 1 { "was" } else { "were" };
            format!("Canceled while {} {verb} running", named(&ran))
        }
        (true, true) => "Canceled before any job started".to_owned(),
        (true, false) => format!("Canceled before {} started", named(&waited)),
    }
}

/// Returns whether the reason of a canceled job says no more than that it was canceled.
pub(super) fn only_says_canceled(reason: &str) -> bool {
    let early = match next(Status::Queued, &JobEvent::CancelRequested) {
        Transition::To(_, reason) => reason,
        Transition::Stays => None,
    };
    early.as_deref() == Some(reason) || Outcome::Canceled.reason().as_deref() == Some(reason)
}
