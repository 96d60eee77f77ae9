//! Services, and steps with an image of their own, beside the same containers by hand.

use std::time::Instant;

use serde_json::Value;

use crate::support::{
    api::text,
    engine::{self, BUSYBOX},
    server::Server,
    world::{World, job, one_step},
};
use crate::{Figures, Proxy, middle, raw, settle, time_of};

/// A service that is ready once its port is open.
const LISTENS: &str = "echo open; while :; do nc -l -p 8080 </dev/null; done";

pub fn pods(figures: &mut Figures) {
    let world = World::of(Server::start_with(
        engine::docker_host(),
        &[("LONGSHORE_SANDBOXES", "1"), ("LONGSHORE_CAPACITY", "1")],
    ));
    world.run(&one_step("true"));
    steps(&world, figures);
    services(&world, figures);
    calls(figures);
}

/// The lines of a job's log with their times and steps.
pub fn lines(world: &World, job: &Value) -> Vec<Value> {
    let (_, lines) = world.api().get_text(&format!("/api/v1/jobs/{}/log?format=jsonl", text(job, "id")));
    lines.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

pub fn first_byte(lines: &[Value], number: u64) -> f64 {
    let is_its = |line: &&Value| line["number"] == number && line["stream"] == "stdout";
    time_of(lines.iter().find(is_its).expect("output"), "time")
}

/// The end of a step to the first byte of the next one, in a container of its own image.
fn steps(world: &World, figures: &mut Figures) {
    let own = format!("      - {{ image: '{BUSYBOX}', run: echo x }}\n");
    let pipeline = format!("jobs:\n  one:\n    image: {BUSYBOX}\n    steps:\n      - run: sleep 3\n{}", own.repeat(5));
    let build = world.run(&pipeline);
    assert_eq!(build["status"], "success", "{build}");
    let one = job(&build, "one");
    let (lines, steps) = (lines(world, one), one["steps"].as_array().expect("steps"));
    let gap = |at: usize| first_byte(&lines, at as u64 + 1) - time_of(&steps[at - 1], "finished_at");
    let mut gaps: Vec<f64> = (1..=5).map(gap).collect();
    let mut by_hand: Vec<f64> = (0..5).map(|_| first_byte_by_hand(world)).collect();
    let (ours, by_hand) = (middle(&mut gaps), middle(&mut by_hand));
    figures.insert("own_image_step_ms", ours);
    figures.insert("own_image_step_ratio", ours / by_hand);
}

pub fn first_byte_by_hand(world: &World) -> f64 {
    world.nothing_is_left();
    let sandbox = engine::objects(&world.server.instance, &["sandbox"]).remove(0);
    let begin = Instant::now();
    let id = raw::create(BUSYBOX, &["echo", "x"], &format!("container:{sandbox}"), "none");
    let mut output = raw::attach(&id);
    raw::start(&id);
    std::io::Read::read_exact(&mut output, &mut [0; 9]).expect("a header and a byte");
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    raw::remove(&id);
    took
}

/// A service's port to the first step, and jobs with a service beside the same containers by hand.
fn services(world: &World, figures: &mut Figures) {
    let echo = "      - run: echo x\n".repeat(5);
    let service = |wait: &str| {
        format!(
            "    services:\n      web: {{ image: '{BUSYBOX}', command: [sh, -c, '{wait}{LISTENS}'], ready: {{ tcp: 8080 }} }}\n"
        )
    };
    let pipeline = |wait: &str| {
        format!("jobs:\n  one:\n    image: {BUSYBOX}\n    checkout: false\n{}    steps:\n{echo}", service(wait))
    };
    let run = |pipeline: &str| {
        world.nothing_is_left();
        let build = world.run(pipeline);
        assert_eq!(build["status"], "success", "{build}");
        build
    };
    let late: Vec<f64> = (0..5)
        .map(|_| {
            let build = run(&pipeline("sleep 2; "));
            let lines = lines(world, job(&build, "one"));
            first_byte(&lines, 1) - first_byte(&lines, 0x8001)
        })
        .collect();
    figures.insert("service_ready_to_step_ms", middle(&mut late.clone()));
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let build = run(&pipeline(""));
        let one = job(&build, "one");
        ours.push(time_of(one, "finished_at") - time_of(one, "claimed_at"));
        world.nothing_is_left();
        let sandbox = engine::objects(&world.server.instance, &["sandbox"]).remove(0);
        let network = format!("container:{sandbox}");
        let begin = Instant::now();
        let service = raw::create(BUSYBOX, &["sh", "-c", LISTENS], &network, "none");
        raw::start(&service);
        let script =
            "until nc 127.0.0.1 8080 </dev/null 2>&-; do sleep 0.01; done; echo x; echo x; echo x; echo x; echo x";
        let id = raw::create(BUSYBOX, &["sh", "-c", script], &network, "none");
        let mut output = raw::attach(&id);
        raw::start(&id);
        raw::wait(&id);
        std::io::Read::read_to_end(&mut output, &mut Vec::new()).expect("output");
        by_hand.push(begin.elapsed().as_secs_f64() * 1000.0);
        raw::remove(&id);
        raw::remove(&service);
    }
    let (ours, by_hand) = (middle(&mut ours), middle(&mut by_hand));
    figures.insert("services_job_ms", ours);
    figures.insert("services_job_ratio", ours / by_hand);
}

/// Calls to the engine for a service, counted on its socket.
fn calls(figures: &mut Figures) {
    let proxy = Proxy::start();
    let world = World::of(Server::start_with(proxy.host(), &[("LONGSHORE_SANDBOXES", "1")]));
    let job =
        |services: &str| format!("jobs:\n  one:\n    image: {BUSYBOX}\n{services}    steps: [{{ run: 'true' }}]\n");
    let service = |name: &str| {
        format!("      {name}: {{ image: '{BUSYBOX}', command: [sleep, '1000'], ready: {{ exec: 'true' }} }}\n")
    };
    let count = |pipeline: &str| {
        settle(&proxy);
        let before = proxy.calls();
        let build = world.run(pipeline);
        assert_eq!(build["status"], "success", "{build}");
        settle(&proxy);
        (proxy.calls() - before) as f64
    };
    count(&job(""));
    let without = count(&job(""));
    let with = count(&job(&format!("    services:\n{}{}", service("one"), service("two"))));
    figures.insert("engine_calls_per_service", (with - without) / 2.0);
}
