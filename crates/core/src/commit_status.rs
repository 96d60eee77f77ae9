//! The statuses that a forge shows beside a commit: which contexts a build has there, and the state of each.
//!
//! [`of_build`] is the only place that decides it. The store calls it in the transaction that changes a job, and keeps
//! what has to be reported; the reporter sends it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Status, reuse, rules::approvals::question_in};

/// Characters of a description: what GitHub takes.
pub const MAX_DESCRIPTION: usize = 140;
/// Bytes of a context. Forges store at most 255.
const MAX_CONTEXT: usize = 200;

/// What a repository reports to its forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusDetail {
    /// One context for each pipeline.
    #[default]
    Pipeline,
    /// One context for each job.
    Job,
    None,
}

impl StatusDetail {
    pub const ALL: [Self; 3] = [Self::Pipeline, Self::Job, Self::None];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Job => "job",
            Self::None => "none",
        }
    }
}

impl fmt::Display for StatusDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that does not name a detail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not say which statuses the forge shows: write pipeline, job or none")]
pub struct NotAStatusDetail(String);

impl FromStr for StatusDetail {
    type Err = NotAStatusDetail;

    fn from_str(text: &str) -> Result<Self, NotAStatusDetail> {
        let found = Self::ALL.into_iter().find(|detail| detail.as_str() == text);
        found.ok_or_else(|| NotAStatusDetail(text.chars().take(40).flat_map(char::escape_debug).collect()))
    }
}

/// The state of a context. Each forge has words of its own for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommitState {
    /// Waits: for capacity, a group, somebody's approval.
    Pending,
    Running,
    Success,
    /// Nothing of it had to run. Counts as a success, so that a required context does not hold up a merge for ever.
    Skipped,
    Failure,
    Error,
    Canceled,
}

impl CommitState {
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Running, Self::Success, Self::Skipped, Self::Failure, Self::Error, Self::Canceled];

    /// Returns the word in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Skipped => "skipped",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for CommitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CommitState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a commit status"))
    }
}

/// A job, as its contexts see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOfContext {
    pub pipeline: String,
    /// The name for people, with the matrix's values.
    pub name: String,
    pub status: Status,
    pub reason: Option<String>,
    pub continue_on_error: bool,
}

/// A context with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    pub context: String,
    pub state: CommitState,
    /// At most [`MAX_DESCRIPTION`] characters.
    pub description: String,
}

/// Returns the context of a pipeline.
#[must_use]
pub fn pipeline_context(pipeline: &str) -> String {
    limited(format!("longshore/{pipeline}"))
}

/// Returns the context of a job, by its pipeline and its name for people.
#[must_use]
pub fn job_context(pipeline: &str, job: &str) -> String {
    limited(format!("longshore/{pipeline}/{job}"))
}

/// Returns the context of a pipeline file without a name: nobody can say what one with errors is called.
#[must_use]
pub fn file_context(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".yml").or_else(|| file.strip_suffix(".yaml")).unwrap_or(file);
    pipeline_context(stem.trim_start_matches('.'))
}

/// Returns a description within the limit. A cut one ends in an ellipsis.
#[must_use]
pub fn description(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    if text.chars().count() <= MAX_DESCRIPTION {
        return text.to_owned();
    }
    let cut: String = text.chars().take(MAX_DESCRIPTION - 1).collect();
    format!("{}…", cut.trim_end())
}

/// Returns the contexts of a build with these jobs, which come in the plan's order.
#[must_use]
pub fn of_build(detail: StatusDetail, jobs: &[JobOfContext]) -> Vec<CommitStatus> {
    match detail {
        StatusDetail::None => Vec::new(),
        StatusDetail::Job => jobs
            .iter()
            .map(|job| CommitStatus { context: job_context(&job.pipeline, &job.name), ..of_jobs(&[job], false) })
            .collect(),
        StatusDetail::Pipeline => {
            let mut pipelines: Vec<&str> = Vec::new();
            for job in jobs {
                if !pipelines.contains(&job.pipeline.as_str()) {
                    pipelines.push(&job.pipeline);
                }
            }
            let status_of = |pipeline: &&str| {
                let jobs: Vec<&JobOfContext> = jobs.iter().filter(|job| job.pipeline == *pipeline).collect();
                CommitStatus { context: pipeline_context(pipeline), ..of_jobs(&jobs, true) }
            };
            pipelines.iter().map(status_of).collect()
        }
    }
}

/// Returns the state of a context for these jobs, which are not none. The context's name is empty.
fn of_jobs(jobs: &[&JobOfContext], names: bool) -> CommitStatus {
    let passed_over = |job: &JobOfContext| {
        job.continue_on_error && matches!(job.status, Status::Failure | Status::Error | Status::TimedOut)
    };
    let count = |wanted: &[Status]| jobs.iter().filter(|job| wanted.contains(&job.status)).count();
    let line = |job: &JobOfContext, text: &str| if names { format!("{}: {text}", job.name) } else { text.to_owned() };
    let first = |wanted: Status, otherwise: &str| {
        let job = jobs.iter().find(|job| job.status == wanted && !passed_over(job));
        job.map(|job| line(job, job.reason.as_deref().unwrap_or(otherwise)))
    };
    let status = |state, text: String| CommitStatus { context: String::new(), state, description: description(&text) };

    let open = count(&[Status::Blocked, Status::Queued, Status::Running, Status::Canceling]);
    if open > 0 {
        let asks = jobs.iter().find(|job| {
            job.status == Status::Blocked && job.reason.as_deref().is_some_and(|reason| question_in(reason).is_some())
        });
        let runs = count(&[Status::Running, Status::Canceling]);
        let ended = jobs.len() - open;
        return match (runs, asks) {
            (0, Some(job)) => {
                status(CommitState::Pending, line(job, job.reason.as_deref().unwrap_or("awaiting approval")))
            }
            (0, None) if ended == 0 || count(&[Status::Queued]) == 0 => {
                let waits = first(Status::Blocked, "waits").filter(|_| count(&[Status::Queued]) == 0);
                status(CommitState::Pending, waits.unwrap_or_else(|| "queued".to_owned()))
            }
            (_, _) if jobs.len() == 1 => status(CommitState::Running, "running".to_owned()),
            (_, _) => status(CommitState::Running, format!("{ended} of {} jobs finished", jobs.len())),
        };
    }
    let worst = [
        (Status::Failure, CommitState::Failure, "failed"),
        (Status::TimedOut, CommitState::Failure, "timed out"),
        (Status::Error, CommitState::Error, "ended with an error"),
        (Status::Canceled, CommitState::Canceled, "canceled"),
    ];
    for (wanted, state, otherwise) in worst {
        if let Some(text) = first(wanted, otherwise) {
            return status(state, text);
        }
    }
    let skipped = count(&[Status::Skipped]);
    if skipped == jobs.len() {
        return status(CommitState::Skipped, first(Status::Skipped, "skipped").unwrap_or_default());
    }
    let tolerated = jobs.iter().filter(|job| passed_over(job)).count();
    let is_reused =
        |job: &&&JobOfContext| job.status == Status::Success && job.reason.as_deref().is_some_and(reuse::is_reason);
    let reused = jobs.iter().filter(is_reused).count();
    let text = match (jobs.len() - skipped, tolerated) {
        (1, 0) if jobs.len() == 1 && reused == 1 => first(Status::Success, "succeeded").unwrap_or_default(),
        (1, 0) if jobs.len() == 1 => "succeeded".to_owned(),
        (1, 0) => "1 job succeeded".to_owned(),
        (ran, 0) if reused > 0 => format!("{ran} jobs succeeded, {reused} of them unchanged"),
        (ran, 0) => format!("{ran} jobs succeeded"),
        (ran, tolerated) => {
            format!("{} of {ran} jobs succeeded; the others were allowed to fail", ran - tolerated)
        }
    };
    status(CommitState::Success, text)
}

/// Cuts a context that is too long, and keeps it distinct from others with the same beginning.
fn limited(context: String) -> String {
    if context.len() <= MAX_CONTEXT {
        return context;
    }
    // FNV-1a: the name must stay the same in every version, which std's hashes do not promise.
    let hash = context
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let end = context.floor_char_boundary(MAX_CONTEXT - 17);
    format!("{}-{hash:016x}", &context[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job(name: &str, status: Status, reason: Option<&str>) -> JobOfContext {
        JobOfContext {
            pipeline: "ci".to_owned(),
            name: name.to_owned(),
            status,
            reason: reason.map(str::to_owned),
            continue_on_error: false,
        }
    }

    fn of(jobs: &[JobOfContext]) -> (CommitState, String) {
        let [one] = of_build(StatusDetail::Pipeline, jobs).try_into().unwrap();
        assert_eq!(one.context, "longshore/ci");
        (one.state, one.description)
    }

    fn is(state: CommitState, description: &str) -> (CommitState, String) {
        (state, description.to_owned())
    }

    #[test]
    fn a_failure_says_which_job_and_why() {
        let why = "step `Unit tests` failed with exit code 101";
        assert_eq!(
            of(&[job("lint", Status::Success, None), job("test (1.95)", Status::Failure, Some(why))]),
            is(CommitState::Failure, "test (1.95): step `Unit tests` failed with exit code 101")
        );
        let mut tolerated = job("lint", Status::Failure, Some(why));
        tolerated.continue_on_error = true;
        assert_eq!(
            of(&[tolerated, job("test", Status::Success, None)]),
            is(CommitState::Success, "1 of 2 jobs succeeded; the others were allowed to fail")
        );
    }

    #[test]
    fn what_waits_is_pending_and_says_for_what() {
        let asks = Some("awaiting approval: deploy?");
        for (jobs, description) in [
            (vec![job("a", Status::Queued, None)], "queued"),
            (vec![job("a", Status::Queued, None), job("b", Status::Blocked, None)], "queued"),
            (vec![job("a", Status::Success, None), job("b", Status::Blocked, asks)], "b: awaiting approval: deploy?"),
            (vec![job("b", Status::Blocked, Some("waits for the group `x`"))], "b: waits for the group `x`"),
        ] {
            assert_eq!(of(&jobs), is(CommitState::Pending, description));
        }
        assert_eq!(
            of(&[job("a", Status::Running, None), job("b", Status::Blocked, asks)]),
            is(CommitState::Running, "0 of 2 jobs finished")
        );
        assert_eq!(
            of(&[job("a", Status::Success, None), job("b", Status::Queued, None)]),
            is(CommitState::Running, "1 of 2 jobs finished")
        );
    }

    #[test]
    fn what_was_skipped_as_a_whole_does_not_hold_up_a_merge() {
        let skipped = job("a", Status::Skipped, Some("its `if` is false"));
        assert_eq!(of(std::slice::from_ref(&skipped)), is(CommitState::Skipped, "a: its `if` is false"));
        assert_eq!(of(&[skipped, job("b", Status::Success, None)]), is(CommitState::Success, "1 job succeeded"));
    }

    #[test]
    fn contexts_follow_the_repositorys_setting_and_stay_distinct() {
        let mut other = job("b", Status::Success, None);
        other.pipeline = "nightly".to_owned();
        let jobs = [job("a (1)", Status::Success, None), job("a (2)", Status::Failure, None), other];
        let contexts = |detail| of_build(detail, &jobs).into_iter().map(|one| one.context).collect::<Vec<_>>();
        assert_eq!(contexts(StatusDetail::Pipeline), ["longshore/ci", "longshore/nightly"]);
        assert_eq!(contexts(StatusDetail::Job), ["longshore/ci/a (1)", "longshore/ci/a (2)", "longshore/nightly/b"]);
        assert!(contexts(StatusDetail::None).is_empty());
        let long = |n: u32| job(&format!("{} ({n})", "ä".repeat(300)), Status::Success, None);
        let both = of_build(StatusDetail::Job, &[long(1), long(2)]);
        assert!(both[0].context != both[1].context && both[0].context.len() <= MAX_CONTEXT);
    }

    proptest! {
        #[test]
        fn every_job_that_is_not_over_keeps_its_context_open_and_no_description_is_too_long(
            jobs in prop::collection::vec((prop::sample::select(Status::ALL.to_vec()), ".{0,200}", any::<bool>()), 1..6)
        ) {
            let jobs: Vec<JobOfContext> = jobs.into_iter().map(|(status, reason, continue_on_error)| JobOfContext {
                continue_on_error,
                ..job("a", status, Some(&reason))
            }).collect();
            let open = jobs.iter().any(|job| !job.status.is_final());
            let (state, description) = of(&jobs);
            prop_assert_eq!(matches!(state, CommitState::Pending | CommitState::Running), open);
            prop_assert!(description.chars().count() <= MAX_DESCRIPTION);
            let failed = jobs.iter().any(|job| job.status == Status::Failure && !job.continue_on_error);
            prop_assert!(open || !failed || state == CommitState::Failure);
        }
    }
}
