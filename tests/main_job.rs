//! The main purpose, end to end: a push to a repository runs jobs in sibling containers on the engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use longshore_forge::{Forge, signature::sign};
use serde_json::json;
use support::{
    api::{Api, text},
    engine, executable, server, until,
    world::{World, job, one_step},
};

#[test]
fn a_push_over_real_git_becomes_a_green_build_with_its_log() {
    let world = World::start();
    let build = world.run(&format!(
        "on: {{ push: {{ branches: [main] }} }}
env: {{ GREETING: hello }}
jobs:
  first:
    image: {image}
    matrix: {{ color: [red, blue] }}
    steps:
      - run: echo \"$GREETING ${{{{ matrix.color }}}} $CI_COMMIT_BRANCH $CI_PIPELINE_NUMBER\"
      - run: cat .longshore.yml | head -1; test -d .git
  second:
    image: {image}
    needs: [first]
    steps:
      - run: exit 3
        continue-on-error: true
      - run: echo not here
        if: failure()
      - run: echo done
        if: always()
",
        image = engine::BUSYBOX
    ));
    assert_eq!(build["status"], "success", "{build}");
    let red = job(&build, "first (red)");
    let log = world.api().raw_log(&text(red, "id"));
    let log = String::from_utf8(log).unwrap();
    assert_eq!(log, "hello red main 1\non: { push: { branches: [main] } }\n");
    let second = job(&build, "second");
    assert_eq!(second["steps"][0]["exit_code"], 3);
    assert_eq!(second["steps"][1]["status"], "skipped");
    assert_eq!(String::from_utf8(world.api().raw_log(&text(second, "id"))).unwrap(), "done\n");
    world.nothing_is_left();
}

#[test]
fn a_failing_step_ends_the_job_with_its_exit_code_and_says_so() {
    let world = World::start();
    let build = world.run(&one_step("echo before\nexit 7\necho after"));
    assert_eq!(build["status"], "failure");
    let one = job(&build, "one");
    assert_eq!(one["exit_code"], 7);
    assert!(text(one, "reason").contains("exit code 7"), "{one}");
    assert_eq!(world.api().raw_log(&text(one, "id")), b"before\n");
}

#[test]
fn a_live_reader_sees_the_only_line_of_a_job_that_ends_at_once() {
    let world = World::start();
    world.git.push(&one_step("echo the only line"));
    for _ in 0..10 {
        let build = world.start_build();
        let build = world.api().get(&format!("/api/v1/builds/{}", text(&build, "id")));
        let path = format!("/api/v1/jobs/{}/log/stream", text(job(&build, "one"), "id"));
        let events = world.api().stream(&path, None, |(name, _, _)| name == "end");
        let seen: String = events
            .iter()
            .filter(|(name, _, data)| name == "log" && data.contains("\"stdout\""))
            .map(|(_, _, data)| text(&serde_json::from_str(data).unwrap(), "text"))
            .collect();
        assert_eq!(seen, "the only line\n");
        let (name, _, data) = events.last().unwrap();
        assert_eq!((name.as_str(), data.contains("\"success\"")), ("end", true), "{data}");
    }
}

#[test]
fn a_canceled_build_is_canceled_and_its_container_goes() {
    let world = World::start();
    let commit =
        world.git.push(&one_step("trap 'echo trapped; exit 0' TERM\necho ready\nwhile true; do sleep 0.1; done"));
    let build = world.build_of(&commit);
    let id = text(&build, "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{id}")), "one"), "id");
    until("the step's first line", || (world.api().raw_log(&one) == b"ready\n").then_some(()));
    let (status, _) = world.api().post(&format!("/api/v1/builds/{id}/cancel"), &json!({}));
    assert_eq!(status, 202);
    let build = world.api().wait_for_build(&id);
    assert_eq!(build["status"], "canceled", "{build}");
    // The shell also says, on its standard error, that its `sleep` was terminated.
    let log = String::from_utf8(world.api().raw_log(&one)).unwrap();
    assert!(log.starts_with("ready\n") && log.contains("trapped\n"), "{log}");
    world.nothing_is_left();
}

#[test]
fn a_job_that_takes_too_long_is_timed_out_by_its_own_limit() {
    let world = World::start();
    let pipeline = one_step("sleep 600").replace("    steps:", "    timeout: 1s\n    steps:");
    let build = world.run(&pipeline);
    assert_eq!(build["status"], "timed-out", "{build}");
    world.nothing_is_left();
}

#[test]
fn whoever_sees_a_final_status_can_read_the_whole_log_in_the_same_instant() {
    let world = World::start();
    world.git.push(&one_step("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"));
    let expected: String = (0..2000).map(|i| format!("line {i}\n")).collect();
    for _ in 0..5 {
        let build = world.start_build();
        let id = text(&build, "id");
        // Reads the log right after the status.
        let log = until("the build's end", || {
            let build = world.api().get(&format!("/api/v1/builds/{id}"));
            support::api::is_final(&build).then(|| world.api().raw_log(&text(job(&build, "one"), "id")))
        });
        assert_eq!(String::from_utf8(log).unwrap(), expected);
    }
}

#[test]
fn fifty_webhooks_at_once_become_fifty_builds() {
    let world = World::start();
    let commit = world.git.push(&one_step("true"));
    world.build_of(&commit);
    // Each delivery is about another branch, because deliveries about the same change share a build.
    let branches: Vec<String> = (0..50).map(|n| format!("{commit}:refs/heads/branch-{n}")).collect();
    let push: Vec<&str> = ["push", "-q", "origin"].into_iter().chain(branches.iter().map(String::as_str)).collect();
    world.git.git(&push);
    let url = world.server.url();
    let api = Api::new(&url, None);
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let hooks: Vec<_> = (0..50)
            .map(|n| {
                let (api, world, commit) = (api.clone(), &world, &commit);
                scope.spawn(move || {
                    let body =
                        json!({ "ref": format!("refs/heads/branch-{n}"), "before": "0".repeat(40), "after": commit })
                            .to_string();
                    let signature = sign(Forge::Git, body.as_bytes(), world.secret.as_bytes());
                    let delivery = format!("delivery-{n}");
                    let headers = [
                        ("X-Longshore-Signature-256", signature.as_str()),
                        ("X-Longshore-Delivery", delivery.as_str()),
                    ];
                    api.post_bytes(&format!("/hooks/{}", world.repo), &headers, body.as_bytes()).0
                })
            })
            .collect();
        hooks.into_iter().map(|hook| hook.join().unwrap()).collect()
    });
    assert_eq!(answers, [202; 50]);
    let builds = until("fifty builds and the push's own", || {
        let builds = world.api().get(&format!("/api/v1/repos/{}/builds?limit=100", world.repo));
        let builds = builds["items"].as_array()?.clone();
        (builds.len() == 51 && builds.iter().all(support::api::is_final)).then_some(builds)
    });
    assert!(builds.iter().all(|build| build["status"] == "success"), "{builds:?}");
    assert!(!world.server.log().contains("keeps the database locked"), "{}", world.server.log());
    world.nothing_is_left();
}

#[test]
fn a_broken_pipeline_file_becomes_a_build_that_shows_what_is_wrong() {
    let world = World::start();
    let build = world.run("jobs:\n  one:\n    imag: x\n    steps: [{ run: 'true' }]\n");
    assert_eq!(build["status"], "error");
    let unknown_key = build["diagnostics"].as_array().unwrap().iter().find(|found| found["code"] == "LS012").unwrap();
    assert_eq!((unknown_key["line"].as_u64(), unknown_key["column"].as_u64()), (Some(3), Some(5)), "{build}");
}

#[test]
fn a_billion_laughs_is_refused_and_the_server_stays_up() {
    let world = World::start();
    let mut pipeline = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for n in 1..10 {
        let before = n - 1;
        let nine = vec![format!("*a{before}"); 9].join(", ");
        pipeline.push_str(&format!("a{n}: &a{n} [{nine}]\n"));
    }
    let build = world.run(&pipeline);
    assert_eq!(build["status"], "error", "{build}");
    assert_eq!(world.run(&one_step("true"))["status"], "success");
}

#[test]
fn a_branch_named_like_an_option_is_only_a_branch() {
    let world = World::start();
    let pipeline = one_step("echo \"[$CI_COMMIT_BRANCH]\"");
    let commit = world.git.commit("an odd branch", &[(".longshore.yml", &pipeline)]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/heads/--upload-pack=x"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(world.api().raw_log(&text(job(&build, "one"), "id")), b"[--upload-pack=x]\n");
}

#[test]
fn a_rerun_is_a_new_build_and_failed_only_carries_over_what_succeeded() {
    let world = World::start();
    let build = world.run(&format!(
        "jobs:
  good: {{ image: {image}, steps: [{{ run: echo good }}] }}
  bad: {{ image: {image}, steps: [{{ run: exit 1 }}] }}
",
        image = engine::BUSYBOX
    ));
    let path = format!("/api/v1/builds/{}/rerun", text(&build, "id"));
    let (status, again) = world.api().post(&path, &json!({ "failed_only": true }));
    assert_eq!(status, 202, "{again}");
    assert_ne!(again["id"], build["id"]);
    let again = world.api().wait_for_build(&text(&again, "id"));
    assert_eq!(again["status"], "failure");
    assert_eq!(world.api().raw_log(&text(job(&again, "good"), "id")), b"good\n");
    assert_eq!(job(&again, "good")["started_at"], job(&build, "good")["started_at"]);
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let world = World::start();
    let output = std::process::Command::new(server::program())
        .arg("serve")
        .env("LONGSHORE_DATA", world.server.data.path())
        .env("LONGSHORE_LISTEN", "127.0.0.1:0")
        .env("LONGSHORE_ADMIN_TOKEN", server::ADMIN_TOKEN)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("another"), "{error}");
}

#[test]
fn a_server_that_is_given_room_for_few_open_files_takes_all_that_it_may() {
    let mut world = World::start();
    assert_eq!(world.server.stop(), Some(0));
    let folder = tempfile::tempdir().unwrap();
    let with_few = folder.path().join("longshore");
    let script = format!("#!/bin/sh\nulimit -Sn 256 && exec {} \"$@\"\n", server::program().display());
    executable::write(&with_few, script.as_bytes());
    world.server.program = with_few;
    world.server.launch();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.server.pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let [soft, hard, ..] = files.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{files}") };
    assert_eq!(soft, hard);
    assert_ne!(soft, "256");
}

#[test]
fn nothing_but_health_is_answered_without_a_token() {
    let world = World::start();
    let stranger = Api::new(&world.server.url(), None);
    assert_eq!(stranger.get_text("/healthz").0, 200);
    for path in ["/api/v1/repos", "/api/v1/builds", "/metrics"] {
        let (status, body) = stranger.get_text(path);
        assert!(status == 401 || body.contains("\"items\":[]"), "{path}: {status} {body}");
    }
    let body = json!({ "ref": "refs/heads/main", "before": "0".repeat(40), "after": "1".repeat(40) });
    let path = format!("/hooks/{}", world.repo);
    assert_eq!(stranger.post(&path, &body).0, 401, "an unsigned hook");
    let wrong = [("X-Longshore-Signature-256", "sha256=00")];
    assert_eq!(stranger.post_bytes(&path, &wrong, body.to_string().as_bytes()).0, 401);
}

#[test]
fn templates_and_changed_files_are_those_of_the_pushed_commit() {
    let world = World::start();
    let pipeline = "on: { push: { paths: ['src/**'] } }\njobs: { one: { use: ./ci/t.yml, with: { word: there } } }\n";
    let template = format!(
        "inputs: {{ word: {{ type: string }} }}\njob:\n  image: {}\n  steps: [{{ run: 'echo \"hello ${{{{ inputs.word }}}}\"' }}]\n",
        engine::BUSYBOX
    );
    let files = [(".longshore.yml", pipeline), ("ci/t.yml", template.as_str()), ("src/a", "1")];
    let commit = world.git.commit("all of it", &files);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(world.api().raw_log(&text(job(&build, "one"), "id")), b"hello there\n");
    world.git.commit("a page", &[("docs/a", "1")]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/heads/main"]);
    until("the delivery to be ignored", || {
        let deliveries = world.api().get(&format!("/api/v1/repos/{}/deliveries", world.repo));
        let mut reasons = deliveries["items"].as_array()?.iter().filter_map(|delivery| delivery["reason"].as_str());
        reasons.any(|reason| reason.contains("none of the 1 changed files match its `paths`")).then_some(())
    });
}
