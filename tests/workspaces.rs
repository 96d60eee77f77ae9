//! Jobs that begin on the workspace that another job of their build left.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{
    api::text,
    engine, server, until,
    world::{World, job},
};

fn log_of(world: &World, build: &Value, name: &str) -> String {
    world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(build, name), "id"))).1
}

/// A pipeline whose job `build` leaves files, and others that begin on them.
fn fan_out(build: &str, others: &str) -> String {
    format!("defaults: {{ image: {} }}\njobs:\n  build: {{ steps: [{{ run: '{build}' }}] }}\n{others}", engine::BUSYBOX)
}

/// Waits until no workspace is kept.
fn none_is_kept(world: &World) {
    world.nothing_is_left();
    until("the kept workspaces to go", || {
        engine::objects(&world.server.instance, &["workspace"]).is_empty().then_some(())
    });
}

#[test]
fn jobs_begin_on_the_workspace_that_another_left_and_none_sees_what_the_others_write() {
    let world = World::start();
    let test = "needs: [{ job: build, workspace: true }], matrix: { n: ['1', '2', '3'] }, steps: [{ run: 'cat out/file committed; echo ${{ matrix.n }} > out/file; rm committed; ls out | wc -l' }]";
    let last = "needs: [{ job: deep, workspace: true }, test], steps: [{ run: 'cat out/file out/deep; ls' }]";
    let deep = "needs: [{ job: build, workspace: true }], steps: [{ run: 'echo deep > out/deep; rm committed' }]";
    let pipeline = fan_out(
        "mkdir out; echo built > out/file",
        &format!("  test: {{ {test} }}\n  deep: {{ {deep} }}\n  last: {{ {last} }}\n"),
    );
    world.git.commit("first", &[("committed", "committed\n")]);
    let build = world.run(&pipeline);
    assert_eq!(build["status"], "success", "{build}");
    for n in 1..=3 {
        let log = log_of(&world, &build, &format!("test ({n})"));
        assert!(log.contains("begins on the workspace of build") && log.contains("built\ncommitted\n1\n"), "{log}");
    }
    let log = log_of(&world, &build, "last");
    assert!(log.contains("built\ndeep\n") && !log.contains("committed\n"), "{log}");
    none_is_kept(&world);
}

#[test]
fn a_workspace_is_kept_over_the_death_of_the_server_and_one_that_is_gone_is_said() {
    let mut world = World::start();
    let pipeline = fan_out(
        "echo built > file",
        "  ask: { needs: [{ job: build, workspace: true }], approval: 'now?', steps: [{ run: cat file }] }\n",
    );
    let commit = world.git.push(&pipeline);
    let id = text(&world.build_of(&commit), "id");
    let build = |world: &World| world.api().get(&format!("/api/v1/builds/{id}"));
    until("the first job's end", || (job(&build(&world), "build")["status"] == "success").then_some(()));
    world.server.kill();
    world.server.launch();
    world.nothing_is_left();
    let approve = |world: &World, build: &Value| {
        let path = format!("/api/v1/jobs/{}/approve", text(job(build, "ask"), "id"));
        let (status, answer) = world.api().post(&path, &json!({}));
        assert!(status < 300, "{answer}");
    };
    approve(&world, &build(&world));
    let done = world.api().wait_for_build(&id);
    assert_eq!(done["status"], "success", "{done}");
    assert!(log_of(&world, &done, "ask").contains("built\n"));
    none_is_kept(&world);

    let (status, again) = world.api().post(&format!("/api/v1/builds/{id}/rerun"), &json!({}));
    assert_eq!(status, 202, "{again}");
    let id = text(&again, "id");
    let build = |world: &World| world.api().get(&format!("/api/v1/builds/{id}"));
    until("the first job's end", || (job(&build(&world), "build")["status"] == "success").then_some(()));
    world.nothing_is_left();
    for volume in engine::objects(&world.server.instance, &["workspace"]) {
        engine::docker(&["volume", "rm", "-f", &volume]);
    }
    approve(&world, &build(&world));
    let done = world.api().wait_for_build(&id);
    let reason = text(job(&done, "ask"), "reason");
    assert!(done["status"] == "error" && reason.contains("the workspace of `build` is not on the engine"), "{done}");
    // Only what failed is to run again; the job whose workspace it needs does so too.
    let (status, again) = world.api().post(&format!("/api/v1/builds/{id}/rerun"), &json!({ "failed_only": true }));
    assert_eq!(status, 202, "{again}");
    let rerun = world.api().get(&format!("/api/v1/builds/{}", text(&again, "id")));
    assert!(job(&rerun, "build")["carried_over"].is_null(), "{rerun}");
    assert_eq!(world.api().post(&format!("/api/v1/builds/{}/cancel", text(&again, "id")), &json!({})).0, 202);
    world.api().wait_for_build(&text(&again, "id"));
    none_is_kept(&world);
}

#[test]
fn a_forks_job_that_nobody_approved_hands_no_files_to_one_that_gets_a_secret() {
    hands_nothing_over(files, |from| takes_files(from, "workspace: true"));
}

#[test]
fn a_forks_job_that_nobody_approved_hands_no_artifacts_to_one_that_gets_a_secret() {
    hands_nothing_over(files, |from| takes_files(from, "artifacts: ['*']"));
}

#[test]
fn a_forks_job_that_nobody_approved_hands_no_outputs_to_one_that_gets_a_secret() {
    let leaves = |text: &str| {
        format!(
            "outputs: {{ said: '${{{{ steps.say.outputs.said }}}}' }}, steps: [{{ id: say, run: 'echo said={text} >> \"$LONGSHORE_OUTPUT\"' }}]"
        )
    };
    let takes = |from: &str| {
        format!(
            "needs: {from}, env: {{ SAID: '${{{{ needs.{from}.outputs.said }}}}' }}, steps: [{{ run: 'echo \"$SAID\"' }}]"
        )
    };
    hands_nothing_over(leaves, takes);
}

fn files(text: &str) -> String {
    format!("artifacts: [{{ paths: [file] }}], steps: [{{ run: 'echo {text} > file' }}]")
}

fn takes_files(from: &str, how: &str) -> String {
    format!("needs: [{{ job: {from}, {how} }}], steps: [{{ run: 'cat file' }}]")
}

/// Runs a pull request of a fork whose job `build` hands something to one that gets a secret: what the job does that
/// `leaves` a text, and what one does that `takes` it from that job and prints it.
fn hands_nothing_over(leaves: impl Fn(&str) -> String, takes: impl Fn(&str) -> String) {
    let mut world = World::start();
    world.becomes_forgejos();
    assert_eq!(world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "strangers": "none" })).0, 200);
    let path = format!("/api/v1/repos/{}/secrets/TOKEN", world.repo);
    assert!(world.api().put(&path, &json!({ "value": "hunter2hunter2" })).0 < 300);
    let pipeline = format!(
        "on: [pull-request]\ndefaults: {{ image: {} }}\njobs:\n  build: {{ {} }}\n  open: {{ {} }}\n  publish: {{ secrets: [TOKEN], {} }}\n  test: {{ {} }}\n",
        engine::BUSYBOX,
        leaves("built"),
        leaves("open"),
        takes("build"),
        takes("open"),
    );
    world.git.commit("for pull requests", &[(".longshore.yml", &pipeline)]);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    world.git.git(&["checkout", "-q", "-b", "topic"]);
    let head = world.git.commit("from a fork", &[("theirs", "1")]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    world.pull_request("opened", &head, true);
    let id = text(&world.build_of(&head), "id");
    let build = || world.api().get(&format!("/api/v1/builds/{id}"));
    // A job that gets no secret runs without approval.
    until("the job that gets nothing", || (job(&build(), "test")["status"] == "success").then_some(()));
    let asked = build();
    let reason = text(job(&asked, "build"), "reason");
    assert_eq!(job(&asked, "build")["status"], "blocked", "{asked}");
    assert!(reason.contains("from a fork, whose files or outputs go to `publish`"), "{reason}");
    let (status, answer) =
        world.api().post(&format!("/api/v1/jobs/{}/approve", text(job(&asked, "build"), "id")), &json!({}));
    assert!(status < 300, "{answer}");
    until("the job with the secret to be asked about", || {
        job(&build(), "publish")["reason"].as_str()?.contains("`TOKEN`").then_some(())
    });
    let (status, answer) =
        world.api().post(&format!("/api/v1/jobs/{}/approve", text(job(&build(), "publish"), "id")), &json!({}));
    assert!(status < 300, "{answer}");
    let done = world.api().wait_for_build(&id);
    assert_eq!(done["status"], "success", "{done}");
    assert!(log_of(&world, &done, "publish").contains("built\n"));
    none_is_kept(&world);
}

#[test]
fn a_run_hands_workspaces_on_and_leaves_none() {
    let tree = tempfile::tempdir().unwrap();
    let instance = format!("workspaces-{:08x}", rand::random::<u32>());
    let test = "needs: [{ job: build, workspace: true }], steps: [{ run: 'cat file; exit 3' }]";
    let pipeline = fan_out("echo built > file", &format!("  test: {{ {test} }}\n"));
    std::fs::write(tree.path().join(".longshore.yml"), pipeline).unwrap();
    let output = Command::new(server::program())
        .arg("run")
        .current_dir(tree.path())
        .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
        .env("LONGSHORE_INSTANCE", &instance)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("| built\n"), "{printed}");
    engine::until_gone(&instance, &["volume", "job", "workspace"]);
    engine::remove_all(&instance);
}
