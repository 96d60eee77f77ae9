//! Pushes without a webhook are found by a command, and at the server's start.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::Command;

use serde_json::Value;
use support::{
    engine,
    server::{ADMIN_TOKEN, program},
    until,
    world::World,
};

/// Waits until the server has looked at the repository, so that what is pushed from now on is new.
fn looked_at(world: &World) {
    until("the first look", || {
        let repo = world.api().get(&format!("/api/v1/repos/{}", world.repo));
        (!repo["looked_at"].is_null()).then_some(())
    });
}

fn check(world: &World) -> String {
    let mut command = Command::new(program());
    command.args(["repo", "look", "team/app"]);
    command.env("LONGSHORE_URL", world.server.url()).env("LONGSHORE_TOKEN", ADMIN_TOKEN);
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_push_that_no_webhook_told_of_is_built_when_somebody_looks_and_when_the_server_starts() {
    let mut world = World::start();
    looked_at(&world);
    // Nobody listens there.
    world.git.hook("http://127.0.0.1:1/hooks/none", &world.secret);
    let pipeline =
        format!("on: push\njobs: {{ one: {{ image: {}, steps: [{{ run: echo built }}] }} }}\n", engine::BUSYBOX);
    let commit = world.git.push(&pipeline);
    let found = check(&world);
    assert!(found.contains("refs/heads/main") && found.contains(&commit[..10]), "{found}");
    let build = world.build_of(&commit);
    assert_eq!(build["found"], true, "{build}");
    assert_eq!(world.api().wait_for_build(build["id"].as_str().unwrap())["status"], "success");
    let delivery = world.api().get(&format!("/api/v1/deliveries/{}", build["delivery"].as_str().unwrap()));
    assert_eq!((&delivery["found"], &delivery["status"]), (&Value::Bool(true), &"done".into()), "{delivery}");
    assert!(check(&world).starts_with("No missed pushes"));

    world.server.kill();
    let commit = world.git.push(&format!("{pipeline}# pushed while the server was down\n"));
    world.server.launch();
    assert_eq!(world.build_of(&commit)["found"], true);
}
