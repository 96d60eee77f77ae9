//! What the rules are told of how things stand. [`QueueEvent`](super::QueueEvent) says which jobs the snapshot for an event holds.

use std::collections::BTreeMap;

use super::{
    graph::BuildGraph,
    needs::{Readiness, build_context, readiness},
    queue::{Queue, Slots},
};
use crate::{BuildId, JobId, JobPlan, RepoId, Status};

/// How things stand before an event. Each event reads only its part; the rest is left empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub server: Server,
    /// The jobs that the event concerns, in the order of their creation.
    pub jobs: Vec<JobFacts>,
    /// For events that ask whether needs are over: all jobs of the build that `jobs` belong to.
    pub graph: BuildGraph,
    /// For [`Room`](super::QueueEvent::Room): which builds have jobs that are not over in the groups of `jobs`.
    pub groups: Vec<GroupMember>,
    /// For [`Room`](super::QueueEvent::Room): what the matrices of `jobs` have in the queue and running.
    pub under_way: Vec<UnderWay>,
    /// For events of pull requests.
    pub pull_request: PullRequestFacts,
    /// For [`Slot`](super::QueueEvent::Slot).
    pub queue: Queue,
}

impl Snapshot {
    /// A snapshot that holds nothing yet.
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

/// What the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its labels; nothing where jobs of any labels run.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its own address, without a slash at the end; empty where it has none.
    pub url: String,
    pub slots: Slots,
}

/// A job as it stands, with its part of the frozen plan.
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
    /// Its needs, its `if` and its question let it run.
    pub ready: bool,
    /// Somebody has approved it.
    pub approved: bool,
    pub plan: JobPlan,
}

impl JobFacts {
    /// Returns whether the job may run, by its needs and its `if`. A job that the snapshot's graph does not hold waits.
    pub(super) fn readiness(&self, snapshot: &Snapshot) -> Readiness {
        let known =
            BTreeMap::from([("build".to_owned(), build_context(self.build, self.number, &snapshot.server.url))]);
        match snapshot.graph.needs_of(self.id) {
            Some(needs) => readiness(&self.plan, &needs, &known),
            None => Readiness::Waits,
        }
    }
}

/// A build with jobs of a concurrency group that are not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub group: String,
    pub build: BuildId,
    /// Its number: a repository's builds are numbered in the order of their creation.
    pub number: u64,
}

/// How many jobs of one matrix are queued, running or asked to stop.
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
    /// The place of its delivery among all deliveries; nothing where a person asked for the build.
    pub delivered: Option<i64>,
    /// The closing of the pull request started it.
    pub of_closing: bool,
}
