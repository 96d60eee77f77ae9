//! A cache of 1 GB in 50,000 files: how much later a job with it starts than one without, and how much later it ends
//! that saves it; beside
//! `tar` of the same files. And ten jobs that begin on a workspace of 2 GB.

use std::time::Instant;

use serde_json::Value;

use crate::support::{
    api::text,
    engine::{self, BUSYBOX},
    server::Server,
    until,
    world::{World, job},
};
use crate::{Figures, middle, time_of};

/// Writes 50,000 files of 20,000 bytes.
const FILL: &str = "head -c 20000 /dev/urandom > f0; mkdir -p c; for d in $(seq 250); do mkdir -p c/$d; for f in $(seq 200); do echo c/$d/$f; done; done \
                    | while read f; do cp f0 $f; done";
/// How often each is measured.
const ROUNDS: usize = 7;

pub fn caches(figures: &mut Figures) {
    let settings = [("LONGSHORE_SANDBOXES", "2"), ("LONGSHORE_CAPACITY", "1")];
    let world = World::of(Server::start_with(engine::docker_host(), &settings));
    let run = |cache: &str, script: &str| {
        let pipeline = format!(
            "jobs:\n  one:\n    image: {BUSYBOX}\n    checkout: false\n{cache}    steps:\n      - run: {script}\n"
        );
        let build = world.run(&pipeline);
        assert_eq!(build["status"], "success", "{build}");
        // Removals are not to delay the next start.
        world.nothing_is_left();
        build
    };
    let cache = |key: &str| format!("    cache: [{{ path: c, key: {key}, fallback: [full] }}]\n");
    run(&cache("full"), &format!("'{FILL}'"));
    until("the cache to be measured", || {
        let caches = world.api().get(&format!("/api/v1/repos/{}/caches", world.repo));
        caches["items"][0]["bytes"].as_u64().filter(|bytes| *bytes > 1_000_000_000)
    });
    let (mut without, mut with, mut saved, mut unsaved) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let build = run("", "echo x");
        without.push(start_of(&build));
        unsaved.push(end_of(&build));
        with.push(start_of(&run(&cache("full"), "ls c/250/200")));
        saved.push(end_of(&run(&cache(&format!("new-{round}")), "echo x > c/250/200")));
    }
    let restore = middle(&mut with) - middle(&mut without);
    let save = middle(&mut saved) - middle(&mut unsaved);
    figures.insert("cache_restore_ms", restore.max(0.0));
    figures.insert("cache_save_job_ms", save.max(0.0));
    figures.insert("cache_tar_ms", tar_by_hand(&world));
}

/// How much later each of ten jobs starts that begin on a workspace of 2 GB.
pub fn workspaces(figures: &mut Figures) {
    let settings = [("LONGSHORE_SANDBOXES", "2"), ("LONGSHORE_CAPACITY", "1")];
    let world = World::of(Server::start_with(engine::docker_host(), &settings));
    let ten = |build: &str, need: &str| {
        let pipeline = format!(
            "defaults: {{ image: {BUSYBOX} }}\njobs:\n  build: {{ checkout: false, steps: [{{ run: '{build}' }}] }}\n  test:\n    needs: [{need}]\n    \
             matrix: {{ n: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'] }}\n{}    steps: [{{ run: ls }}]\n",
            if need == "build" { "    checkout: false\n" } else { "" }
        );
        let build = world.run(&pipeline);
        assert_eq!(build["status"], "success", "{build}");
        world.nothing_is_left();
        let mut starts: Vec<f64> = (0..10).map(|n| start_of_job(job(&build, &format!("test ({n})")))).collect();
        middle(&mut starts)
    };
    let fill = "mkdir out; head -c 1000000 /dev/urandom > one; for n in $(seq 2000); do cp one out/$n; done";
    let without = ten("true", "build");
    let with = ten(fill, "{ job: build, workspace: true }");
    figures.insert("workspace_fan_out_ms", (with - without).max(0.0));
}

/// Returns how long after it was claimed the job's first step began.
fn start_of(build: &Value) -> f64 {
    start_of_job(job(build, "one"))
}

fn start_of_job(job: &Value) -> f64 {
    time_of(&job["steps"][0], "started_at") - time_of(job, "claimed_at")
}

/// Returns how long after its last step the job was over.
fn end_of(build: &Value) -> f64 {
    let one = job(build, "one");
    time_of(one, "finished_at") - time_of(&one["steps"][0], "finished_at")
}

/// Packs the same files and unpacks them beside, in a container. Returns how long unpacking took.
fn tar_by_hand(world: &World) -> f64 {
    let caches = world.api().get(&format!("/api/v1/repos/{}/caches", world.repo));
    let items = caches["items"].as_array().expect("a list");
    assert!(items.iter().any(|item| text(item, "key") == "full"), "{caches}");
    let volumes = engine::objects(&world.server.instance, &["cache"]);
    let full = volumes.iter().find(|volume| {
        engine::docker(&["run", "--rm", "-v", &format!("{volume}:/v:ro"), BUSYBOX, "sh", "-c", "ls /v | wc -l"])
            .first()
            .is_some_and(|count| count.trim() == "250")
    });
    let from = format!("{}:/v:ro", full.expect("the layer with all files"));
    let target = format!("longshore-bench-{:08x}", rand::random::<u32>());
    engine::docker(&["volume", "create", &target]);
    let into = format!("{target}:/w");
    let tar = |script: &str| {
        let begin = Instant::now();
        engine::docker(&["run", "--rm", "-v", &from, "-v", &into, BUSYBOX, "sh", "-c", script]);
        begin.elapsed().as_secs_f64() * 1000.0
    };
    tar("tar cf /w/all.tar -C /v .");
    let nothing = tar("true");
    let unpacked = tar("mkdir /w/all && tar xf /w/all.tar -C /w/all");
    engine::docker(&["volume", "rm", "-f", &target]);
    unpacked - nothing
}
