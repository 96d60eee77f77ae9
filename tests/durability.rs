//! Nothing is lost when the server is killed, stopped or replaced while jobs run.
//!
//! Each test here covers one way. `tests/chaos` does all of them at random moments.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{
    api::text,
    engine, executable, server, until,
    world::{World, job, one_step},
};

/// Starts a job and waits until it has printed `first`. Returns the build and the job.
fn running(world: &World, pipeline: &str, first: &str) -> (String, String) {
    let commit = world.git.push(pipeline);
    let build = text(&world.build_of(&commit), "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    until("the first output", || world.api().raw_log(&one).starts_with(first.as_bytes()).then_some(()));
    (build, one)
}

/// Returns the job's container on the engine.
fn container(world: &World) -> String {
    let containers = engine::docker(&[
        "ps",
        "-aq",
        "--filter",
        &format!("label=longshore.instance={}", world.server.instance),
        "--filter",
        "label=longshore.kind=job",
    ]);
    assert_eq!(containers.len(), 1, "the job's container is there");
    containers[0].clone()
}

/// Returns the log file of a job's first attempt.
fn log_of(world: &World, one: &str) -> PathBuf {
    let inside = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let days = inside(world.server.data.path().join("logs")).flat_map(inside);
    let mut logs = days.map(|day| day.join(format!("{one}-1.log")));
    logs.find(|log| log.exists()).expect("the job's log")
}

#[test]
fn a_running_job_survives_the_kill_of_the_server_with_a_whole_log() {
    let mut world = World::start();
    let commit =
        world.git.push(&one_step("i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.05; done; exit 5"));
    let build = text(&world.build_of(&commit), "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    until("the first lines", || world.api().raw_log(&one).starts_with(b"line 0\nline 1\n").then_some(()));
    world.server.kill();
    world.server.launch();
    let ended = world.api().wait_for_build(&build);
    assert_eq!(ended["status"], "failure", "{ended}");
    assert_eq!(job(&ended, "one")["exit_code"], 5);
    let expected: String = (0..40).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(world.api().raw_log(&one)).unwrap(), expected);
    world.nothing_is_left();
}

#[test]
fn sigterm_leaves_jobs_running_and_ends_the_server_with_0() {
    let mut world = World::start();
    let commit = world.git.push(&one_step("echo begun; while [ ! -f go ]; do sleep 0.05; done; echo went on"));
    let build = text(&world.build_of(&commit), "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    until("the first line", || (world.api().raw_log(&one) == b"begun\n").then_some(()));
    assert_eq!(world.server.stop(), Some(0));
    let containers = engine::objects(&world.server.instance, &["job"]);
    assert_eq!(containers.len(), 1, "the job runs on");
    engine::docker(&["exec", &containers[0], "touch", "/longshore/workspace/go"]);
    world.server.launch();
    assert_eq!(world.api().wait_for_build(&build)["status"], "success");
    assert_eq!(world.api().raw_log(&one), b"begun\nwent on\n");
}

#[test]
fn what_was_printed_while_the_server_was_away_has_its_own_time_and_the_step_its_own_duration() {
    let mut world = World::start();
    let pipeline = one_step("echo first; while [ ! -f go ]; do sleep 0.02; done; echo away; sleep 0.5; exit 9");
    let (build, one) = running(&world, &pipeline, "first\n");
    world.server.kill();
    let container = container(&world);
    engine::docker(&["exec", &container, "touch", "/longshore/workspace/go"]);
    // `docker wait` returns when the job has ended, while the server is down.
    engine::docker(&["wait", &container]);
    let ended = support::now_ms();
    let away = std::time::Duration::from_secs(2);
    std::thread::sleep(away);
    world.server.launch();
    let build = world.api().wait_for_build(&build);
    let job = job(&build, "one");
    assert_eq!((job["status"].as_str(), job["exit_code"].as_i64()), (Some("failure"), Some(9)), "{job}");
    assert_eq!(world.api().raw_log(&one), b"first\naway\n");
    let step = &job["steps"][0];
    assert_eq!(step["exit_code"], 9);
    let (_, lines) = world.api().get_text(&format!("/api/v1/jobs/{one}/log?format=jsonl"));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["text"].as_str().is_some_and(|text| text.contains("away"))).unwrap();
    for time in [&line["time"], &step["finished_at"]] {
        assert!(support::millis(time) <= ended, "{time} is the restart's, not the job's: {step}");
    }
    let between = support::millis(&step["finished_at"]) - support::millis(&step["started_at"]);
    // The two clocks are not read at the same moment; the server was away for longer.
    assert!(step["wall_ms"].as_i64().unwrap() <= between + 1000, "{step}");
    world.nothing_is_left();
}

#[test]
fn a_job_that_was_adopted_can_be_canceled() {
    let mut world = World::start();
    let pipeline = one_step("trap 'echo trapped; exit 0' TERM; echo ready; while true; do sleep 0.1; done");
    let (build, one) = running(&world, &pipeline, "ready\n");
    world.server.kill();
    world.server.launch();
    let (status, _) = world.api().post(&format!("/api/v1/jobs/{one}/cancel"), &json!({}));
    assert_eq!(status, 202);
    assert_eq!(world.api().wait_for_build(&build)["status"], "canceled");
    let log = String::from_utf8(world.api().raw_log(&one)).unwrap();
    assert!(log.contains("trapped\n"), "{log}");
    world.nothing_is_left();
}

#[test]
fn a_cancel_that_was_asked_for_before_the_kill_is_carried_out_after_it() {
    let mut world = World::start();
    let (build, _) = running(&world, &one_step("trap '' TERM; echo ready; while true; do sleep 0.1; done"), "ready\n");
    let (status, _) = world.api().post(&format!("/api/v1/builds/{build}/cancel"), &json!({}));
    assert_eq!(status, 202);
    world.server.kill();
    world.server.launch();
    assert_eq!(world.api().wait_for_build(&build)["status"], "canceled");
    world.nothing_is_left();
}

#[test]
fn a_job_whose_log_cannot_be_opened_after_a_kill_does_not_run_on_unseen() {
    let mut world = World::start();
    let (build, one) = running(&world, &one_step("echo ready; sleep 600"), "ready\n");
    world.server.kill();
    let log = log_of(&world, &one);
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    world.server.launch();
    let build = world.api().wait_for_build(&build);
    assert_eq!(job(&build, "one")["status"], "error", "{build}");
    world.nothing_is_left();
}

#[test]
fn a_jobs_time_limit_holds_though_the_server_was_away_when_it_came() {
    let mut world = World::start();
    let pipeline = one_step("echo ready; sleep 600").replace("    steps:", "    timeout: 10s\n    steps:");
    let (build, one) = running(&world, &pipeline, "ready\n");
    world.server.kill();
    engine::docker(&["wait", &container(&world)]);
    world.server.launch();
    let build = world.api().wait_for_build(&build);
    assert_eq!(job(&build, "one")["status"], "timed-out", "{build}");
    assert_eq!(world.api().raw_log(&one), b"ready\n");
    world.nothing_is_left();
}

#[test]
fn a_build_that_was_adopted_can_be_run_again() {
    let mut world = World::start();
    let (build, _) = running(&world, &one_step("echo ready; sleep 0.5"), "ready\n");
    world.server.kill();
    world.server.launch();
    assert_eq!(world.api().wait_for_build(&build)["status"], "success");
    let (status, again) = world.api().post(&format!("/api/v1/builds/{build}/rerun"), &json!({}));
    assert_eq!(status, 202, "{again}");
    let again = world.api().wait_for_build(&text(&again, "id"));
    assert_eq!(again["status"], "success");
    assert_eq!(world.api().raw_log(&text(job(&again, "one"), "id")), b"ready\n");
    world.nothing_is_left();
}

#[test]
fn an_upgrade_in_the_middle_of_a_job_goes_on_with_its_old_agent() {
    let mut world = World::start();
    let pipeline = one_step("echo begun; while [ ! -f go ]; do sleep 0.05; done; echo went on");
    let (build, one) = running(&world, &pipeline, "begun\n");
    assert_eq!(world.server.stop(), Some(0));
    // Different bytes make it another version, with another agent.
    let folder = tempfile::tempdir().unwrap();
    let upgraded = folder.path().join("longshore");
    executable::write(&upgraded, &[&std::fs::read(server::program()).unwrap(), &b"a later version"[..]].concat());
    world.server.program = upgraded;
    world.server.launch();
    engine::docker(&["exec", &container(&world), "touch", "/longshore/workspace/go"]);
    assert_eq!(world.api().wait_for_build(&build)["status"], "success");
    assert_eq!(world.api().raw_log(&one), b"begun\nwent on\n");
    let again = world.run(&one_step("echo with the new agent"));
    assert_eq!(again["status"], "success", "{again}");
    world.nothing_is_left();
    world.server.stop();
    let hash = support::agent_hash(&world.server.program);
    engine::remove_all(&world.server.instance);
    engine::docker(&["volume", "rm", &format!("longshore-agent-{hash}")]);
    engine::docker(&["rmi", "-f", &format!("longshore-agent:{hash}")]);
}

#[test]
fn hooks_and_pages_are_answered_while_the_engine_is_away_and_jobs_run_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    std::os::unix::fs::symlink(engine::docker_host().trim_start_matches("unix://"), &socket).unwrap();
    let mut world = World::of(server::Server::start_with(format!("unix://{}", socket.display()), &[]));
    world.server.kill();
    std::fs::remove_file(&socket).unwrap();
    world.server.launch_without_engine();
    let commit = world.git.push(&one_step("echo at last"));
    let build = text(&world.build_of(&commit), "id");
    let (status, page) = world.api().get_text("/");
    assert_eq!(status, 200, "{page}");
    std::os::unix::fs::symlink(engine::docker_host().trim_start_matches("unix://"), &socket).unwrap();
    let build = world.api().wait_for_build(&build);
    assert_eq!(build["status"], "success", "{build}");
    world.nothing_is_left();
}
