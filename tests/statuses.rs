//! Statuses at the forge: a server, a real engine and git host, and a forge that keeps what it is told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{api::text, forge::Kind, forge_world::World, until, world::one_step};

#[test]
fn a_commit_shows_what_became_of_it_and_leads_to_its_build() {
    let world = World::start(Kind::Gitea);
    let (commit, build) = world.build(&one_step("exit 7"));
    let description = world.shows(&commit, "longshore/longshore", "failure");
    assert_eq!(description, "one: step `exit 7` failed with exit code 7");
    let statuses = world.forge.state().statuses.clone();
    for status in &statuses {
        assert!(status.target_url.ends_with(&format!("/builds/{build}")), "{}", status.target_url);
    }
    let states: Vec<&str> = statuses.iter().map(|status| status.state.as_str()).collect();
    assert!(states.starts_with(&["pending"]) && states.ends_with(&["failure"]), "{states:?}");
    let mut refused = world.forge.state().refused.clone();
    // Which rights a token has is found out by what is refused.
    refused.retain(|call| !call.contains("longshore-asks-for-its-rights"));
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn a_repository_that_is_renamed_and_a_forge_that_is_away_for_a_while_lose_nothing() {
    let world = World::start(Kind::Forgejo);
    world.forge.rename(41, "other/renamed");
    let commit = world.git.push(&one_step("true"));
    let build = world.deliver_push(&commit);
    world.shows(&commit, "longshore/longshore", "success");

    world.forge.state().down = true;
    let before = world.forge.state().statuses.len();
    let (status, again) = world.server.api().post(&format!("/api/v1/builds/{build}/rerun"), &json!({}));
    assert_eq!(status, 202, "{again}");
    let again = text(&again, "id");
    assert_eq!(world.server.api().wait_for_build(&again)["status"], "success");
    assert_eq!(world.forge.state().statuses.len(), before);
    world.forge.state().down = false;
    until("the newest build's status", || {
        let state = world.forge.state();
        let last = state.statuses.last()?;
        (last.state == "success" && last.target_url.ends_with(&again)).then_some(())
    });
}

#[test]
fn over_kills_every_context_ends_with_the_right_state_and_none_arrives_out_of_order() {
    let mut world = World::start(Kind::Forgejo);
    let job = |name: &str, run: &str| one_step(run).replace("one:", &format!("{name}:")).replacen("jobs:\n", "", 1);
    let mut expected: Vec<(String, String, &str)> = Vec::new();
    for round in 0..4 {
        let run = if round % 2 == 0 { "sleep 1; true" } else { "sleep 1; exit 3" };
        let pipeline = format!("# {round}\njobs:\n{}{}", job("first", "echo hello"), job("second", run));
        let commit = world.git.push(&pipeline);
        let build = world.deliver_push(&commit);
        world.forge.state().down = round % 2 == 1;
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(300));
            world.server.kill();
            world.server.launch();
        }
        world.forge.state().down = false;
        let ended = world.server.api().wait_for_build(&build);
        let state = if ended["status"] == "success" { "success" } else { "failure" };
        assert_eq!(state, if round % 2 == 0 { "success" } else { "failure" }, "{ended}");
        expected.push((commit, build, state));
    }
    for (commit, build, state) in &expected {
        world.shows(commit, "longshore/longshore", state);
        let state_of = world.forge.state();
        let of_commit: Vec<_> = state_of.statuses.iter().filter(|status| status.commit == *commit).collect();
        let is_final = |state: &str| matches!(state, "success" | "failure" | "canceled");
        let first_final = of_commit.iter().position(|status| is_final(&status.state)).unwrap();
        for status in &of_commit[first_final..] {
            assert_eq!(status.state, *state, "after its end: {of_commit:?}");
        }
        assert!(of_commit.iter().all(|status| status.target_url.ends_with(build.as_str())));
    }
}

#[test]
fn a_build_page_says_which_status_is_late_and_why() {
    let world = World::start(Kind::Github);
    world.forge.state().commits = vec!["0".repeat(40)];
    let (_, build) = world.build(&one_step("true"));
    world.server.api().wait_for_build(&build);
    let statuses = until("the forge's refusal", || {
        let build = world.server.api().get(&format!("/api/v1/builds/{build}"));
        let late = build["late_statuses"].as_array()?.first()?.clone();
        late["problem"].as_str().map(|_| late.clone())
    });
    assert_eq!(statuses["context"], "longshore/longshore");
    assert!(statuses["problem"].as_str().unwrap().contains("No commit found"), "{statuses}");
}

#[test]
fn a_github_app_clones_and_reports_with_tokens_that_are_made_for_the_moment() {
    let mut world = World::of_app();
    let (commit, build) = world.build(&one_step("echo hello"));
    world.shows(&commit, "longshore/longshore", "success");
    // Older installation tokens are not valid any more, and a server that starts has none in memory.
    world.server.kill();
    world.forge.state().app.as_mut().unwrap().tokens.clear();
    world.server.launch();
    let (commit, again) = world.build(&one_step("exit 3"));
    world.shows(&commit, "longshore/longshore", "failure");
    let repo = world.server.api().get(&format!("/api/v1/repos/{}", world.repo));
    assert!(!repo.to_string().contains("ghs_"), "{repo}");
    assert_ne!(build, again);
    let state = world.forge.state();
    assert!(state.app.as_ref().unwrap().minted <= 2, "{:?}", state.app);
    let database = std::fs::read(world.server.data.path().join("longshore.db")).unwrap();
    assert!(!database.windows(4).any(|window| window == b"ghs_"));
}
