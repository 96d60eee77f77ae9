//! The reporter on a real store, against a forge that keeps what it is told and refuses what real ones refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../../tests/support/forge.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod forge;
mod support;

use std::time::{Duration, Instant};

use forge::{Forge, Kind, TOKEN};
use longshore_core::{
    BuildPlan, Event, EventName, JobPlan, Outcome, RepoId, StepPlan, Timestamp, commit_status::CommitState,
};
use longshore_forge_client::Http;
use longshore_outbox::Statuses;
use longshore_store::{
    Store,
    builds::{self, NewBuild},
    commit_statuses,
    connections::{self, NewConnection},
    jobs,
    repos::{self, NewRepo},
};
use support::Killable;
use tokio_util::sync::CancellationToken;

struct World {
    store: Store,
    forge: Forge,
    repo: RepoId,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(kind: Kind) -> Self {
        let (dir, forge) = (tempfile::tempdir().unwrap(), Forge::start(kind));
        let store = Store::open(dir.path()).await.unwrap();
        let now = Timestamp::now();
        let connection = NewConnection {
            name: None,
            kind: kind.word().to_owned(),
            url: forge.url(),
            account: "robot".to_owned(),
            token: TOKEN.to_owned(),
            clone_login: String::new(),
        };
        let repo = NewRepo {
            name: "team/app".to_owned(),
            forge: kind.word().to_owned(),
            clone_url: format!("{}/team/app.git", forge.url()),
            public: false,
            default_branch: None,
        };
        let id = if kind == Kind::Bitbucket { "{00000000-0000-0000-0000-000000000041}" } else { "41" };
        let mut tx = store.write().await.unwrap();
        let (connection, _) = connections::set(&mut tx, &connection, "x", now).await.unwrap();
        let repo = repos::create(&mut tx, &repo, now).await.unwrap().id;
        connections::attach(&mut tx, repo, connection.id, id).await.unwrap();
        tx.commit().await.unwrap();
        Self { store, forge, repo, _dir: dir }
    }

    /// Starts the reporter. The guard ends it as a kill does: whatever it is about to do.
    fn report(&self) -> Killable {
        let statuses =
            Statuses { store: self.store.clone(), http: Http::default(), url: "https://ci.example".to_owned() };
        Killable::start(statuses.run(CancellationToken::new()))
    }

    async fn build(&self, commit: &str) -> builds::Build {
        let step = StepPlan {
            name: "Unit tests".to_owned(),
            run: Some("true".into()),
            shell: "sh".to_owned(),
            ..StepPlan::default()
        };
        let job = JobPlan {
            key: "ci/test".to_owned(),
            pipeline: "ci".to_owned(),
            name: "test".to_owned(),
            job: "test".to_owned(),
            image: "busybox".into(),
            steps: vec![step],
            timeout_ms: 60_000,
            ..JobPlan::default()
        };
        let new = NewBuild {
            repo: self.repo,
            event: Event::new(EventName::Push, "refs/heads/main", commit),
            plan: BuildPlan::new(vec![job]),
            diagnostics: Vec::new(),
            delivery: None,
            rerun_of: None,
            carried_over: Vec::new(),
        };
        let mut tx = self.store.write().await.unwrap();
        let build = builds::create(&mut tx, &new, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        build
    }

    /// Claims the oldest job and returns it.
    async fn claim(&self) -> jobs::ClaimedJob {
        let mut tx = self.store.write().await.unwrap();
        let claimed = jobs::claim_next(&mut tx, Timestamp::now()).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        claimed
    }

    async fn end(&self, job: &jobs::ClaimedJob, outcome: Outcome) {
        let mut tx = self.store.write().await.unwrap();
        jobs::end_attempt(&mut tx, job.job.id, job.attempt, outcome, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Waits until the forge is owed nothing more.
    async fn nothing_is_owed(&self) {
        let start = Instant::now();
        while !commit_statuses::due(&self.store, &[], 1).await.unwrap().is_empty() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "still owed: {:?}",
                commit_statuses::due(&self.store, &[], 9).await
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn failure() -> Outcome {
    Outcome::Failure { exit_code: 101, step: "Unit tests".to_owned(), out_of_memory: false }
}

fn commit(n: usize) -> String {
    format!("{n:040x}")
}

/// Whether nothing follows a forge's word.
fn is_final(state: &str) -> bool {
    !matches!(state, "pending" | "running" | "INPROGRESS")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_forge_shows_every_state_in_its_own_words() {
    for (kind, states) in [
        (Kind::Github, ["pending", "pending", "failure"]),
        (Kind::Gitea, ["pending", "pending", "failure"]),
        (Kind::Forgejo, ["pending", "pending", "failure"]),
        (Kind::Gitlab, ["pending", "running", "failed"]),
        (Kind::Bitbucket, ["INPROGRESS", "INPROGRESS", "FAILED"]),
    ] {
        let world = World::new(kind).await;
        let _reporter = world.report();
        let build = world.build(&commit(1)).await;
        world.nothing_is_owed().await;
        let job = world.claim().await;
        world.nothing_is_owed().await;
        world.end(&job, failure()).await;
        world.nothing_is_owed().await;
        let state = world.forge.state();
        let arrived: Vec<&str> = state.statuses.iter().map(|status| status.state.as_str()).collect();
        assert_eq!(arrived, states, "{kind:?}");
        let last = state.statuses.last().unwrap();
        assert_eq!(last.context, "longshore/ci");
        assert_eq!(last.description, "test: step `Unit tests` failed with exit code 101");
        assert_eq!(last.target_url, format!("https://ci.example/builds/{}", build.id));
        assert!(state.refused.is_empty(), "{kind:?}: {:?}", state.refused);
        if kind == Kind::Gitlab {
            assert_eq!(last.body["ref"], "main");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_is_down_or_wants_a_pause_gets_the_newest_state_alone_and_holds_up_no_other() {
    let world = World::new(Kind::Github).await;
    world.forge.state().down = true;
    let _reporter = world.report();
    world.build(&commit(1)).await;
    let job = world.claim().await;
    world.end(&job, Outcome::Success).await;
    let key = commit_statuses::due(&world.store, &[], 1).await.unwrap()[0].key.clone();
    let start = Instant::now();
    while commit_statuses::owed(&world.store, &key).await.unwrap().unwrap().attempts == 0 {
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.forge.state().limited = 1;
    world.forge.state().down = false;
    world.nothing_is_owed().await;
    let state = world.forge.state();
    let arrived: Vec<&str> = state.statuses.iter().map(|status| status.state.as_str()).collect();
    assert_eq!(arrived, ["success"]);
    assert!(state.refused.iter().any(|refused| refused.contains("503")), "{:?}", state.refused);
    assert!(state.refused.iter().any(|refused| refused.contains("403")), "{:?}", state.refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kills_and_failures_each_context_ends_right_and_none_is_told_out_of_order() {
    for kind in [Kind::Gitea, Kind::Gitlab] {
        let world = World::new(kind).await;
        let mut expected = Vec::new();
        let mut reporter = world.report();
        for n in 0..60 {
            // A fixed sequence that looks like chance.
            let dice = (n * 7919 + 13) % 11;
            match dice {
                0 | 5 => world.forge.state().limited = 1,
                1 => world.forge.state().down = true,
                2 | 7 => world.forge.state().down = false,
                3 | 8 => reporter = world.report_again(reporter),
                _ => {}
            }
            let build = world.build(&commit(n % 20)).await;
            let job = world.claim().await;
            if dice % 3 == 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            let outcome = if n % 2 == 0 { Outcome::Success } else { failure() };
            let state = if n % 2 == 0 { CommitState::Success } else { CommitState::Failure };
            world.end(&job, outcome).await;
            expected.retain(|(commit, ..): &(String, _, _)| *commit != self::commit(n % 20));
            expected.push((commit(n % 20), build.id, state));
        }
        world.forge.state().down = false;
        world.nothing_is_owed().await;
        drop(reporter);
        let state = world.forge.state();
        for (commit, build, expected) in expected {
            let of_commit: Vec<_> = state.statuses.iter().filter(|status| status.commit == commit).collect();
            let last = of_commit.last().unwrap();
            let word = match (kind, expected) {
                (_, CommitState::Success) => "success",
                (Kind::Gitlab, _) => "failed",
                (_, _) => "failure",
            };
            assert_eq!(
                (last.state.as_str(), last.target_url.as_str()),
                (word, format!("https://ci.example/builds/{build}").as_str())
            );
            // A build's ids grow: none of an older build follows one of a newer, and nothing of a build follows its end.
            for pair in of_commit.windows(2) {
                assert!(pair[0].target_url <= pair[1].target_url, "{pair:?}");
                let same = pair[0].target_url == pair[1].target_url;
                assert!(!same || !is_final(&pair[0].state) || pair[0].state == pair[1].state, "{pair:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_is_tried_again_when_another_one_comes() {
    let world = World::new(Kind::Gitea).await;
    let set = async |token: &str| {
        let new = NewConnection {
            name: None,
            kind: "gitea".to_owned(),
            url: world.forge.url(),
            account: "robot".to_owned(),
            token: token.to_owned(),
            clone_login: String::new(),
        };
        let mut tx = world.store.write().await.unwrap();
        connections::set(&mut tx, &new, "x", Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
    };
    set("a-token-that-was-revoked").await;
    let _reporter = world.report();
    let build = world.build(&commit(1)).await;
    let start = Instant::now();
    let late = loop {
        let late = commit_statuses::late(&world.store, build.id, Timestamp::now()).await.unwrap();
        if let Some(problem) = late.first().and_then(|late| late.problem.clone()) {
            break problem;
        }
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(late.contains("rejected the token") && !late.contains("a-token-that"), "{late}");
    set(TOKEN).await;
    world.nothing_is_owed().await;
    assert_eq!(world.forge.state().statuses.len(), 1);
}

impl World {
    /// Kills the reporter and starts another.
    fn report_again(&self, killed: Killable) -> Killable {
        drop(killed);
        self.report()
    }
}
