//! What the containers of a job with Docker write is measured, and ends the job once it is over the budget.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{
    api::text,
    engine::{self, BUSYBOX},
    server::Server,
    until,
    world::{World, job},
};

/// An image with clients, made by `scripts/images.sh`.
const CLIENTS: &str = "longshore-test/docker:latest";

/// A server whose jobs with Docker may write 64 MiB.
fn granted() -> World {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_DOCKER_DISK_MAX_MIB", "64")]));
    let grant = json!({ "docker": { "branches": ["main"] } });
    assert_eq!(world.api().patch(&format!("/api/v1/repos/{}", world.repo), &grant).0, 200);
    world
}

/// Jobs of one step each, with Docker.
fn jobs(scripts: &[(&str, String)]) -> String {
    let job = |(name, script): &(&str, String)| {
        let script = script.lines().map(|line| format!("          {}\n", line.trim())).collect::<String>();
        format!("  {name}:\n    image: {CLIENTS}\n    docker: true\n    steps:\n      - run: |\n{script}")
    };
    format!("jobs:\n{}", scripts.iter().map(job).collect::<String>())
}

/// Has a container write this many MiB to a file, and go on.
fn fill(options: &str, mib: u32, file: &str) -> String {
    format!(
        "docker run --rm {options} {BUSYBOX} sh -c 'dd if=/dev/zero of={file} bs=1M count={mib} && sync && sleep 600'"
    )
}

fn log_of(world: &World, build: &Value, name: &str) -> String {
    world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(build, name), "id"))).1
}

fn nothing_inner_is_left(world: &World) {
    until("everything to be gone", || {
        engine::objects(&world.server.instance, &["guard", "inner"]).is_empty().then_some(())
    });
}

#[test]
fn a_job_ends_once_what_its_containers_write_is_over_the_budget_wherever_they_write_it() {
    let world = granted();
    let within = format!(
        "set -e
        for i in 1 2 3; do
        docker run --rm -v data:/data {BUSYBOX} dd if=/dev/zero of=/data/x bs=1M count=40
        docker volume rm data
        done"
    );
    let deep = "i=0; while [ $i -lt 600 ]; do mkdir d; cd d; i=$((i+1)); done";
    let deep = format!("docker run --rm -v data:/data -w /data {BUSYBOX} sh -c '{deep}; sleep 600'");
    // A container's own files are measured by the engine, as far as paths reach.
    let long = "d".repeat(200);
    let deeper = format!("i=0; while [ $i -lt 30 ]; do mkdir {long}; cd {long}; i=$((i+1)); done");
    let deeper = format!(
        "docker run --rm {BUSYBOX} sh -c '{deeper}; dd if=/dev/zero of=x bs=1M count=100 && sync && sleep 600'"
    );
    let build = format!(
        "printf 'FROM {BUSYBOX}\\nRUN dd if=/dev/zero of=/data bs=1M count=100 && sync && sleep 600\\n' | docker build -"
    );
    let build = world.run(&jobs(&[
        ("within", within),
        ("named", fill("-v data:/data", 100, "/data/x")),
        ("unnamed", fill("-v /data", 100, "/data/x")),
        ("workspace", fill("-v \"$PWD:/data\"", 100, "/data/x")),
        ("own-files", fill("", 100, "/data")),
        ("hosts", fill("", 100, "/etc/hosts")),
        ("build", build),
        ("deep", deep),
        ("deeper", deeper),
    ]));
    let within = job(&build, "within");
    assert_eq!(within["status"], "success", "{}", log_of(&world, &build, "within"));
    for name in ["named", "unnamed", "workspace", "own-files", "hosts", "build", "deep", "deeper"] {
        let (over, log) = (job(&build, name), log_of(&world, &build, name));
        assert_eq!(over["status"], "error", "{name}: {over}\n{log}");
        let why = if name.starts_with("deep") {
            "nested too deep"
        } else {
            "may take 64 MiB (LONGSHORE_DOCKER_DISK_MAX_MIB)"
        };
        assert!(over.to_string().contains(why), "{name}: {over}");
        assert!(log.contains(why), "{name}: {log}");
    }
    nothing_inner_is_left(&world);
}

#[test]
fn what_a_job_runs_ends_over_the_budget_also_while_no_server_is_there() {
    let mut world = granted();
    let container = format!(
        "{BUSYBOX} sh -c 'while [ ! -e /w/go ]; do sleep 0.1; done; dd if=/dev/zero of=/w/x bs=1M count=200; sync; sleep 600'"
    );
    let script = format!("docker run --name filler -v \"$PWD:/w\" {container} || sleep 600");
    let commit = world.git.push(&jobs(&[("one", script)]));
    let build = text(&world.build_of(&commit), "id");
    let inner = || engine::objects(&world.server.instance, &["inner"]);
    let filler = until("its container", || inner().into_iter().next());
    until("it runs", || (engine::inspect(&filler, "{{.State.Running}}").as_deref() == Some("true")).then_some(()));
    world.server.kill();
    engine::docker(&["exec", &filler, "touch", "/w/go"]);
    until("its guard ends it", || {
        (engine::inspect(&filler, "{{.State.Running}}").as_deref() == Some("false")).then_some(())
    });
    world.server.launch();
    let ended = world.api().wait_for_build(&build);
    let one = job(&ended, "one");
    assert_eq!(one["status"], "error", "{one}\n{}", log_of(&world, &ended, "one"));
    assert!(one.to_string().contains("may take 64 MiB"), "{one}");
    nothing_inner_is_left(&world);
}
