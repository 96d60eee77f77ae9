//! A repository at a forge, its connection, its builds, and the reporter of their statuses.

use std::time::{Duration, Instant};

use longshore_core::{
    BuildPlan, ConnectionId, Event, EventName, JobPlan, NotificationEvent, Outcome, RepoId, StepPlan, Timestamp,
};
use longshore_forge_client::{Http, app_token};
use longshore_notification::{self as notification, Target};
use longshore_outbox::Statuses;
use longshore_store::{
    Store,
    builds::{self, Build, NewBuild},
    commit_statuses,
    connections::{self, NewConnection},
    jobs::{self, ClaimedJob},
    notifications::{self, NewNotification},
    repos::{self, NewRepo},
};
use tokio_util::sync::CancellationToken;

use crate::{
    forge::{self, APP_ID, Forge, Kind, TOKEN},
    killable::Killable,
    receiver::Receiver,
};

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) forge: Forge,
    pub(crate) repo: RepoId,
    kind: Kind,
    _dir: tempfile::TempDir,
}

impl World {
    /// A repository at a forge of this kind.
    pub(crate) async fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::connected(Forge::start(kind), kind, dir, TOKEN).await
    }

    /// A repository at GitHub, whose connection is an App that may or may not make check runs.
    pub(crate) async fn with_app(checks: bool) -> Self {
        let (dir, forge) = (tempfile::tempdir().unwrap(), Forge::start(Kind::Github));
        let pem = forge.with_app(dir.path());
        forge.state().app.as_mut().unwrap().checks = checks;
        let token = app_token(APP_ID, &pem).unwrap();
        Self::connected(forge, Kind::Github, dir, &token).await
    }

    async fn connected(forge: Forge, kind: Kind, dir: tempfile::TempDir, token: &str) -> Self {
        let store = Store::open(&dir.path().join("data")).await.unwrap();
        let id = match kind {
            Kind::Bitbucket => "{00000000-0000-0000-0000-000000000041}",
            Kind::Gogs => "team/app",
            Kind::Github | Kind::Gitea | Kind::Forgejo | Kind::Gitlab => "41",
        };
        let repo = create_repo(&store, kind.word(), &forge.url(), "team/app").await;
        let world = Self { store, forge, repo, kind, _dir: dir };
        let connection = world.connect(token).await;
        let mut tx = world.store.write().await.unwrap();
        connections::attach(&mut tx, repo, connection, id).await.unwrap();
        tx.commit().await.unwrap();
        world
    }

    /// Connects the forge, or gives its connection another token.
    pub(crate) async fn connect(&self, token: &str) -> ConnectionId {
        connect(&self.store, self.kind, &self.forge.url(), token).await
    }

    /// Starts the reporter of statuses. Dropping what it returns ends the reporter as a kill does: whatever it is about
    /// to do.
    pub(crate) fn report(&self) -> Killable {
        let statuses =
            Statuses { store: self.store.clone(), http: Http::default(), url: "https://ci.example".to_owned() };
        Killable::start(statuses.run(CancellationToken::new()))
    }

    /// Creates a build with one job.
    pub(crate) async fn build(&self, event: Event, job: JobPlan) -> Build {
        create_build(&self.store, self.repo, event, vec![job]).await
    }

    /// Creates a build of a push, with one job of this step.
    pub(crate) async fn push(&self, commit: &str, step: &str) -> Build {
        self.build(Event::new(EventName::Push, "refs/heads/main", commit), job("ci", step)).await
    }

    /// Waits until the forge is owed no status any more.
    pub(crate) async fn nothing_is_owed(&self) {
        let start = Instant::now();
        while !commit_statuses::due(&self.store, &[], 1).await.unwrap().is_empty() {
            let owed = commit_statuses::due(&self.store, &[], 9).await;
            let refused = self.forge.state().refused.clone();
            assert!(start.elapsed() < Duration::from_secs(600), "still owed: {owed:?}, refused: {refused:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Returns the job `test` of a pipeline, with one step.
pub(crate) fn job(pipeline: &str, step: &str) -> JobPlan {
    JobPlan {
        key: format!("{pipeline}/test"),
        pipeline: pipeline.to_owned(),
        name: "test".to_owned(),
        job: "test".to_owned(),
        image: "busybox".into(),
        steps: vec![StepPlan { name: step.to_owned(), run: Some("true".into()), ..StepPlan::default() }],
        timeout_ms: 60_000,
        ..JobPlan::default()
    }
}

/// Connects the forge at this address, or gives its connection another token.
pub(crate) async fn connect(store: &Store, kind: Kind, url: &str, token: &str) -> ConnectionId {
    let new = NewConnection {
        name: None,
        kind: kind.word().to_owned(),
        url: url.to_owned(),
        account: forge::ACCOUNT.to_owned(),
        token: token.to_owned(),
        clone_login: String::new(),
    };
    let mut tx = store.write().await.unwrap();
    let (connection, _) = connections::set(&mut tx, &new, "x", Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    connection.id
}

/// Creates a repository of a forge at this address.
pub(crate) async fn create_repo(store: &Store, forge: &str, url: &str, name: &str) -> RepoId {
    let new = NewRepo {
        name: name.to_owned(),
        forge: forge.to_owned(),
        clone_url: format!("{url}/{name}.git"),
        public: false,
        default_branch: None,
    };
    let mut tx = store.write().await.unwrap();
    let id = repos::create(&mut tx, &new, Timestamp::now()).await.unwrap().id;
    tx.commit().await.unwrap();
    id
}

/// Adds a webhook of a repository, or of the server.
pub(crate) async fn add_webhook(
    store: &Store,
    receiver: &Receiver,
    repo: Option<RepoId>,
    events: &[NotificationEvent],
    branches: &[&str],
) {
    add_webhook_at(store, "ours", &receiver.url("/hook"), repo, events, branches).await;
}

/// Adds a webhook at this address.
pub(crate) async fn add_webhook_at(
    store: &Store,
    name: &str,
    url: &str,
    repo: Option<RepoId>,
    events: &[NotificationEvent],
    branches: &[&str],
) {
    let target = Target::new(notification::Kind::Webhook, url, None).unwrap();
    let new = NewNotification {
        repo,
        kind: "webhook".to_owned(),
        name: name.to_owned(),
        shown: target.shown(),
        target: target.to_sealed(),
        events: events.to_vec(),
        branches: branches.iter().map(|&branch| branch.to_owned()).collect(),
        internal: true,
    };
    let mut tx = store.write().await.unwrap();
    notifications::add(&mut tx, &new, "x", Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
}

pub(crate) async fn create_build(store: &Store, repo: RepoId, event: Event, jobs: Vec<JobPlan>) -> Build {
    let new = NewBuild::new(repo, event, BuildPlan::new(jobs), Vec::new());
    let mut tx = store.write().await.unwrap();
    let build = builds::create(&mut tx, &new, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    build
}

/// Claims the oldest job that waits.
pub(crate) async fn claim(store: &Store) -> ClaimedJob {
    let mut tx = store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, Timestamp::now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    claimed
}

pub(crate) async fn end(store: &Store, claimed: &ClaimedJob, outcome: Outcome) {
    let mut tx = store.write().await.unwrap();
    jobs::end_attempt(&mut tx, claimed.job.id, claimed.attempt, outcome, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// Returns the outcome of a job in which this step failed.
pub(crate) fn failure(exit_code: i32, step: &str) -> Outcome {
    Outcome::Failure { exit_code, step: step.to_owned(), out_of_memory: false }
}
