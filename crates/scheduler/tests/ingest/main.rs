//! Deliveries against a real git host and a real database: what each becomes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod closed;
mod cost;
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "it is the forge of other tests, too")]
#[path = "../../../../tests/support/forge.rs"]
mod forge;
mod forged;
mod forges;
mod late;
mod missed;
mod passed_over;
mod renames;
mod skipped;
mod storm;
#[allow(dead_code, reason = "it is the git host of other tests, too")]
#[path = "../../../git/tests/support/mod.rs"]
mod support;
mod turns;
mod twins;
mod what_changed;
mod whose_files;

use std::sync::Arc;

use longshore_core::{DeliveryId, Timestamp};
use longshore_git::{Git, Mirrors};
use longshore_scheduler::{Logins, Order, Pace, Planner, Report, Scheduler};
use longshore_store::{
    Store,
    builds::{self, Build},
    deliveries::{self, Delivery, DeliveryStatus, NewDelivery},
    repos::{self, NewRepo, Repo},
    schedules,
};
use serde_json::{Value, json};
use support::{GitHost, Options, Repository};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) const PIPELINE: &str =
    "on: [push, pull-request, manual]\njobs: { one: { image: a, steps: [{ run: b }] } }\n";

pub(crate) struct World {
    pub(crate) repository: Repository,
    pub(crate) store: Store,
    pub(crate) repo: Repo,
    pub(crate) scheduler: Scheduler,
    _host: GitHost,
    _jobs: (mpsc::Receiver<Order>, mpsc::Sender<Report>),
    _shutdown: tokio_util::sync::DropGuard,
    _folder: tempfile::TempDir,
}

impl World {
    /// Registers a repository at a forge of that kind, with `pipeline` on `main`.
    pub(crate) async fn new(forge: &str, pipeline: &str) -> Self {
        Self::with_git(forge, pipeline, Git::default()).await
    }

    pub(crate) async fn with_git(forge: &str, pipeline: &str, git: Git) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::new(folder.path(), "host/app");
        repository.write(".longshore.yml", pipeline).commit("first");
        let host = GitHost::start(&folder.path().join("host"), Options::default());
        let store = Store::open(&folder.path().join("data")).await.unwrap();
        let new = NewRepo {
            name: "app".to_owned(),
            forge: forge.to_owned(),
            clone_url: host.url("app/.git"),
            public: false,
            default_branch: Some("main".to_owned()),
        };
        let mut tx = store.write().await.unwrap();
        let repo = repos::create(&mut tx, &new, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        let mirrors = Arc::new(Mirrors::new(git.with_receive_limits(256 << 10, 1000), folder.path().join("mirrors")));
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (orders, ordered) = mpsc::channel(1);
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
            &shutdown,
        );
        // A new repository is looked at once in the background, which fetches from its host.
        while !schedules::unknown(&store).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        Self {
            repository,
            store,
            repo,
            scheduler,
            _host: host,
            _jobs: (ordered, reporter),
            _shutdown: shutdown.drop_guard(),
            _folder: folder,
        }
    }

    /// Puts deliveries into the inbox, all at once.
    pub(crate) async fn deliver(&self, event: &str, deliveries: &[(&str, &Value)]) -> Vec<DeliveryId> {
        let mut tx = self.store.write().await.unwrap();
        let mut ids = Vec::new();
        for (key, body) in deliveries {
            let new = NewDelivery {
                repo: self.repo.id,
                key: (*key).to_owned(),
                event: event.to_owned(),
                body: body.to_string().into_bytes(),
                body_key: None,
                is_unique: false,
                received_at: Timestamp::now(),
            };
            ids.push(deliveries::accept(&mut tx, &new).await.unwrap().id);
        }
        tx.commit().await.unwrap();
        ids
    }

    /// Returns the result of a delivery.
    pub(crate) async fn end(&self, id: DeliveryId) -> Delivery {
        let mut changed = self.store.watch();
        loop {
            changed.borrow_and_update();
            let delivery = deliveries::get(&self.store, id).await.unwrap().unwrap();
            assert_eq!(delivery.attempts, 0, "{delivery:?}");
            if delivery.status != DeliveryStatus::Pending {
                return delivery;
            }
            changed.changed().await.unwrap();
        }
    }

    /// Delivers one delivery and returns its result.
    pub(crate) async fn process(&self, event: &str, key: &str, body: &Value) -> Delivery {
        let [id] = self.deliver(event, &[(key, body)]).await[..] else { panic!("one") };
        self.end(id).await
    }

    /// Returns the number of the only build of a delivery.
    pub(crate) async fn build(&self, delivery: &Delivery) -> Build {
        let [build] = delivery.builds[..] else { panic!("no build: {delivery:?}") };
        builds::get(&self.store, build).await.unwrap().unwrap()
    }

    pub(crate) async fn builds(&self) -> usize {
        builds::list(&self.store, &builds::BuildFilter::default(), None, 100).await.unwrap().items.len()
    }
}

/// A push as forges announce it, at this time of their clock.
pub(crate) fn push(git_ref: &str, before: &str, after: &str, time: u32) -> Value {
    json!({ "ref": git_ref, "before": before, "after": after,
            "repository": { "default_branch": "main", "pushed_at": time }, "sender": { "login": "eve" } })
}

pub(crate) const NONE: &str = "0000000000000000000000000000000000000000";

/// A time of the forge's clock.
pub(crate) fn at(time: u32) -> String {
    format!("2000-01-01T00:00:{time:02}Z")
}

/// Something that happened to pull request 7, from a fork into `main`.
pub(crate) fn pull_request(action: &str, head: &str, time: u32) -> Value {
    json!({ "action": action, "number": 7, "sender": { "login": "eve" }, "repository": { "default_branch": "main" },
            "pull_request": { "title": "t", "updated_at": at(time),
                "head": { "ref": "topic", "sha": head, "repo": { "id": 2 } }, "base": { "ref": "main", "repo": { "id": 1 } } } })
}

#[tokio::test]
async fn a_pull_request_that_brings_too_much_fails_and_says_so() {
    let world = World::new("github", PIPELINE).await;
    let repository = &world.repository;
    repository.git(&["checkout", "-q", "-b", "topic"]);
    // Digits of many hashes, which do not compress much.
    let noise: Vec<u8> = (0..1_000_000_u64)
        .flat_map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)).to_le_bytes())
        .collect();
    let head = repository.write("large", noise).commit("large");
    repository.git(&["checkout", "-q", "main"]);
    repository.git(&["branch", "-q", "-D", "topic"]);
    repository.git(&["update-ref", "refs/pull/7/head", &head]);
    let refused = world.process("pull_request", "1", &pull_request("opened", &head, 1)).await;
    assert_eq!(refused.status, DeliveryStatus::Failed, "{refused:?}");
    assert!(refused.reason.as_ref().unwrap().contains("more than 262144 packed bytes"), "{refused:?}");
    assert_eq!(world.builds().await, 0);
}

#[tokio::test]
async fn a_start_by_hand_of_a_tag_that_is_a_branchs_name_starts_nothing() {
    let world = World::new("git", PIPELINE).await;
    world.repository.git(&["update-ref", "refs/heads/refs/tags/v9", "HEAD"]);
    let start =
        |git_ref: &str| longshore_scheduler::StartRequest { git_ref: Some(git_ref.to_owned()), ..Default::default() };
    let error = world.scheduler.start_build(world.repo.id, start("refs/tags/v9")).await.unwrap_err().to_string();
    assert!(error.contains("refs/tags/v9 not found"), "{error}");
    world.repository.git(&["tag", "tree", "HEAD^{tree}"]);
    let error = world.scheduler.start_build(world.repo.id, start("tree")).await.unwrap_err().to_string();
    assert!(error.contains("names a tree, not a commit"), "{error}");
    world.scheduler.start_build(world.repo.id, start("refs/heads/refs/tags/v9")).await.unwrap();
}
