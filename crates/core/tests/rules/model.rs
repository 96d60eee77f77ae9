//! A whole server's queue in memory: it does for the rules what the store does with a database, and checks every step.

use std::collections::{BTreeMap, HashSet};

use longshore_core::{
    BuildId, BuildPlan, JobId, Lane, NeedEnd, Outcome, RepoId, Slots, Status,
    rules::{
        Agenda, Change, GroupMember, JobFacts, Move, PullRequestBuild, PullRequestFacts, QueueEvent, Refused, Server,
        Snapshot, UnderWay,
        build::{JobOfBuild, standing},
        decide,
        graph::{BuildGraph, GraphJob},
        groups_taken,
        queue::{Queue, Taker, Waiting},
        state::JobEvent,
    },
};

pub(crate) struct Build {
    pub(crate) id: BuildId,
    pub(crate) lane: Lane,
    pub(crate) pull_request: Option<(u64, PullRequestBuild)>,
}

pub(crate) struct Model {
    server: Server,
    /// In the order of creation.
    pub(crate) jobs: Vec<JobFacts>,
    pub(crate) builds: Vec<Build>,
    turns: BTreeMap<Taker, u64>,
    turn: u64,
}

impl Model {
    pub(crate) fn new(slots: usize) -> Self {
        let labels = Some(BTreeMap::from([("arch".to_owned(), "arm64".to_owned())]));
        let slots = Slots { all: slots, strangers: slots };
        let server = Server { labels, url: String::new(), slots };
        Self { server, jobs: Vec::new(), builds: Vec::new(), turns: BTreeMap::new(), turn: 0 }
    }

    /// Makes a build as the store does: its jobs, the groups that it takes, its pull request.
    pub(crate) fn create(
        &mut self,
        lane: Lane,
        plan: &BuildPlan,
        pull_request: Option<(u64, PullRequestBuild)>,
    ) -> BuildId {
        let (id, repo) = (BuildId::new(), lane.repo);
        let number = 1 + self.builds.iter().filter(|build| build.lane.repo == repo).count() as u64;
        let pull_request = pull_request.map(|(of, build)| (of, PullRequestBuild { build: id, number, ..build }));
        let of = pull_request.as_ref().map(|(of, _)| *of);
        self.builds.push(Build { id, lane, pull_request });
        self.jobs.extend(plan.jobs.iter().map(|plan| JobFacts {
            id: JobId::new(),
            repo,
            build: id,
            number,
            status: Status::Blocked,
            reason: None,
            attempt: 0,
            ready: false,
            approved: false,
            plan: plan.clone(),
        }));
        self.happen(QueueEvent::BuildCreated { build: id }).unwrap();
        let groups = groups_taken(plan);
        if !groups.is_empty() {
            self.happen(QueueEvent::GroupsTaken { repo, build: id, number, groups: groups.clone() }).unwrap();
            let left = |job: &JobFacts| {
                job.repo == repo && job.build != id && matches!(job.status, Status::Blocked | Status::Queued)
            };
            let has = |job: &JobFacts| group(job).is_some_and(|group| groups.contains(&group));
            assert!(
                !self.jobs.iter().any(|job| left(job) && has(job)),
                "an older build waits for a group that was taken"
            );
        }
        if let Some(number) = of {
            self.happen(QueueEvent::PullRequestBuilt { repo, build: id, number }).unwrap();
        }
        id
    }

    /// Lets an event happen and all that follows, and checks that the queue is in order afterwards.
    pub(crate) fn happen(&mut self, event: QueueEvent) -> Result<Vec<Move>, Refused> {
        let (mut agenda, mut moves) = (Agenda::new(event), Vec::new());
        while let Some(event) = agenda.next_event() {
            let decision = decide(&self.load(&event), &event)?;
            for change in decision.changes {
                self.apply(change, &mut moves);
            }
            agenda.add(decision.follow);
        }
        self.check();
        Ok(moves)
    }

    /// Claims the next job, and checks that its lane had the turn.
    pub(crate) fn claim(&mut self) -> Option<JobId> {
        let waiting: HashSet<RepoId> = self.with(&[Status::Queued]).map(|job| job.repo).collect();
        let running = |model: &Self, repo| model.with(&RUNS).filter(|job| job.repo == repo).count();
        let before: Vec<(RepoId, usize)> = waiting.iter().map(|repo| (*repo, running(self, *repo))).collect();
        let free = self.with(&RUNS).count() < self.server.slots.all;
        let moves = self.happen(QueueEvent::Slot).unwrap();
        let claimed = moves.iter().find(|one| one.claimed);
        assert_eq!(claimed.is_some(), free && !waiting.is_empty(), "a slot is used exactly if a job waits for one");
        assert!(self.with(&RUNS).count() <= self.server.slots.all, "more jobs run than there are slots");
        let claimed = claimed?;
        let own = before.iter().find(|(repo, _)| *repo == claimed.repo).unwrap().1;
        assert!(before.iter().all(|(_, runs)| own <= *runs), "a repository with fewer running jobs was passed over");
        Some(claimed.job)
    }

    pub(crate) fn with<'a>(&'a self, statuses: &'a [Status]) -> impl Iterator<Item = &'a JobFacts> {
        self.jobs.iter().filter(|job| statuses.contains(&job.status))
    }

    pub(crate) fn job(&self, id: JobId) -> &JobFacts {
        self.jobs.iter().find(|job| job.id == id).unwrap()
    }

    fn job_mut(&mut self, id: JobId) -> &mut JobFacts {
        self.jobs.iter_mut().find(|job| job.id == id).unwrap()
    }

    fn apply(&mut self, change: Change, moves: &mut Vec<Move>) {
        match change {
            Change::Move(change) => {
                let job = self.job_mut(change.job);
                assert_eq!(job.status, change.from, "a change of a status that is no more");
                assert!(!job.status.is_final(), "a job left a final status");
                if change.to == Status::Skipped {
                    self.check_skipped(change.job, change.reason.as_deref().unwrap_or_default());
                }
                let job = self.job_mut(change.job);
                (job.status, job.reason, job.attempt) = (change.to, change.reason.clone(), change.attempt);
                if change.to == Status::Running {
                    self.check_starts(change.job);
                }
                moves.push(change);
            }
            Change::Ready(job) => {
                self.check_ready(job);
                self.job_mut(job).ready = true;
            }
            Change::Approved { job, .. } => self.job_mut(job).approved = true,
            Change::KeepAttempt { .. } | Change::BeginAgain(_) => {}
            Change::HadTurn(job) => {
                self.turn += 1;
                for taker in self.lane(self.job(job).build).takers() {
                    self.turns.insert(taker, self.turn);
                }
            }
        }
    }

    fn lane(&self, build: BuildId) -> Lane {
        self.builds.iter().find(|one| one.id == build).unwrap().lane
    }

    fn check_starts(&self, id: JobId) {
        let job = self.job(id);
        assert!(job.ready, "a job that is not ready runs");
        assert!(job.plan.question().is_none() || job.approved, "a job runs that nobody has approved");
        assert!(job.plan.runs_on.is_empty() || self.server.labels.as_ref() == Some(&job.plan.runs_on));
        for need in &job.plan.needs {
            let end = self.of_key(job.build, &need.key);
            assert!(end.status.is_final(), "a job runs before its needs are over");
            if job.plan.condition.is_none() && !need.optional {
                let passed = end.status == Status::Success || end.plan.continue_on_error;
                assert!(passed && !matches!(end.status, Status::Skipped | Status::Canceled));
            }
        }
    }

    /// A job whose needs let it run has waited for all that it sees; `failure()` has seen one that failed.
    fn check_ready(&self, id: JobId) {
        let job = self.job(id);
        assert!(
            self.seen_by(job).iter().all(|seen| seen.status.is_final()),
            "a job is ready before what it sees is over"
        );
        assert!(condition(job) != "failure()" || self.sees_failure(job), "`failure()` holds without a failure");
    }

    /// A job whose `if` asks for results is skipped only if the answer is no.
    fn check_skipped(&self, id: JobId, reason: &str) {
        let job = self.job(id);
        assert!(condition(job) != "always()" || !reason.starts_with("`if: "), "`always()` does not hold");
        let is_blind = reason.starts_with("`if: failure()` was false") && self.sees_failure(job);
        assert!(!is_blind, "a failure is not seen: {reason}");
    }

    fn sees_failure(&self, job: &JobFacts) -> bool {
        let counts = |seen: &&&JobFacts| {
            let is_optional = job.plan.needs.iter().any(|need| need.optional && need.key == seen.plan.key);
            !is_optional && !seen.plan.continue_on_error
        };
        let failed = |seen: &&JobFacts| matches!(seen.status, Status::Failure | Status::Error | Status::TimedOut);
        self.seen_by(job).iter().filter(counts).any(failed)
    }

    /// The invariants after every event.
    fn check(&self) {
        let busy = [Status::Queued, Status::Running, Status::Canceling];
        let mut holders: BTreeMap<(RepoId, String), BuildId> = BTreeMap::new();
        let mut matrices: BTreeMap<(BuildId, &str), u32> = BTreeMap::new();
        for job in self.with(&busy) {
            if let Some(group) = group(job) {
                let holder = *holders.entry((job.repo, group)).or_insert(job.build);
                assert_eq!(holder, job.build, "two builds have a group at once");
            }
            if let Some(most) = job.plan.matrix_group.and_then(|matrix| matrix.max_parallel) {
                let count = matrices.entry((job.build, &job.plan.job)).or_default();
                *count += 1;
                assert!(*count <= most, "more of a matrix run at once than may");
            }
        }
        for job in &self.jobs {
            match job.status {
                Status::Blocked => self.check_waits(job),
                Status::Failure | Status::Error | Status::Canceled | Status::Skipped | Status::TimedOut => {
                    assert!(job.reason.is_some(), "{} without a reason", job.status);
                }
                Status::Queued | Status::Running | Status::Canceling | Status::Success => {}
            }
        }
        for repo in self.jobs.iter().map(|job| job.repo).collect::<HashSet<_>>() {
            let event = QueueEvent::Room { repo };
            assert_eq!(decide(&self.load(&event), &event), Ok(Default::default()), "somebody waits for what is free");
        }
        for build in &self.builds {
            let of_build = self.jobs.iter().filter(|job| job.build == build.id);
            let jobs: Vec<JobOfBuild> = of_build
                .map(|job| JobOfBuild {
                    name: job.plan.name.clone(),
                    status: job.status,
                    reason: job.reason.clone(),
                    continue_on_error: job.plan.continue_on_error,
                })
                .collect();
            let stands = standing(&jobs);
            assert_eq!(stands.status.is_final(), jobs.iter().all(|job| job.status.is_final()));
            let ended_badly = stands.status.is_final() && stands.status != Status::Success;
            assert!(stands.reason.is_some() || !ended_badly, "a build is {} without a reason", stands.status);
        }
    }

    /// A job that waits, waits for an event that is still to come, and says so unless the event is the end of a need.
    fn check_waits(&self, job: &JobFacts) {
        if job.ready || job.reason.is_some() {
            assert!(job.reason.is_some(), "a job waits and does not say for what");
            assert!(job.ready || (job.plan.question().is_some() && !job.approved));
        } else {
            assert!(
                self.seen_by(job).iter().any(|seen| !seen.status.is_final()),
                "a job waits for needs that are over"
            );
        }
    }

    fn of_key(&self, build: BuildId, key: &str) -> &JobFacts {
        self.jobs.iter().find(|job| job.build == build && job.plan.key == key).unwrap()
    }

    /// The jobs that a job needs, and those behind skipped ones. Written apart from the rules, to hold them to it.
    fn seen_by(&self, job: &JobFacts) -> Vec<&JobFacts> {
        let is_optional = |key: &str| job.plan.needs.iter().any(|need| need.key == key && need.optional);
        let mut seen: Vec<&JobFacts> = job.plan.needs.iter().map(|need| self.of_key(job.build, &need.key)).collect();
        let mut at = 0;
        while let Some(need) = seen.get(at).copied() {
            at += 1;
            if need.status == Status::Skipped && !is_optional(&need.plan.key) {
                let behind = need.plan.needs.iter().filter(|behind| !behind.optional);
                for behind in behind.map(|behind| self.of_key(job.build, &behind.key)) {
                    if !seen.iter().any(|one| one.id == behind.id) {
                        seen.push(behind);
                    }
                }
            }
        }
        seen
    }

    fn graph(&self, build: BuildId) -> BuildGraph {
        let of_build = self.jobs.iter().filter(|job| job.build == build);
        let jobs = of_build.map(|job| GraphJob {
            id: job.id,
            end: NeedEnd {
                key: job.plan.key.clone(),
                status: job.status,
                outputs: BTreeMap::new(),
                continue_on_error: job.plan.continue_on_error,
            },
            needs: job.plan.needs.clone(),
        });
        BuildGraph::new(jobs.collect())
    }

    /// The snapshot that an event asks for, and nothing beyond it.
    fn load(&self, event: &QueueEvent) -> Snapshot {
        let mut snapshot = Snapshot::of(self.server.clone());
        let open = |is_of: &dyn Fn(&JobFacts) -> bool| -> Vec<JobFacts> {
            self.jobs.iter().filter(|job| !job.status.is_final() && is_of(job)).cloned().collect()
        };
        match event {
            QueueEvent::Slot => {
                let runs = self.with(&RUNS).map(|job| self.lane(job.build));
                let waits = self.jobs.iter().enumerate().filter(|(_, job)| job.status == Status::Queued);
                snapshot.queue = Queue {
                    waiting: waits
                        .map(|(at, job)| Waiting { job: job.id, lane: self.lane(job.build), order: at as i64 })
                        .collect(),
                    running: runs.collect(),
                    turns: self.turns.clone(),
                };
            }
            QueueEvent::Job { job, .. } | QueueEvent::AttemptEnded { job, .. } => {
                snapshot.jobs = vec![self.job(*job).clone()];
            }
            QueueEvent::Approved { job } | QueueEvent::Declined { job, .. } => {
                snapshot.jobs = vec![self.job(*job).clone()];
                snapshot.graph = self.graph(self.job(*job).build);
            }
            QueueEvent::BuildCanceled { build } => snapshot.jobs = open(&|job| job.build == *build),
            QueueEvent::BuildCreated { build } | QueueEvent::BuildApproved { build } => {
                snapshot.jobs = open(&|job| job.build == *build);
                snapshot.graph = self.graph(*build);
            }
            QueueEvent::NeedOver { build, job: need } => {
                snapshot.graph = self.graph(*build);
                let dependents = snapshot.graph.dependents(*need);
                snapshot.jobs =
                    open(&|job| job.status == Status::Blocked && !job.ready && dependents.contains(&job.id));
            }
            QueueEvent::MatrixFailed { build, pipeline, job: name, .. } => {
                let same = |job: &JobFacts| job.plan.pipeline == *pipeline && job.plan.job == *name;
                snapshot.jobs = open(&|job| job.build == *build && same(job));
            }
            QueueEvent::Room { repo } => {
                snapshot.jobs = open(&|job| job.repo == *repo && job.status == Status::Blocked && job.ready);
                for job in self.jobs.iter().filter(|job| job.repo == *repo && !job.status.is_final()) {
                    if let Some(group) = group(job) {
                        snapshot.groups.push(GroupMember { group, build: job.build, number: job.number });
                    }
                    if job.status != Status::Blocked {
                        let (pipeline, name) = (job.plan.pipeline.clone(), job.plan.job.clone());
                        snapshot.under_way.push(UnderWay { build: job.build, pipeline, job: name, count: 1 });
                    }
                }
            }
            QueueEvent::GroupsTaken { repo, groups, .. } => {
                snapshot.jobs =
                    open(&|job| job.repo == *repo && group(job).is_some_and(|group| groups.contains(&group)));
            }
            QueueEvent::PullRequestBuilt { repo, number, .. } | QueueEvent::PullRequestClosed { repo, number } => {
                let of_repo = self.builds.iter().filter(|build| build.lane.repo == *repo);
                let of_it = of_repo.filter_map(|build| build.pull_request.as_ref()).filter(|(of, _)| of == number);
                let builds: Vec<PullRequestBuild> = of_it.map(|(_, build)| build.clone()).collect();
                snapshot.jobs = open(&|job| builds.iter().any(|build| build.build == job.build));
                snapshot.pull_request = PullRequestFacts { cancels_older: true, builds };
            }
        }
        snapshot
    }

    /// Lets everything that waits come to its end: every question is answered with yes, every job succeeds.
    pub(crate) fn drain(&mut self) {
        for _ in 0..=self.jobs.len() * 8 {
            let asks = |job: &&JobFacts| !job.ready && job.status == Status::Blocked && job.reason.is_some();
            let asked = self.jobs.iter().find(asks).map(|job| job.id);
            let running = self.with(&RUNS).next().map(|job| (job.id, job.attempt));
            if let Some(job) = asked {
                self.happen(QueueEvent::Approved { job }).unwrap();
            } else if let Some((job, attempt)) = running {
                self.happen(QueueEvent::AttemptEnded { job, attempt, outcome: Outcome::Success }).unwrap();
            } else if self.claim().is_none() {
                return;
            }
        }
        panic!("the queue never empties");
    }

    pub(crate) fn request_end(&mut self, job: JobId) {
        self.happen(QueueEvent::Job { job, event: JobEvent::CancelRequested }).unwrap();
    }
}

pub(crate) const RUNS: [Status; 2] = [Status::Running, Status::Canceling];

fn condition(job: &JobFacts) -> &str {
    job.plan.condition.as_ref().map_or("", |condition| condition.source())
}

fn group(job: &JobFacts) -> Option<String> {
    job.plan.concurrency.as_ref().map(|concurrency| concurrency.group.clone())
}
