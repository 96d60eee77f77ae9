//! The events of the queue, and the decisions about them.

use super::{
    JobFacts,
    state::{JobEvent, step},
};
use crate::{BuildId, JobId, Outcome, RepoId, Status};

/// An event of the queue. For each, the comment says which jobs its snapshot contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueEvent {
    /// A slot may be free. Jobs: none; the queue.
    Slot,
    /// An event of one job. Jobs: that job.
    Job { job: JobId, event: JobEvent },
    /// An attempt of a job ended. Jobs: that job.
    AttemptEnded { job: JobId, attempt: u32, outcome: Outcome },
    /// A build was created. Jobs: its jobs that are not finished; the graph.
    BuildCreated { build: BuildId },
    /// A job is finished. Jobs: those that wait and depend on it, as
    /// [`BuildGraph::dependents`](super::graph::BuildGraph::dependents) says; the graph.
    NeedOver { build: BuildId, job: JobId },
    /// A job of a matrix with `fail-fast` failed. Jobs: those of the same matrix that are not finished.
    MatrixFailed {
        build: BuildId,
        pipeline: String,
        /// [`JobPlan::job`](crate::JobPlan::job), which the jobs of a matrix have in common.
        job: String,
        /// The name of the job that failed.
        name: String,
    },
    /// Something that ready jobs of a repository wait for may be free. Jobs: those of the repository that are blocked
    /// and ready.
    Room { repo: RepoId },
    /// Somebody cancels a build. Jobs: its jobs that are not finished.
    BuildCanceled { build: BuildId },
    /// A new build takes over these groups. Jobs: those of its repository in these groups that are not finished.
    GroupsTaken { repo: RepoId, build: BuildId, number: u64, groups: Vec<String> },
    /// A build of a pull request was created. Jobs: those of the pull request's builds that are not finished.
    PullRequestBuilt { repo: RepoId, build: BuildId, number: u64 },
    /// A pull request was closed. Jobs: those of its builds that are not finished.
    PullRequestClosed { repo: RepoId, number: u64 },
    /// Somebody approves a job. Jobs: that job; the graph.
    Approved { job: JobId },
    /// Somebody approves a build. Jobs: its jobs that are not finished; the graph.
    BuildApproved { build: BuildId },
    /// Somebody declines a job. Jobs: that job; the graph.
    Declined { job: JobId, by: String },
}

/// A change to the stored state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Move(Move),
    /// The job waits neither for jobs that it needs nor for approval any more.
    Ready(JobId),
    /// The job was approved.
    Approved {
        job: JobId,
        repo: RepoId,
        build: BuildId,
    },
    /// The outcome of an attempt is stored separately from the job, which may be retried.
    KeepAttempt {
        job: JobId,
        attempt: u32,
        outcome: Outcome,
    },
    /// The job is reset to its state before the first attempt, except for the number of attempts.
    BeginAgain(JobId),
    /// The job's lane had its turn.
    HadTurn(JobId),
}

/// A transition of a job to another status or reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub job: JobId,
    pub repo: RepoId,
    pub build: BuildId,
    /// The status that the job must have for the transition to apply.
    pub from: Status,
    pub to: Status,
    pub reason: Option<String>,
    pub exit_code: Option<i32>,
    /// The number of attempts afterwards.
    pub attempt: u32,
    /// An attempt starts.
    pub claimed: bool,
}

/// The changes that an event makes, and the events that follow from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub changes: Vec<Change>,
    pub follow: Vec<QueueEvent>,
}

impl Decision {
    /// Applies an event to a job. Returns the job's new status, if it changed.
    pub(super) fn happen(&mut self, job: &JobFacts, event: &JobEvent) -> Option<Status> {
        let change = step(job, event)?;
        let to = change.to;
        self.changes.push(Change::Move(change));
        Some(to)
    }
}

/// Why a job cannot be approved or declined. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);
