//! Statuses of commits.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use longshore_core::{Event, EventName, Outcome, Timestamp, commit_status::CommitState};
use longshore_store::{commit_statuses, connections};

use crate::{
    forge::{Kind, TOKEN},
    world::{World, claim, connect, create_build, create_repo, end, failure, job},
};

const STEP: &str = "Unit tests";

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
        let build = world.push(&commit(1), STEP).await;
        world.nothing_is_owed().await;
        let job = claim(&world.store).await;
        world.nothing_is_owed().await;
        end(&world.store, &job, failure(101, STEP)).await;
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
    world.push(&commit(1), STEP).await;
    let job = claim(&world.store).await;
    end(&world.store, &job, Outcome::Success).await;
    let key = commit_statuses::due(&world.store, &[], 1).await.unwrap()[0].key.clone();
    let start = Instant::now();
    while commit_statuses::unsent(&world.store, &key).await.unwrap().unwrap().attempts == 0 {
        assert!(start.elapsed() < Duration::from_secs(600));
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
async fn a_slow_forge_that_is_owed_much_holds_up_no_other() {
    let world = World::new(Kind::Github).await;
    // It takes connections, and never answers.
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = format!("http://{}", slow.local_addr().unwrap());
    let repo = create_repo(&world.store, "github", &slow, "other/app").await;
    let connection = connect(&world.store, Kind::Github, &slow, TOKEN).await;
    let mut tx = world.store.write().await.unwrap();
    connections::attach(&mut tx, repo, connection, "42").await.unwrap();
    tx.commit().await.unwrap();
    let pipelines: Vec<_> = (0..300).map(|n| job(&format!("p{n}"), STEP)).collect();
    let event = Event::new(EventName::Push, "refs/heads/main", commit(2));
    create_build(&world.store, repo, event, pipelines).await;
    world.push(&commit(1), STEP).await;
    let (start, began) = (Instant::now(), Timestamp::now());
    let _reporter = world.report();
    while world.forge.state().statuses.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(120), "the other forge was told nothing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let owed = commit_statuses::due(&world.store, &[], 300).await.unwrap();
    assert!(owed.iter().all(|due| due.try_at <= began), "it waited until slow calls had failed: {owed:?}");
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
                3 | 8 => {
                    drop(reporter);
                    reporter = world.report();
                }
                _ => {}
            }
            let build = world.push(&commit(n % 20), STEP).await;
            let job = claim(&world.store).await;
            if dice % 3 == 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            let outcome = if n % 2 == 0 { Outcome::Success } else { failure(101, STEP) };
            let state = if n % 2 == 0 { CommitState::Success } else { CommitState::Failure };
            end(&world.store, &job, outcome).await;
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
            // A build's ids grow: none of an older build follows one of a newer, and nothing of a build follows its
            // end.
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
    world.connect("a-token-that-was-revoked").await;
    let _reporter = world.report();
    let build = world.push(&commit(1), STEP).await;
    let start = Instant::now();
    let late = loop {
        let late = commit_statuses::late(&world.store, build.id, Timestamp::now()).await.unwrap();
        if let Some(problem) = late.first().and_then(|late| late.problem.clone()) {
            break problem;
        }
        assert!(start.elapsed() < Duration::from_secs(600));
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(late.contains("rejected the token") && !late.contains("a-token-that"), "{late}");
    world.connect(TOKEN).await;
    world.nothing_is_owed().await;
    assert_eq!(world.forge.state().statuses.len(), 1);
}
