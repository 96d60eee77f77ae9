//! Check runs at GitHub: a server, a real engine and git host, and a GitHub that knows an App and keeps what it is
//! told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use longshore_forge::{Forge, signature::sign};
use serde_json::json;
use support::{
    api::{Api, text},
    forge_world::World,
    until,
    world::one_step,
};

#[test]
fn what_a_job_finds_stands_at_its_line_at_github_and_its_button_runs_it_again() {
    let world = World::of_app_with_checks();
    let (commit, build) = world.build(&one_step("echo '::error file=src/lib.rs,line=3::it is broken'; exit 7"));
    let run = until("the check run's end", || {
        let state = world.forge.state();
        state.check_runs.iter().find(|run| run.body["conclusion"] == "failure").cloned()
    });
    assert_eq!((&run.body["name"], &run.body["head_sha"]), (&"longshore/longshore".into(), &commit.into()));
    let [found] = &run.annotations[..] else { panic!("{:?}", run.annotations) };
    assert_eq!((&found["path"], &found["start_line"]), (&"src/lib.rs".into(), &3.into()));
    assert_eq!(found["message"], "it is broken");
    assert!(world.forge.state().statuses.is_empty());

    let hook = world.forge.state().app.as_ref().unwrap().hook.clone();
    let url = hook["url"].as_str().unwrap();
    let path = url[url.find("/hooks/apps/").unwrap()..].to_owned();
    let body = json!({
        "action": "rerequested", "repository": { "id": 41 }, "sender": { "login": "ada" },
        "check_run": { "name": run.body["name"], "external_id": run.body["external_id"] },
    });
    let body = body.to_string();
    let signature = sign(Forge::Github, body.as_bytes(), hook["secret"].as_str().unwrap().as_bytes());
    let headers = [("X-GitHub-Event", "check_run"), ("X-Hub-Signature-256", signature.as_str())];
    let (status, answer) = Api::new(&world.server.url(), None).post_bytes(&path, &headers, body.as_bytes());
    assert_eq!(status, 202, "{answer}");
    let again = answer["builds"][0].as_str().unwrap().to_owned();
    assert_ne!(again, build);
    assert_eq!(text(&world.server.api().wait_for_build(&again), "status"), "failure");
    until("a check run of the rerun", || {
        let state = world.forge.state();
        let run = state.check_runs.iter().find(|run| run.body["external_id"] == again.as_str())?;
        (run.body["conclusion"] == "failure").then_some(())
    });
}
