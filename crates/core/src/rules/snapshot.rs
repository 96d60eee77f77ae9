//! The state that the rules decide on. [`QueueEvent`](super::QueueEvent) says which jobs the snapshot for an event
//! contains.

use std::collections::BTreeMap;

use super::{
    graph::BuildGraph,
    needs::{Eligibility, build_context, eligibility},
    queue::{Queue, Slots},
};
use crate::{BuildId, JobId, JobPlan, RepoId, Status};

/// The state before an event. Each event reads only its part, and the rest is left empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub server: Server,
    /// The jobs that the event concerns, in the order of their creation.
    pub jobs: Vec<JobFacts>,
    /// For events that ask whether needs are finished: all jobs of the build that `jobs` belong to.
    pub graph: BuildGraph,
    /// For [`Room`](super::QueueEvent::Room): the builds with unfinished jobs in the groups of `jobs`.
    pub groups: Vec<GroupMember>,
    /// For [`Room`](super::QueueEvent::Room): the numbers of queued and running jobs of the matrices of `jobs`.
    pub under_way: Vec<UnderWay>,
    /// For events of pull requests.
    pub pull_request: PullRequestFacts,
    /// For [`Slot`](super::QueueEvent::Slot).
    pub queue: Queue,
}

impl Snapshot {
    /// Makes an empty snapshot.
    #[must_use]
    pub fn of(server: Server) -> Self {
        Self {
            server,
            jobs: Vec::new(),
            graph: BuildGraph::default(),
            groups: Vec::new(),
            under_way: Vec::new(),
            pull_request: PullRequestFacts::default(),
            queue: Queue::default(),
        }
    }
}

/// Facts about the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its labels. `None` if it runs jobs with any labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its own address, without a trailing slash. Empty if it has none.
    pub url: String,
    pub slots: Slots,
}

/// The state of a job, with its part of the frozen plan.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFacts {
    pub id: JobId,
    pub repo: RepoId,
    pub build: BuildId,
    /// The number of its build.
    pub number: u64,
    pub status: Status,
    pub reason: Option<String>,
    pub attempt: u32,
    /// Its needs, its `if` and its approval let it run.
    pub ready: bool,
    /// Somebody has approved it.
    pub approved: bool,
    pub plan: JobPlan,
}

impl JobFacts {
    /// Returns whether the job may run, by its needs and its `if`. A job that is not in the snapshot's graph waits.
    pub(super) fn eligibility(&self, snapshot: &Snapshot) -> Eligibility {
        let known =
            BTreeMap::from([("build".to_owned(), build_context(self.build, self.number, &snapshot.server.url))]);
        match snapshot.graph.needs_of(self.id) {
            Some(needs) => eligibility(&self.plan, &needs, &known),
            None => Eligibility::Waits,
        }
    }
}

/// A build with unfinished jobs in a concurrency group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub group: String,
    pub build: BuildId,
    /// Its number: a repository's builds are numbered in the order of their creation.
    pub number: u64,
}

/// The numbers of jobs of one matrix that are queued, running or being canceled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    pub build: BuildId,
    pub pipeline: String,
    pub job: String,
    pub count: u64,
}

/// A pull request's builds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullRequestFacts {
    /// The repository's setting: builds of newer commits cancel those of older ones.
    pub cancels_older: bool,
    pub builds: Vec<PullRequestBuild>,
}

/// One build of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequestBuild {
    pub build: BuildId,
    pub number: u64,
    pub commit: String,
    /// The position of its delivery among all deliveries. `None` if a person started the build.
    pub delivered: Option<i64>,
    /// Whether it was started because the pull request was closed.
    pub of_closing: bool,
}
