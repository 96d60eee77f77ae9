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
    world::{World, job},
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
    assert!(said(&world, &["build", "cancel", id]).contains("has already finished: success"));
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
    assert!(told.contains("Available only to: branches main, release/*; events push"), "{told}");
    let listed = || said(&world, &["secret", "list", "team/app"]);
    set(&["--rules-only", "--tag", "v*", "--job", "deploy"]);
    assert!(listed().contains("branches main, release/*; tags v*; events push; jobs deploy"), "{}", listed());
    set(&["--rules-only", "--no-rules"]);
    assert!(listed().contains("all jobs"), "{}", listed());
    assert!(set(&["--value", "prod"]).contains("note: the value is shorter than 8 bytes"));
    let (code, error) = complained(&world, &["secret", "set", "team/app", "OTHER", "--rules-only", "--branch", "main"]);
    assert!(code == Some(1) && error.contains("a new secret needs a value"), "{error}");
}

#[test]
fn a_token_for_some_repositories_approves_there_and_the_build_says_so() {
    let world = World::start();
    let commit = world.git.push(&format!(
        "on: push
jobs:
  test: {{ image: {0}, steps: [run: echo tested] }}
  deploy: {{ image: {0}, needs: [test], approval: 'Deploy?', steps: [run: echo deployed] }}
",
        engine::BUSYBOX
    ));
    let build = world.build_of(&commit);
    let name = format!("team/app#{}", build["number"]);
    until("the job to ask", || {
        let build = world.api().get(&format!("/api/v1/builds/{}", build["id"].as_str().unwrap()));
        job(&build, "deploy")["asks"].as_str().map(str::to_owned)
    });
    // In the words of the pages, although a job of it has run.
    let listed = said(&world, &["build", "list"]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(listed.lines().nth(1).unwrap())[..2], [name.clone(), "waiting".to_owned()], "{listed}");
    assert!(said(&world, &["build", "show", &name]).contains("  waiting  "));
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

#[test]
fn a_list_of_builds_fits_its_width_and_nobodys_text_moves_the_cursor() {
    let world = World::start();
    let files = [(".longshore.yml", support::world::one_step("true"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let commit = world.git.commit(&format!("\u{202e}gpj.exe\u{1b}[2J {}", "a long way to go ".repeat(20)), &files);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    world.api().wait_for_build(world.build_of(&commit)["id"].as_str().unwrap());
    let output = Command::new(program())
        .args(["build", "list"])
        .env("LONGSHORE_URL", world.server.url())
        .env("LONGSHORE_TOKEN", ADMIN_TOKEN)
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(!listed.contains(['\u{202e}', '\u{1b}']) && listed.contains("\u{fffd}gpj.exe"), "{listed}");
    assert!(listed.lines().all(|line| line.chars().count() <= 100), "{listed}");
    let [head, row] = [0, 1].map(|at| listed.lines().nth(at).unwrap());
    assert!(head.contains("DURATION") && head.contains("AGE"), "{head}");
    assert!(row.contains("success") && (row.contains(" s ") || row.contains(" ms ")) && row.ends_with('…'), "{row}");
    assert!(row.contains("now") || row.contains("ago"), "{row}");
}

#[test]
fn a_build_that_is_started_says_where_it_is_and_can_be_followed_to_its_end() {
    let world = World::start();
    let pipeline = format!(
        "on: [push, manual]\njobs:\n  good: {{ image: {0}, steps: [run: echo fine] }}\n  \
         bad: {{ image: {0}, steps: [run: \"echo 'error: it broke'; echo 'error: again'; exit 4\"] }}\n",
        engine::BUSYBOX
    );
    world.run(&pipeline);
    let started = said(&world, &["build", "start", "team/app"]);
    let address = format!("{}/builds/", world.server.url());
    assert!(started.starts_with("build #2 ") && started.contains(&address), "{started}");
    let followed = longshore(&world, ADMIN_TOKEN, &["build", "start", "team/app", "--follow"]);
    let out = String::from_utf8(followed.stdout).unwrap();
    assert_eq!(followed.status.code(), Some(1), "{out}");
    assert!(out.contains("good | fine\n") && out.contains("build #3: failure"), "{out}");
    let ends = "run it again: longshore build rerun team/app#3 --job longshore/bad\n";
    assert!(out.contains("\nbad, line ") && out.contains(": error: it broke\n") && out.ends_with(ends), "{out}");
    let shown = said(&world, &["build", "show", "team/app#3"]);
    assert!(
        shown.ends_with(ends) && shown.contains(": error: it broke\n") && !shown.contains(": error: again"),
        "{shown}"
    );
    let again = longshore(&world, ADMIN_TOKEN, &["build", "rerun", "team/app#3", "--job", "bad", "--follow"]);
    let out = String::from_utf8(again.stdout).unwrap();
    assert!(again.status.code() == Some(1) && out.starts_with("build #4 "), "{out}");
}

#[test]
fn a_repository_is_deleted_only_once_somebody_has_said_yes() {
    let world = World::start();
    let (code, why) = complained(&world, &["repo", "remove", "team/app"]);
    assert!(code == Some(2) && why.contains("Delete team/app") && why.contains("--yes"), "{why}");
    assert!(said(&world, &["repo", "list"]).contains("team/app"));
    assert!(said(&world, &["repo", "remove", "team/app", "--yes"]).contains("Deleted team/app"));
    assert!(!said(&world, &["repo", "list"]).contains("team/app"));
}
