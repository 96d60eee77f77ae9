//! Builds that are started by schedules and pull requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use longshore_core::Timestamp;
use serde_json::{Value, json};
use support::{
    api::text,
    engine,
    server::Server,
    until,
    world::{World, job},
};

/// Returns the builds of a repository that a schedule started.
fn scheduled(world: &World) -> Vec<Value> {
    let builds = world.api().get(&format!("/api/v1/repos/{}/builds?event=schedule", world.repo));
    builds["items"].as_array().unwrap().clone()
}

#[test]
fn times_that_a_server_slept_through_make_one_build_however_often_it_is_killed() {
    const YEARLY: &str = "0 0 1 1 *";
    let mut world = World::start();
    let pipeline = format!(
        "on:
  push:
  schedule:
    - {{ cron: '{YEARLY}' }}
    - {{ cron: '0 0 29 2 *', timezone: Europe/Madrid }}
jobs:
  one: {{ image: {image}, if: event.name == 'schedule', steps: [{{ run: 'echo \"$CI_PIPELINE_EVENT\"' }}] }}
",
        image = engine::BUSYBOX
    );
    world.run(&pipeline);
    let found = world.schedules();
    assert_eq!(found.len(), 2, "{found:?}");
    let madrid = found.iter().find(|schedule| schedule["timezone"] == "Europe/Madrid").unwrap();
    assert!(madrid["next_at"].as_str().unwrap().ends_with("-02-28T23:00:00.000Z"), "{madrid}");
    assert_eq!((&madrid["branch"], &madrid["last_build"]), (&"main".into(), &Value::Null));

    // The schedules of an added repository are found without a push.
    let (added, _) = world.api().add_repo("team/added", &world.git.url());
    until("the schedules of a repository that was added", || {
        let known = world.api().get(&format!("/api/v1/repos/{added}/schedules"));
        (known["items"].as_array()?.len() == 2).then_some(())
    });

    // Removing a repository removes its mirror.
    let mirror = world.server.data.path().join(format!("mirrors/{added}.git"));
    assert!(mirror.exists());
    assert_eq!(world.api().delete(&format!("/api/v1/repos/{added}")), 204);
    until("the mirror of a removed repository to be gone", || (!mirror.exists()).then_some(()));

    world.server.stop();
    // 2015: more than ten times were missed.
    world.was_due_at(YEARLY, 1_420_070_400_000);
    for moment_ms in [10, 40, 90] {
        world.server.begin();
        std::thread::sleep(std::time::Duration::from_millis(moment_ms));
        world.server.kill();
    }
    world.server.launch();
    let yearly = until("the build that was due", || {
        world.schedules().into_iter().find(|schedule| schedule["last_build"].is_string())
    });
    let build = world.api().wait_for_build(&text(&yearly, "last_build"));
    let year = &Timestamp::now().to_string()[..4];
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(build["event"], "schedule");
    assert_eq!(build["schedule"]["cron"], YEARLY);
    assert_eq!(build["schedule"]["due_at"], format!("{year}-01-01T00:00:00.000Z"));
    assert_eq!(world.api().raw_log(&text(&build["jobs"][0], "id")), b"cron\n");
    world.server.kill();
    world.server.launch();
    assert_eq!(scheduled(&world).len(), 1, "{:?}", scheduled(&world));

    // Only the newest commit of the default branch defines schedules.
    let unscheduled = |line: &&str| !line.contains("schedule:") && !line.contains("cron:");
    let without: String = pipeline.lines().filter(unscheduled).map(|line| format!("{line}\n")).collect();
    world.git.commit("no schedule", &[(".longshore.yml", &without)]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/heads/other"]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/heads/main"]);
    until("the schedules to go", || world.schedules().is_empty().then_some(()));
    world.nothing_is_left();
}

/// Waits for the end of the only build of a delivery.
fn build_of(world: &World, delivery: &Value) -> Value {
    let [build] = delivery["builds"].as_array().unwrap().as_slice() else { panic!("{delivery}") };
    world.api().wait_for_build(build.as_str().unwrap())
}

fn log_of(world: &World, build: &Value, name: &str) -> String {
    String::from_utf8(world.api().raw_log(&text(job(build, name), "id"))).unwrap()
}

#[test]
fn a_pull_request_is_built_with_what_it_changes_and_its_deliveries_say_what_each_became() {
    let mut world = World::start();
    world.becomes_forgejos();
    let pipeline = format!(
        "on: {{ pull-request: {{ branches: [main], paths: ['src/**'] }} }}
jobs:
  one: {{ image: {image}, steps: [{{ run: 'echo \"$CI_COMMIT_PULL_REQUEST $CI_COMMIT_SOURCE_BRANCH $CI_COMMIT_TITLE\"; cat src/new' }}] }}
",
        image = engine::BUSYBOX
    );
    let git = &world.git;
    git.push(&pipeline);
    git.git(&["checkout", "-q", "-b", "topic"]);
    let docs = git.commit("docs only", &[("docs/a", "1")]);
    git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let ignored = world.pull_request("opened", &docs, false);
    assert_eq!(ignored["status"], "ignored", "{ignored}");
    assert!(text(&ignored, "reason").contains("none of the 1 changed files match its `paths`"), "{ignored}");

    let head = git.commit("asked for", &[("src/new", "new\n")]);
    git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    git.git(&["checkout", "-q", "main"]);
    git.commit("meanwhile", &[("src/other", "1")]);
    git.git(&["push", "-q", "origin", "HEAD:main"]);
    let build = build_of(&world, &world.pull_request("synchronized", &head, false));
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(
        (&build["event"], &build["commit"], &build["branch"]),
        (&"pull-request".into(), &head.as_str().into(), &"main".into())
    );
    assert_eq!(build["pull_request"]["action"], "synchronize");
    assert_eq!(log_of(&world, &build, "one"), "1 feature/x A change; $(id) `x`\nnew\n");

    let closed = world.pull_request("closed", &head, false);
    let reason = text(&closed, "reason");
    assert!(reason.contains("the pull request was `closed`") && !reason.contains("canceled"), "{closed}");
    // A new branch arrives as two events, and is built at most once. Here pushes start nothing, so it is not built.
    let mut created: Value =
        serde_json::from_str(include_str!("../crates/forge/tests/payloads/forgejo-push-new-branch-create.json"))
            .unwrap();
    created["sha"] = head.as_str().into();
    let created = world.deliver("create", &created);
    assert_eq!((&created["status"], &created["builds"]), (&"ignored".into(), &json!([])), "{created}");
    world.nothing_is_left();
}

#[test]
fn jobs_and_steps_run_where_what_they_ask_for_has_changed_and_say_so_where_not() {
    let world = World::start();
    let pipeline = format!(
        "on: {{ push: , manual: }}
defaults: {{ image: {image} }}
jobs:
  api: {{ if: \"changed('api/**', '!**/*.md')\", steps: [{{ run: 'echo tested' }}] }}
  web:
    if: changed('web/**')
    steps:
      - run: echo tested
      - {{ if: changed('web/styles/**'), run: echo looked at }}
      - {{ if: \"!changed('web/styles/**')\", run: echo not looked at }}
",
        image = engine::BUSYBOX
    );
    let git = &world.git;
    git.push(&pipeline);
    let pushed = |files: &[(&str, &str)]| {
        let commit = git.commit("change", files);
        git.git(&["push", "-q", "origin", "HEAD"]);
        world.api().wait_for_build(&text(&world.build_of(&commit), "id"))
    };
    let build = pushed(&[("web/a.js", "1"), ("api/README.md", "1")]);
    assert_eq!(build["status"], "success", "{build}");
    let api = job(&build, "api");
    assert_eq!(
        (&api["status"], &api["reason"]),
        (&json!("skipped"), &json!("`if: changed('api/**', '!**/*.md')` was false"))
    );
    assert_eq!(log_of(&world, &build, "web"), "tested\nnot looked at\n");

    let build = pushed(&[("web/styles/a.css", "1"), ("api/main.rs", "1")]);
    assert_eq!(
        (log_of(&world, &build, "api"), log_of(&world, &build, "web")),
        ("tested\n".into(), "tested\nlooked at\n".into())
    );

    // Nobody knows what a start by hand changes.
    let build = world.start_build();
    let build = world.api().wait_for_build(&text(&build, "id"));
    assert_eq!(job(&build, "api")["status"], "success", "{build}");
    world.nothing_is_left();
}

#[test]
fn the_builds_of_a_pull_request_end_with_it_and_what_its_closing_starts_does_not() {
    let mut world = World::start();
    world.becomes_forgejos();
    let git = &world.git;
    let pipeline = format!(
        "on: {{ pull-request: {{ types: [opened, reopened, closed] }} }}
concurrency: {{ group: \"${{{{ event.action == 'closed' && 'after' || 'one' }}}}\" }}
defaults: {{ image: {image} }}
jobs:
  long: {{ if: event.action != 'closed', steps: [{{ run: 'echo here; while :; do sleep 0.1; done' }}] }}
  then: {{ needs: long, steps: [{{ run: 'true' }}] }}
  after: {{ if: event.action == 'closed', steps: [{{ run: 'echo cleaned up' }}] }}
",
        image = engine::BUSYBOX
    );
    git.push(&pipeline);
    git.git(&["checkout", "-q", "-b", "topic"]);
    let head = git.commit("asked for", &[("new", "1")]);
    git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let build = |delivery: &Value| text(&json!({ "id": delivery["builds"][0] }), "id");
    let now = |id: &str| world.api().get(&format!("/api/v1/builds/{id}"));
    let runs = build(&world.pull_request("opened", &head, false));
    until("the job to run", || (job(&now(&runs), "long")["status"] == "running").then_some(()));
    let waits = build(&world.pull_request("reopened", &head, false));
    let closed = world.pull_request("closed", &head, false);
    assert_eq!(text(&closed, "reason"), "canceled 2 builds of the pull request", "{closed}");
    let number = now(&runs)["pull_request"]["number"].clone();
    for id in [&runs, &waits] {
        let build = world.api().wait_for_build(id);
        assert_eq!(build["status"], "canceled", "{build}");
        for name in ["long", "then"] {
            let job = job(&build, name);
            assert_eq!(job["reason"], format!("pull request #{number} was closed"), "{job}");
        }
    }
    let after = world.api().wait_for_build(&build(&closed));
    assert_eq!(after["status"], "success", "{after}");
    assert_eq!(log_of(&world, &after, "after"), "cleaned up\n");
    world.nothing_is_left();
}

#[test]
fn nothing_of_a_forks_pull_request_runs_without_approval_and_then_it_does_what_its_target_says() {
    let mut world = World::start();
    world.becomes_forgejos();
    let pipeline = |word: &str| {
        format!(
            "on: pull-request
jobs:
  open: {{ image: {image}, steps: [{{ run: 'echo {word}; cat theirs' }}] }}
  secret: {{ image: {image}, secrets: [TOKEN], steps: [{{ run: 'test -n \"$TOKEN\"; echo got it' }}] }}
  needs-it: {{ image: {image}, needs: [secret], steps: [{{ run: 'true' }}] }}
",
            image = engine::BUSYBOX
        )
    };
    let path = format!("/api/v1/repos/{}/secrets/TOKEN", world.repo);
    let (status, answer) = world.api().put(&path, &json!({ "value": "hunter2hunter2" }));
    assert!(status < 300, "{status} {answer}");
    let git = &world.git;
    git.push(&pipeline("ours"));
    let head = git.commit("from a fork", &[(".longshore.yml", &pipeline("stolen")), ("theirs", "their file\n")]);
    git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let delivery = world.pull_request("opened", &head, true);
    let id = delivery["builds"][0].as_str().unwrap().to_owned();
    let path = format!("/api/v1/builds/{id}");
    let build = world.api().get(&path);
    assert_eq!(build["pull_request"]["fork"], true);
    let reasons = [("open", "from a fork"), ("secret", "from a fork, which would get `TOKEN`")];
    for (name, why) in reasons {
        let job = job(&build, name);
        assert_eq!((&job["status"], &job["started_at"]), (&"blocked".into(), &Value::Null), "{job}");
        let reason = text(job, "reason");
        assert!(reason.contains("awaiting approval") && reason.ends_with(why), "{reason}");
    }
    let approve = |job: &Value| world.api().post(&format!("/api/v1/jobs/{}/approve", text(job, "id")), &json!({})).0;
    assert_eq!(approve(job(&build, "open")), 202);
    let build = until("the one job that was approved to end", || {
        let build = world.api().get(&path);
        (job(&build, "open")["status"] == "success").then_some(build)
    });
    assert_eq!(log_of(&world, &build, "open"), "ours\ntheir file\n");
    assert_eq!(job(&build, "secret")["status"], "blocked", "{build}");
    // Approves the whole build at once, including the job whose need has not ended.
    assert_eq!(world.api().post(&format!("{path}/approve"), &json!({})).0, 202);
    let build = world.api().wait_for_build(&id);
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(log_of(&world, &build, "secret"), "got it\n");

    // A rerun asks again. A declined job does not run.
    let again = world.pull_request("reopened", &head, true);
    let id = again["builds"][0].as_str().unwrap().to_owned();
    let asked = world.api().get(&format!("/api/v1/builds/{id}"));
    for name in ["open", "secret"] {
        let declined = format!("/api/v1/jobs/{}/decline", text(job(&asked, name), "id"));
        assert_eq!(world.api().post(&declined, &json!({})).0, 202);
    }
    let build = world.api().wait_for_build(&id);
    assert_ne!(build["status"], "success", "{build}");
    assert!(text(job(&build, "secret"), "reason").contains("declined"), "{build}");
    assert!(text(job(&build, "needs-it"), "reason").contains("secret"), "{build}");
    world.nothing_is_left();
}

#[test]
fn a_newer_commit_of_a_fork_cancels_the_older_build_is_not_approved_with_it_and_runs_within_strangers_limits() {
    let mut world = World::start();
    world.becomes_forgejos();
    let pipeline = format!(
        "on: pull-request
defaults: {{ image: {image} }}
jobs:
  long: {{ resources: {{ memory: 9GiB }}, timeout: 5h, steps: [{{ run: 'echo here; while :; do sleep 0.1; done' }}] }}
",
        image = engine::BUSYBOX
    );
    let git = &world.git;
    git.push(&pipeline);
    git.git(&["checkout", "-q", "-b", "topic"]);
    let build = |delivery: &Value| text(&json!({ "id": delivery["builds"][0] }), "id");
    let now = |id: &str| world.api().get(&format!("/api/v1/builds/{id}"));
    let approve = |id: &str| world.api().post(&format!("/api/v1/builds/{id}/approve"), &json!({})).0;
    let push = |file: &str| {
        let head = git.commit("asked for", &[(file, "1")]);
        git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
        head
    };
    let first = push("one");
    let older = build(&world.pull_request("opened", &first, true));
    assert_eq!(approve(&older), 202);
    until("the job to run", || (job(&now(&older), "long")["status"] == "running").then_some(()));
    let format = "{{.State.Running}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}";
    // The objects of a start that the engine refused at first may be there for a moment.
    until("its container has strangers' limits", || {
        let all = engine::objects(&world.server.instance, &["job"]);
        let mut limits = all.iter().filter_map(|id| engine::inspect(id, format));
        limits.find(|limits| limits == "true 2147483648 1024 1000000000")
    });

    let second = push("two");
    let newer = build(&world.pull_request("synchronized", &second, true));
    let canceled = world.api().wait_for_build(&older);
    assert_eq!(canceled["status"], "canceled", "{canceled}");
    let number = now(&newer)["number"].clone();
    assert_eq!(canceled["reason"], format!("long: superseded by #{number} (newer commit of the pull request)"));
    assert_eq!(job(&now(&newer), "long")["status"], "blocked", "its commit was approved by nobody");
    assert_eq!(world.api().post(&format!("/api/v1/builds/{newer}/cancel"), &json!({})).0, 202);
    world.nothing_is_left();
}

#[test]
fn a_strangers_job_that_was_queued_before_the_setting_asked_for_approval_is_not_started_without_it() {
    let settings = [("LONGSHORE_CAPACITY", "2"), ("LONGSHORE_STRANGERS_CAPACITY", "1")];
    let mut world = World::of(Server::start_with(engine::docker_host(), &settings));
    world.becomes_forgejos();
    let pipeline = format!(
        "on: pull-request
jobs:
  long: {{ image: {image}, steps: [{{ run: 'while :; do sleep 0.1; done' }}] }}
",
        image = engine::BUSYBOX
    );
    let path = format!("/api/v1/repos/{}", world.repo);
    let set = |strangers: &str| world.api().patch(&path, &json!({ "strangers": strangers })).0;
    assert_eq!(set("none"), 200);
    let git = &world.git;
    git.push(&pipeline);
    let head = git.commit("from a fork", &[("theirs", "1")]);
    git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let build = |delivery: &Value| text(&json!({ "id": delivery["builds"][0] }), "id");
    let now = |id: &str| world.api().get(&format!("/api/v1/builds/{id}"));
    let runs = build(&world.pull_request("opened", &head, true));
    until("the job to run", || (job(&now(&runs), "long")["status"] == "running").then_some(()));
    let waits = build(&world.pull_request("reopened", &head, true));
    assert_eq!(job(&now(&waits), "long")["status"], "queued", "strangers have one slot");
    assert_eq!(set("all"), 200);
    assert_eq!(world.api().post(&format!("/api/v1/builds/{runs}/cancel"), &json!({})).0, 202);
    let refused = world.api().wait_for_build(&waits);
    let reason = text(job(&refused, "long"), "reason");
    assert!(refused["status"] == "error" && reason.starts_with("not approved: commit"), "{refused}");
    // A rerun asks again.
    let (status, again) = world.api().post(&format!("/api/v1/builds/{waits}/rerun"), &json!({}));
    assert_eq!(status, 202, "{again}");
    assert_eq!(again["status"], "blocked", "{again}");
    world.api().wait_for_build(&runs);
    world.api().post(&format!("/api/v1/builds/{}/cancel", text(&again, "id")), &json!({}));
    world.nothing_is_left();
}

#[test]
fn a_secret_goes_only_where_its_rules_admit_and_the_build_says_which_rule_withheld_it() {
    let mut world = World::start();
    world.becomes_forgejos();
    let pipeline = format!(
        "on: [push, pull-request, manual]
jobs:
  deploy: {{ image: {image}, secrets: [TOKEN], steps: [{{ run: 'test -n \"$TOKEN\"; echo got it' }}] }}
  test: {{ image: {image}, steps: [{{ run: 'true' }}] }}
",
        image = engine::BUSYBOX
    );
    let path = format!("/api/v1/repos/{}/secrets/TOKEN", world.repo);
    let (status, answer) = world.api().put(&path, &json!({ "value": "hunter2hunter2", "branches": ["main"] }));
    assert!(status < 300, "{status} {answer}");
    let head = world.git.push(&pipeline);
    // A branch to be merged into main, with a commit that is not on main.
    let git = &world.git;
    git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head", "HEAD:refs/heads/feature/x", "HEAD:refs/tags/v1"]);
    let withheld = |build: &Value, of: &str| {
        let build = world.api().wait_for_build(&text(build, "id"));
        let deploy = job(&build, "deploy");
        assert_eq!(
            (text(deploy, "status").as_str(), text(job(&build, "test"), "status").as_str()),
            ("error", "success")
        );
        let said =
            format!("the secret `TOKEN` is withheld: its rules allow the branches `main`, but this build is {of}");
        assert!(text(deploy, "reason").contains(&said), "{build}");
        let found = &build["diagnostics"][0];
        assert!(found["code"] == "LS070" && text(found, "message").contains(&said), "{build}");
        let (_, log) = world.api().get_text(&format!("/api/v1/jobs/{}/log", text(deploy, "id")));
        assert!(log.contains(&said), "{log}");
        text(&build, "id")
    };
    let built =
        |delivery: &Value| world.api().get(&format!("/api/v1/builds/{}", delivery["builds"][0].as_str().unwrap()));
    let build = built(&world.pull_request("opened", &head, false));
    let id = withheld(&build, "of the branch `feature/x`");
    // The second time asks again.
    let (status, again) = world.api().post(&format!("/api/v1/builds/{id}/rerun"), &json!({}));
    assert_eq!(status, 202, "{again}");
    withheld(&again, "of the branch `feature/x`");

    // An approval does not give a stranger a branch of the repository.
    let build = built(&world.pull_request("reopened", &head, true));
    for blocked in build["jobs"].as_array().unwrap().iter().filter(|job| job["status"] == "blocked") {
        let (status, answer) = world.api().post(&format!("/api/v1/jobs/{}/approve", text(blocked, "id")), &json!({}));
        assert_eq!(status, 202, "{answer}");
    }
    withheld(&build, "of a pull request from a fork");

    let start = |git_ref: &str| {
        let (status, build) =
            world.api().post(&format!("/api/v1/repos/{}/builds", world.repo), &json!({ "ref": git_ref }));
        assert_eq!(status, 201, "{build}");
        build
    };
    withheld(&start("refs/tags/v1"), "of the tag `v1`");
    let build = world.api().wait_for_build(&text(&start("main"), "id"));
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!((log_of(&world, &build, "deploy").as_str(), &build["diagnostics"]), ("got it\n", &json!([])));
    world.nothing_is_left();
}
