//! The output of the commands that talk to a server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use support::{
    engine,
    server::{ADMIN_TOKEN, program},
    until,
    world::World,
};

fn longshore(world: &World, token: &str, args: &[&str]) -> Output {
    Command::new(program())
        .args(args)
        .env("LONGSHORE_URL", world.server.url())
        .env("LONGSHORE_TOKEN", token)
        .env("LONGSHORE_DATA", world.server.data.path())
        .output()
        .expect("the program runs")
}

fn said(world: &World, args: &[&str]) -> String {
    let output = longshore(world, ADMIN_TOKEN, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn complained(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let output = longshore(world, ADMIN_TOKEN, args);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_token_that_is_revoked_opens_nothing_any_more() {
    let world = World::start();
    let token = said(&world, &["token", "create", "laptop", "--scope", "read"]);
    assert!(longshore(&world, token.trim(), &["build", "list"]).status.success());
    let tokens: Vec<Value> = serde_json::from_str(&said(&world, &["token", "list", "--json"])).unwrap();
    let id = tokens.iter().find(|token| token["name"] == "laptop").unwrap()["id"].as_str().unwrap();
    assert_eq!(said(&world, &["token", "revoke", id]), "revoked\n");
    let refused = longshore(&world, token.trim(), &["build", "list"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[test]
fn a_builds_logs_say_which_job_each_line_is_of() {
    let world = World::start();
    let build = world.run(&format!(
        "on: push
jobs:
  quiet: {{ image: {image}, steps: [run: echo one] }}
  test: {{ image: {image}, matrix: {{ v: [a, b] }}, steps: [run: 'echo v=${{{{ matrix.v }}}}'] }}
",
        image = engine::BUSYBOX
    ));
    assert_eq!(build["status"], "success", "{build}");
    let id = build["id"].as_str().unwrap();
    let all = said(&world, &["build", "logs", id]);
    for line in ["quiet    | one\n", "test (a) | v=a\n", "test (b) | v=b\n"] {
        assert!(all.contains(line), "{line:?} in {all}");
    }
    let of_test = said(&world, &["build", "logs", id, "--job", "test"]);
    assert!(of_test.contains("v=a") && of_test.contains("v=b") && !of_test.contains("one"), "{of_test}");
    let objects = said(&world, &["build", "logs", id, "--json"]);
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().any(|object| object["job"] == "quiet" && object.to_string().contains("one")), "{objects:?}");
    let (code, why) = complained(&world, &["build", "logs", id, "--job", "tests"]);
    assert_eq!((code, why.contains("it has: quiet, test (a), test (b)")), (Some(1), true), "{why}");
    assert!(said(&world, &["build", "cancel", id]).contains("is over already: success"));
}

#[test]
fn what_is_no_build_or_no_address_is_told_with_what_to_write() {
    let world = World::start();
    let (code, why) = complained(&world, &["build", "show", "1"]);
    assert_eq!((code, why.contains("write `repo#number`")), (Some(2), true), "{why}");
    let (code, why) = complained(&world, &["build", "list", "--url", "127.0.0.1:80"]);
    assert_eq!((code, why.contains("write http://127.0.0.1:80")), (Some(2), true), "{why}");
}

#[test]
fn a_build_whose_files_are_broken_has_their_faults_for_a_log() {
    let world = World::start();
    let build = world.run("on: push\njobs: { one: { imagee: x } }\n");
    let output = longshore(&world, ADMIN_TOKEN, &["build", "logs", build["id"].as_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("imagee"), "{output:?}");
}

#[test]
fn a_secrets_rules_are_set_changed_and_listed_and_what_is_not_masked_is_said() {
    let world = World::start();
    let set = |args: &[&str]| {
        let args = [&["secret", "set", "team/app", "TOKEN"], args].concat();
        let output = longshore(&world, ADMIN_TOKEN, &args);
        assert!(output.status.success(), "{output:?}");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let told = set(&["--value", "long enough", "--branch", "main", "--branch", "release/*", "--event", "push"]);
    assert!(told.contains("It goes only to: branches main, release/*; events push"), "{told}");
    let listed = || said(&world, &["secret", "list", "team/app"]);
    set(&["--rules-only", "--tag", "v*", "--job", "deploy"]);
    assert!(listed().contains("branches main, release/*; tags v*; events push; jobs deploy"), "{}", listed());
    set(&["--rules-only", "--no-rules"]);
    assert!(listed().contains("all jobs"), "{}", listed());
    assert!(set(&["--value", "prod"]).contains("note: the value is shorter than 8 bytes"));
    let (code, error) = complained(&world, &["secret", "set", "team/app", "OTHER", "--rules-only", "--branch", "main"]);
    assert!(code == Some(1) && error.contains("a new one needs its value"), "{error}");
}

#[test]
fn a_token_for_some_repositories_approves_there_and_the_build_says_so() {
    let world = World::start();
    let commit = world.git.push(&format!(
        "on: push
jobs:
  deploy: {{ image: {}, approval: 'Deploy?', steps: [run: echo deployed] }}
",
        engine::BUSYBOX
    ));
    let build = world.build_of(&commit);
    let name = format!("team/app#{}", build["number"]);
    until("the job to ask", || {
        let build = world.api().get(&format!("/api/v1/builds/{}", build["id"].as_str().unwrap()));
        build["jobs"][0]["asks"].as_str().map(str::to_owned)
    });
    let builder = said(&world, &["token", "create", "builder", "--scope", "build"]);
    let refused = longshore(&world, builder.trim(), &["approve", &name]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("scope `approve`"), "{refused:?}");
    let approver =
        said(&world, &["token", "create", "ada", "--scope", "approve", "--repo", "team/app", "--expires-in-days", "7"]);
    let listed = said(&world, &["token", "list"]);
    let line = listed.lines().find(|line| line.contains(" ada ")).unwrap();
    assert!(line.contains("approve") && line.contains("team/app"), "{listed}");
    let approved = longshore(&world, approver.trim(), &["approve", &format!("{name}/deploy")]);
    assert!(approved.status.success(), "{approved:?}");
    world.api().wait_for_build(build["id"].as_str().unwrap());
    let shown = said(&world, &["build", "show", &name]);
    assert!(shown.contains("started by a webhook, 20") && shown.contains("approved by ada, 20"), "{shown}");
    let (code, why) = complained(&world, &["decline", &name]);
    assert_eq!((code, why.contains("no job of build")), (Some(1), true), "{why}");
}

#[test]
fn the_first_start_prints_a_link_and_no_token() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Command::new(program())
        .arg("serve")
        .env("LONGSHORE_DATA", data.path())
        .env("LONGSHORE_LISTEN", "127.0.0.1:0")
        .env("LONGSHORE_DOCKER_HOST", "unix:///nowhere/docker.sock")
        .env("LONGSHORE_LOG", "trace")
        .env_remove("LONGSHORE_ADMIN_TOKEN")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = String::new();
    for line in BufReader::new(server.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        printed.push_str(&line);
        printed.push('\n');
        if line.contains("ready") && line.contains("capacity=") {
            break;
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let token = std::fs::read_to_string(data.path().join("admin-token")).unwrap();
    assert!(token.starts_with("lsh_") && !printed.contains(token.trim()) && !printed.contains("lsh_"), "{printed}");
    assert!(printed.contains("/sign-in?code=") && printed.contains("admin-token"), "{printed}");
}
