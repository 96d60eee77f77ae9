//! What happens to the queue, and what comes of it.

use super::{
    JobFacts,
    state::{JobEvent, step},
};
use crate::{BuildId, JobId, Outcome, RepoId, Status};

/// Something that happens to the queue. Each says which jobs its snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueEvent {
    /// A slot may be free. Jobs: none; the queue.
    Slot,
    /// Something happens to one job. Jobs: that job.
    Job { job: JobId, event: JobEvent },
    /// An attempt of a job ended. Jobs: that job.
    AttemptEnded { job: JobId, attempt: u32, outcome: Outcome },
    /// A build is new. Jobs: those of it that are not over; the graph.
    BuildCreated { build: BuildId },
    /// A job is over. Jobs: those that wait and see it, as [`BuildGraph::dependents`](super::graph::BuildGraph::dependents) says; the
    /// graph.
    NeedOver { build: BuildId, job: JobId },
    /// A job of a matrix that fails fast failed. Jobs: those of the same matrix that are not over.
    MatrixFailed {
        build: BuildId,
        pipeline: String,
        /// [`JobPlan::job`](crate::JobPlan::job), which the jobs of a matrix have in common.
        job: String,
        /// The name of the job that failed.
        name: String,
    },
    /// What ready jobs of a repository wait for may be free. Jobs: those of the repository that are blocked and ready.
    Room { repo: RepoId },
    /// Somebody cancels a build. Jobs: those of it that are not over.
    BuildCanceled { build: BuildId },
    /// A new build takes these groups. Jobs: those of its repository in these groups that are not over.
    GroupsTaken { repo: RepoId, build: BuildId, number: u64, groups: Vec<String> },
    /// A build of a pull request is new. Jobs: those of the pull request's builds that are not over.
    PullRequestBuilt { repo: RepoId, build: BuildId, number: u64 },
    /// A pull request is closed. Jobs: those of its builds that are not over.
    PullRequestClosed { repo: RepoId, number: u64 },
    /// Somebody approves a job. Jobs: that job; the graph.
    Approved { job: JobId },
    /// Somebody approves a build. Jobs: those of it that are not over; the graph.
    BuildApproved { build: BuildId },
    /// Somebody declines a job. Jobs: that job; the graph.
    Declined { job: JobId, by: String },
}

/// One change of what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Move(Move),
    /// Nothing that the job needs, and no question, keeps it any more.
    Ready(JobId),
    /// Somebody has said yes to the job.
    Approved {
        job: JobId,
        repo: RepoId,
        build: BuildId,
    },
    /// How an attempt ended is kept beside the job, which may be tried again.
    KeepAttempt {
        job: JobId,
        attempt: u32,
        outcome: Outcome,
    },
    /// The job stands as before its first attempt, but for the number of its attempts.
    BeginAgain(JobId),
    /// The job's lane had its turn.
    HadTurn(JobId),
}

/// A job's way from one status to another, or to another reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub job: JobId,
    pub repo: RepoId,
    pub build: BuildId,
    /// The status that it is applied to, and to no other.
    pub from: Status,
    pub to: Status,
    pub reason: Option<String>,
    pub exit_code: Option<i32>,
    /// The number of its attempts afterwards.
    pub attempt: u32,
    /// An attempt begins.
    pub claimed: bool,
}

/// What an event changes, and the events that follow from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub changes: Vec<Change>,
    pub follow: Vec<QueueEvent>,
}

impl Decision {
    /// Lets an event happen to a job. Returns the job's new status, if it changed.
    pub(super) fn happen(&mut self, job: &JobFacts, event: &JobEvent) -> Option<Status> {
        let change = step(job, event)?;
        let to = change.to;
        self.changes.push(Change::Move(change));
        Some(to)
    }
}

/// Why an approval or a refusal of a job is refused; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);
