//! Workspaces that outlive their builds: whom they serve, and when they go.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{
    api::text,
    engine,
    server::Server,
    until,
    world::{World, job},
};

/// A job that depends on `src` and leaves something new each time that it runs, and one that begins on its workspace.
fn pipeline(test: &str) -> String {
    format!(
        "defaults: {{ image: {} }}
jobs:
  build:
    reuse: ['src/**']
    steps: [{{ run: 'cat /proc/sys/kernel/random/uuid | tee made; head -c 2000000 /dev/urandom > big' }}]
  test:
    needs: [{{ job: build, workspace: true }}]
{test}    steps: [{{ run: 'cat made; echo mine > made; rm big' }}]
",
        engine::BUSYBOX
    )
}

fn push(world: &World, files: &[(&str, &str)]) -> String {
    let commit = world.git.commit("change", files);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    text(&world.build_of(&commit), "id")
}

/// Pushes a change and waits for its build.
fn build(world: &World, files: &[(&str, &str)]) -> Value {
    let build = world.api().wait_for_build(&push(world, files));
    assert_eq!(build["status"], "success", "{build}");
    build
}

/// Returns why `build` did not run, or nothing if it did, and what the other job found in its workspace.
fn found(world: &World, build: &Value) -> (String, String) {
    let made = world.api().raw_log(&text(job(build, "build"), "id"));
    let found = world.api().raw_log(&text(job(build, "test"), "id"));
    assert!(!found.is_empty() && made == found, "{}", String::from_utf8_lossy(&found));
    (job(build, "build")["reason"].as_str().unwrap_or_default().to_owned(), String::from_utf8(found).unwrap())
}

fn workspaces(world: &World) -> Vec<String> {
    engine::objects(&world.server.instance, &["workspace"])
}

/// Waits until one workspace is left, another one than these, and returns it.
fn the_new_one(world: &World, before: &[String]) -> Vec<String> {
    until("one workspace to be left", || {
        let there = workspaces(world);
        (there.len() == 1 && !before.contains(&there[0])).then_some(there)
    })
}

#[test]
fn a_reused_jobs_workspace_serves_while_it_is_there_and_otherwise_the_job_runs() {
    let mut world = World::start();
    let first = build(&world, &[(".longshore.yml", &pipeline("")), ("src/a", "1")]);
    let (reason, made) = found(&world, &first);
    assert_eq!(reason, "");
    let second = build(&world, &[("README", "2")]);
    assert_eq!(found(&world, &second), ("same as build 1".to_owned(), made.clone()));
    let log = world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(&second, "test"), "id"))).1;
    assert!(log.contains("begins on the workspace of build"), "{log}");

    world.server.kill();
    world.server.launch();
    world.nothing_is_left();
    let third = build(&world, &[("README", "3")]);
    assert_eq!(found(&world, &third), ("same as build 1".to_owned(), made.clone()));

    world.nothing_is_left();
    for volume in workspaces(&world) {
        engine::docker(&["volume", "rm", &volume]);
    }
    let fourth = build(&world, &[("README", "4")]);
    let (reason, again) = found(&world, &fourth);
    assert_eq!(reason, "", "there is no workspace to take over");
    assert_ne!(again, made);
    let fifth = build(&world, &[("README", "5")]);
    assert_eq!(found(&world, &fifth), ("same as build 4".to_owned(), again));

    // Nobody's success stands for anything any more.
    assert!(world.api().delete(&format!("/api/v1/repos/{}", world.repo)) < 300);
    until("the workspaces to go", || workspaces(&world).is_empty().then_some(()));
    world.nothing_is_left();
}

#[test]
fn workspaces_count_in_the_budget_the_oldest_goes_and_none_that_a_job_waits_for() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_CACHE_MAX_MIB", "3")]));
    build(&world, &[(".longshore.yml", &pipeline("")), ("src/a", "1")]);
    world.nothing_is_left();
    let first = the_new_one(&world, &[]);
    build(&world, &[("src/a", "2")]);
    let second = the_new_one(&world, &first);
    let again = build(&world, &[("src/a", "1")]);
    assert_eq!(found(&world, &again).0, "", "its workspace had to go");
    let third = the_new_one(&world, &second);

    // Two that jobs wait for are over the budget, and stay.
    let waits = pipeline("    approval: 'now?'\n");
    let asked = [
        push(&world, &[(".longshore.yml", &waits), ("src/a", "3")]),
        push(&world, &[(".longshore.yml", &waits), ("src/a", "4")]),
    ];
    let of = |id: &String| world.api().get(&format!("/api/v1/builds/{id}"));
    for id in &asked {
        until("the first job's end", || (job(&of(id), "build")["status"] == "success").then_some(()));
    }
    world.nothing_is_left();
    until("the one that nobody waits for to go", || {
        let there = workspaces(&world);
        (there.len() == 2 && !there.contains(&third[0])).then_some(())
    });
    for id in &asked {
        let path = format!("/api/v1/jobs/{}/approve", text(job(&of(id), "test"), "id"));
        assert!(world.api().post(&path, &json!({})).0 < 300);
        let done = world.api().wait_for_build(id);
        assert_eq!(done["status"], "success", "{done}");
        found(&world, &done);
    }
    the_new_one(&world, &[]);
}

#[test]
fn what_a_fork_leaves_pushes_out_nothing_of_the_repositorys_and_goes_before_it() {
    let mut world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_CACHE_MAX_MIB", "3")]));
    world.becomes_forgejos();
    let (status, _) = world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "strangers": "none" }));
    assert_eq!(status, 200);
    let approved = |id: &str| {
        let of = || world.api().get(&format!("/api/v1/builds/{id}"));
        until("the first job's end", || (job(&of(), "build")["status"] == "success").then_some(()));
        let path = format!("/api/v1/jobs/{}/approve", text(job(&of(), "test"), "id"));
        assert!(world.api().post(&path, &json!({})).0 < 300);
        assert_eq!(world.api().wait_for_build(id)["status"], "success");
    };
    world.git.commit("first", &[(".longshore.yml", &pipeline("    approval: 'now?'\n")), ("src/a", "1")]);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let path = format!("/api/v1/repos/{}/builds", world.repo);
    approved(&text(&world.api().post(&path, &json!({ "ref": "main" })).1, "id"));
    world.nothing_is_left();
    let own = the_new_one(&world, &[]);

    // With this one it is over the budget, while a job waits for it and afterwards.
    world.git.git(&["checkout", "-q", "-b", "topic"]);
    let head = world.git.commit("from a fork", &[("src/a", "2")]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let delivery = world.pull_request("opened", &head, true);
    approved(delivery["builds"][0].as_str().unwrap());
    world.nothing_is_left();
    assert_eq!(the_new_one(&world, &[]), own);
}

#[test]
fn above_the_high_mark_workspaces_go_that_no_job_waits_for() {
    let mut world = World::start();
    build(&world, &[(".longshore.yml", &pipeline("")), ("src/a", "1")]);
    let idle = workspaces(&world);
    let id = push(&world, &[(".longshore.yml", &pipeline("    approval: 'now?'\n")), ("src/a", "2")]);
    let of = |world: &World| world.api().get(&format!("/api/v1/builds/{id}"));
    until("the first job's end", || (job(&of(&world), "build")["status"] == "success").then_some(()));
    world.nothing_is_left();
    assert_eq!(workspaces(&world).len(), 2);
    // Any disk is fuller than this.
    world.server.set("LONGSHORE_DISK_HIGH", "1");
    world.server.set("LONGSHORE_DISK_LOW", "0");
    world.server.kill();
    world.server.launch();
    let kept = the_new_one(&world, &idle);
    until("the page to say so", || world.api().get_text("/queue").1.contains("workspace of build").then_some(()));

    world.server.set("LONGSHORE_DISK_HIGH", "0");
    world.server.kill();
    world.server.launch();
    let path = format!("/api/v1/jobs/{}/approve", text(job(&of(&world), "test"), "id"));
    assert!(world.api().post(&path, &json!({})).0 < 300);
    let done = world.api().wait_for_build(&id);
    assert_eq!(done["status"], "success", "{done}");
    found(&world, &done);
    assert_eq!(workspaces(&world), kept, "it has outlived its build");
}
