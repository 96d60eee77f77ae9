//! The cost of a job that need not run, and of a checkout of 20,000 files beside `git clone --local` of the same.

use std::{process::Command, time::Instant};

use serde_json::Value;

use crate::support::{
    api::text,
    engine::{self, BUSYBOX},
    server::Server,
    world::{World, job},
};
use crate::{Figures, middle, time_of};

/// How often each is measured.
const ROUNDS: usize = 7;
const FILES: usize = 20_000;

/// From the claim of an unchanged job to its end.
pub fn reuse(figures: &mut Figures) {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_SANDBOXES", "2")]));
    let pipeline = format!(
        "jobs: {{ one: {{ image: {BUSYBOX}, reuse: src, steps: [{{ run: 'echo made > made' }}], artifacts: {{ paths: made }} }} }}"
    );
    let mut took = Vec::new();
    for round in 0..=ROUNDS {
        let files = [(".longshore.yml", pipeline.as_str()), ("src", "1"), ("other", &round.to_string())];
        let build = pushed(&world, &files);
        let one = job(&build, "one");
        if round > 0 {
            assert_eq!(text(one, "reason"), "same as build 1");
            took.push(time_of(one, "finished_at") - time_of(one, "claimed_at"));
        }
    }
    figures.insert("reuse_ms", middle(&mut took));
}

/// The time that a checkout of a new commit adds to the start of a job.
pub fn checkout(figures: &mut Figures) {
    let settings = [("LONGSHORE_SANDBOXES", "2"), ("LONGSHORE_CAPACITY", "1")];
    let world = World::of(Server::start_with(engine::docker_host(), &settings));
    for n in 0..FILES {
        let lines: String = (0..20 + n % 100).map(|line| format!("line {line} of file {n}\n")).collect();
        let path = world.git.work().join(format!("d{}/e{}/f{n}.txt", n / 200, n % 10));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, lines).expect("written");
    }
    let run = |round: usize, checkout: &str| {
        let pipeline = format!("jobs: {{ one: {{ image: {BUSYBOX}, {checkout}steps: [{{ run: 'true' }}] }} }}");
        let build = pushed(&world, &[(".longshore.yml", &pipeline), ("changed", &round.to_string())]);
        world.nothing_is_left();
        let one = job(&build, "one");
        time_of(&one["steps"][0], "started_at") - time_of(one, "claimed_at")
    };
    run(0, "");
    let (mut with, mut without, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        with.push(run(round, ""));
        without.push(run(round, "checkout: false, "));
        let place = world.git.work().with_file_name("clone");
        let begin = Instant::now();
        let cloned = Command::new("git").args(["clone", "-q", "--local"]).arg(world.git.bare()).arg(&place).status();
        assert!(cloned.expect("git runs").success());
        by_hand.push(begin.elapsed().as_secs_f64() * 1000.0);
        std::fs::remove_dir_all(place).expect("removed");
    }
    let (ours, by_hand) = (middle(&mut with) - middle(&mut without), middle(&mut by_hand));
    figures.insert("checkout_20000_files_ms", ours);
    figures.insert("clone_local_ms", by_hand);
    figures.insert("checkout_20000_files_ratio", ours / by_hand);
}

fn pushed(world: &World, files: &[(&str, &str)]) -> Value {
    let commit = world.git.commit("change", files);
    world.git.git(&["push", "-q", "origin", "HEAD:main"]);
    let build = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(build["status"], "success", "{build}");
    build
}
