//! The statuses that a forge shows beside a commit: which contexts a build has there, and the state of each.
//!
//! Only this module decides it. The store asks here in the transaction that changes a job, and keeps what has to be
//! reported; the outbox sends it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Diagnostic, Severity, Status, reuse,
    rules::{approvals::question_in, build::HAS_ERRORS},
    stranger::BroughtBy,
};

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

impl CommitStatus {
    /// Creates the status of a pipeline that was skipped for a commit.
    #[must_use]
    pub fn skipped(pipeline: &str, reason: &str) -> Self {
        let description = description(&format!("skipped: {reason}"));
        Self { context: pipeline_context(pipeline), state: CommitState::Skipped, description }
    }

    /// Returns the status as it counts for a commit. A pipeline that had nothing to do counts as a success by rules that
    /// no stranger has chosen, or once something of the build was approved.
    #[must_use]
    pub fn for_commit(self, brought_by: BroughtBy, approved: bool) -> Self {
        let may_be_left_out = brought_by < BroughtBy::StrangerIntoOther || approved;
        if self.state != CommitState::Skipped || may_be_left_out {
            return self;
        }
        let why = "had nothing to do, which counts for a fork's pull request into the default branch only";
        Self { state: CommitState::Pending, description: why.to_owned(), ..self }
    }
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

/// Returns the statuses of a build whose pipeline files have errors: of the contexts that the repository's build before
/// it had, which may be required, and of the files with errors.
#[must_use]
pub fn of_broken_build(mut contexts: Vec<String>, diagnostics: &[Diagnostic]) -> Vec<CommitStatus> {
    let errors = || diagnostics.iter().filter(|found| found.severity == Severity::Error);
    for context in errors().map(|found| file_context(&found.file)) {
        if !contexts.contains(&context) {
            contexts.push(context);
        }
    }
    let first = errors().next().map(|found| format!("{}:{}: {}", found.file, found.span.line, found.message));
    let description = description(&first.unwrap_or_else(|| HAS_ERRORS.to_owned()));
    let status = |context| CommitStatus { context, state: CommitState::Error, description: description.clone() };
    contexts.into_iter().map(status).collect()
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
mod tests;
