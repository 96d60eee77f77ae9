//! A server with its store. Tests drive a job's life by hand, as the dispatcher and the executor do, without an engine.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use longshore_api::{Api, ApiConfig, EngineProbe};
use longshore_core::{
    ArtifactKind, BuildPlan, DeliveryId, Event, EventName, JobId, JobPlan, Outcome, Record, RecordKind, RepoId,
    StepPlan, Stream, Timestamp, access::Rights,
};
use longshore_files::{artifacts::IncomingLimits, logs::LogWriter};
use longshore_git::{Git, Mirrors};
use longshore_scheduler::{Logins, Order, Pace, Planner, Report, Scheduler};
use longshore_store::{
    Store,
    artifacts::{self, NewArtifact},
    builds::{self, Build, NewBuild},
    deliveries::{self, NewDelivery},
    jobs::{self, ClaimedJob, Job},
    repos::{self, NewRepo, Repo},
    tokens::{self, CreatedToken, NewToken, Scope},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::client::{Answer, Events, send};

pub(crate) const ADMIN: &str = "the-administrator";

pub(crate) struct World {
    pub(crate) addr: SocketAddr,
    pub(crate) store: Store,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) engine: Arc<std::sync::Mutex<Option<String>>>,
    scheduler_ends: CancellationToken,
    tasks: TaskTracker,
    /// Receives the orders to run jobs: without a receiver the dispatcher ends.
    _executor: (mpsc::Receiver<Order>, mpsc::Sender<Report>),
    _dir: tempfile::TempDir,
}

impl World {
    /// Starts a server whose scheduler has ended: deliveries stay in the inbox.
    pub(crate) async fn new() -> Self {
        let world = Self::with_dispatcher().await;
        world.scheduler_ends.cancel();
        world.tasks.wait().await;
        world
    }

    /// Starts a server whose scheduler answers and claims nothing.
    pub(crate) async fn with_dispatcher() -> Self {
        Self::reached_by("https://ci.example").await
    }

    /// The same, for a server that people reach by this address.
    pub(crate) async fn reached_by(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        std::fs::write(dir.path().join("guard.jsonl"), "").unwrap();
        let (tasks, scheduler_ends) = (TaskTracker::new(), CancellationToken::new());
        let mirrors = Arc::new(Mirrors::new(Git::default(), dir.path().join("mirrors")));
        let (orders, claimed) = mpsc::channel(1);
        let (reporter, reports) = mpsc::channel(1);
        let planner = Planner {
            mirrors,
            most_jobs: 256,
            logins: Logins { store: store.clone(), http: longshore_forge_client::Http::default() },
        };
        let scheduler = Scheduler::start(
            store.clone(),
            planner,
            Pace { capacity: 0, check_every: None },
            orders,
            reports,
            &tasks,
            &scheduler_ends,
        );
        tasks.close();
        let engine = Arc::new(std::sync::Mutex::new(None));
        let probe = Arc::clone(&engine);
        let config = ApiConfig {
            public_url: url.parse().unwrap(),
            more_hosts: vec!["ci.lan".to_owned()],
            admin_token_hash: Some(Sha256::digest(ADMIN).into()),
            capacity: 2,
            version: "1.2.3",
            started_at: Timestamp::now(),
            engine: EngineProbe::new(move || probe.lock().unwrap().clone()),
            forges: longshore_forge_client::Http::default(),
            guard_log: dir.path().join("guard.jsonl"),
            notifications: longshore_notification::Sender::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let api = Api { store: store.clone(), scheduler, config };
        let serving = tokio::spawn(longshore_api::serve(listener, api, shutdown.clone()));
        Self {
            addr,
            store,
            shutdown,
            serving,
            engine,
            scheduler_ends,
            tasks,
            _executor: (claimed, reporter),
            _dir: dir,
        }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, token: Option<&str>, body: impl Into<Bytes>) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        send(self.addr, method, path, &headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Some(ADMIN), "").await
    }

    pub(crate) async fn get_with(&self, path: &str, more: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {ADMIN}");
        let headers: Vec<(&str, &str)> =
            [("authorization", bearer.as_str())].into_iter().chain(more.iter().copied()).collect();
        send(self.addr, "GET", path, &headers, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(ADMIN), body.to_string()).await
    }

    pub(crate) async fn stream(&self, path: &str, last_id: Option<&str>) -> Events {
        let bearer = format!("Bearer {ADMIN}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(last_id.map(|id| ("last-event-id", id)));
        Events::open(self.addr, path, &headers).await
    }

    pub(crate) async fn repo(&self, name: &str, forge: &str, public: bool) -> Repo {
        let new = NewRepo {
            name: name.to_owned(),
            forge: forge.to_owned(),
            clone_url: "https://me:hidden@forge.example/r.git".to_owned(),
            public,
            default_branch: None,
        };
        let mut tx = self.store.write().await.unwrap();
        let repo = repos::create(&mut tx, &new, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        repo
    }

    pub(crate) async fn token(&self, scope: Scope) -> String {
        self.token_of(Rights::new(vec![scope], None)).await.secret
    }

    /// Creates a token with these rights, named by its scopes.
    pub(crate) async fn token_of(&self, rights: Rights) -> CreatedToken {
        let new = NewToken { name: rights.to_string(), rights, expires_at: None };
        let mut tx = self.store.write().await.unwrap();
        let made = tokens::create(&mut tx, &new, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        made
    }

    /// Makes a pending delivery.
    pub(crate) async fn deliver(&self, repo: RepoId, key: &str) -> DeliveryId {
        let new = NewDelivery {
            repo,
            key: key.to_owned(),
            event: "push".to_owned(),
            body: b"{}".to_vec(),
            body_key: None,
            is_unique: false,
            received_at: Timestamp::now(),
        };
        let mut tx = self.store.write().await.unwrap();
        let accepted = deliveries::accept(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        accepted.id
    }

    /// Makes a build whose message, author, branch, sender and step are all this text.
    pub(crate) async fn build_saying(&self, repo: RepoId, words: &str) -> Build {
        let said = || words.to_owned();
        let mut event = event(words);
        (event.message, event.author, event.sender) = (said(), said(), said());
        (event.url, event.author_email) = (Some(format!("javascript:{words}")), said());
        let mut job = job_plan(&[words]);
        (job.name, job.key, job.pipeline) = (said(), said(), said());
        self.create(repo, event, vec![job]).await
    }

    /// Makes a build of one job with these steps.
    pub(crate) async fn build(&self, repo: RepoId, branch: &str, steps: &[&str]) -> Build {
        self.create(repo, event(branch), vec![job_plan(steps)]).await
    }

    /// Makes a build of this many jobs of one step, each adjusted by `with`.
    pub(crate) async fn build_of_jobs(&self, repo: RepoId, jobs: usize, with: impl Fn(&mut JobPlan)) -> Build {
        let job = |n: usize| {
            let mut job = job_plan(&["one"]);
            (job.key, job.name) = (format!("ci/test-{n}"), format!("test-{n}"));
            with(&mut job);
            job
        };
        self.create(repo, event("main"), (0..jobs).map(job).collect()).await
    }

    /// Makes a build of one job, of an event adjusted by `with`.
    pub(crate) async fn build_of_event(&self, repo: RepoId, with: impl FnOnce(&mut Event)) -> Build {
        let mut event = event("main");
        with(&mut event);
        self.create(repo, event, vec![job_plan(&["one"])]).await
    }

    async fn create(&self, repo: RepoId, event: Event, jobs: Vec<JobPlan>) -> Build {
        self.create_with(repo, event, jobs, |_| {}).await
    }

    /// Makes a build of one job, of a push, adjusted by `with`.
    pub(crate) async fn build_with(&self, repo: RepoId, with: impl FnOnce(&mut NewBuild)) -> Build {
        self.create_with(repo, event("main"), vec![job_plan(&["one"])], with).await
    }

    async fn create_with(
        &self,
        repo: RepoId,
        event: Event,
        jobs: Vec<JobPlan>,
        with: impl FnOnce(&mut NewBuild),
    ) -> Build {
        let mut new = NewBuild::new(repo, event, BuildPlan::new(jobs), Vec::new());
        with(&mut new);
        let mut tx = self.store.write().await.unwrap();
        let build = builds::create(&mut tx, &new, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        build
    }

    pub(crate) async fn job_of(&self, build: &Build) -> Job {
        jobs::of_build(&self.store, build.id).await.unwrap().remove(0)
    }

    /// Claims the oldest job, as the dispatcher does.
    pub(crate) async fn claim(&self) -> Running {
        let mut tx = self.store.write().await.unwrap();
        let claimed = jobs::claim_next(&mut tx, Timestamp::now()).await.unwrap().expect("a queued job");
        tx.commit().await.unwrap();
        let log = self.store.logs().open_writer(claimed.job.id, claimed.attempt).unwrap();
        Running { store: self.store.clone(), id: claimed.job.id, claimed, log }
    }

    /// Makes a build of one job with one step that printed this and succeeded.
    pub(crate) async fn finished(&self, repo: RepoId, printed: &[u8]) -> JobId {
        self.finished_with(repo, printed, &[]).await
    }

    /// A job that has ended and left an artifact `out` of these files.
    pub(crate) async fn finished_with(&self, repo: RepoId, printed: &[u8], files: &[(&str, &[u8])]) -> JobId {
        let build = self.build(repo, "main", &["one"]).await;
        let mut running = self.claim().await;
        assert_eq!(running.claimed.build.id, build.id);
        running.print(0, Stream::Stdout, printed);
        let id = running.id;
        if !files.is_empty() {
            running.leave("out", files).await;
        }
        running.end(Outcome::Success).await;
        id
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.scheduler_ends.cancel();
        self.serving.abort();
    }
}

/// A claimed job and its log.
pub(crate) struct Running {
    store: Store,
    pub(crate) id: JobId,
    pub(crate) claimed: ClaimedJob,
    log: LogWriter,
}

impl Running {
    pub(crate) fn print(&mut self, step: u16, stream: Stream, data: &[u8]) {
        self.record(step, RecordKind::Output(stream), data);
    }

    pub(crate) fn record(&mut self, step: u16, kind: RecordKind, data: &[u8]) {
        let seq = self.log.last_seq() + 1;
        self.log.append(&[Record { seq, time: Timestamp::now(), step, kind, data: data.into() }]).unwrap();
    }

    /// Leaves an artifact of these files.
    pub(crate) async fn leave(&self, name: &str, files: &[(&str, &[u8])]) {
        let attempt = self.claimed.attempt;
        let limits = IncomingLimits { file_bytes: 1 << 30, job_bytes: 1 << 30, files: 1000 };
        let mut incoming = self.store.blobs().receive(self.id, attempt, limits).unwrap();
        for (path, bytes) in files {
            incoming.begin(0, name, path, bytes.len() as u64, false).unwrap();
            incoming.write(bytes).unwrap();
            incoming.end(true).unwrap();
        }
        incoming.complete(u32::try_from(files.len()).unwrap()).unwrap();
        let left = self.store.blobs().received_of(self.id, attempt).unwrap();
        let files = left.files.into_iter().map(|left| left.file).collect();
        let new = NewArtifact { kind: ArtifactKind::Files, name: name.to_owned(), expires_at: None, files };
        let mut tx = self.store.write().await.unwrap();
        artifacts::keep(&mut tx, self.id, attempt, &[new], Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn end(self, outcome: Outcome) {
        let mut tx = self.store.write().await.unwrap();
        jobs::end_attempt(&mut tx, self.id, self.claimed.attempt, outcome, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

fn event(branch: &str) -> Event {
    Event {
        message: "A change <b>\n\nwith more".to_owned(),
        author: "Somebody".to_owned(),
        author_email: "somebody@example.org".to_owned(),
        ..Event::new(EventName::Push, format!("refs/heads/{branch}"), "0123456789abcdef0123456789abcdef01234567")
    }
}

fn job_plan(steps: &[&str]) -> JobPlan {
    let step = |name: &&str| StepPlan {
        name: (*name).to_owned(),
        run: Some(format!("./{name}").into()),
        shell: "sh".to_owned(),
        ..StepPlan::default()
    };
    JobPlan {
        key: "ci/test".to_owned(),
        pipeline: "ci".to_owned(),
        name: "test".to_owned(),
        matrix: vec![("rust".to_owned(), "1.95".to_owned())],
        job: "test".to_owned(),
        image: "busybox".into(),
        steps: steps.iter().map(step).collect(),
        timeout_ms: 60_000,
        ..JobPlan::default()
    }
}
