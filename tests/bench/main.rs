//! Compares Longshore with the raw engine, in one run on one machine. Prints a table and writes `target/bench.json`.
//!
//! Everything is measured from outside, on the real program. Figures are medians unless noted otherwise.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "it prints figures"
)]

mod artifacts;
mod caches;
mod docker;
mod guard;
mod hooks;
mod pages;
mod pods;
mod proxy;
mod raw;
mod reports;
#[path = "../../crates/store/tests/seed/mod.rs"]
mod seed;
mod statuses;
#[path = "../support/mod.rs"]
mod support;
mod unchanged;
mod viewers;

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use longshore_core::{Event, EventName, Timestamp};
use longshore_pipeline as pipeline;
use longshore_pipeline::{RepoFacts, SourceFile};
use proxy::Proxy;
use serde_json::{Value, json};
use support::{
    api::text,
    engine::{self, BUSYBOX},
    server::{SANDBOXES_READY, Server, program},
    until,
    world::{World, job, one_step},
};

/// Prints 1,000,000 lines of 96 bytes.
const LINES: &str = "yes 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123X | head -n 1000000";

fn main() {
    // `cargo bench` passes `--bench`. Any other argument is a group of figures to run alone.
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    SANDBOXES_READY.store(true, Ordering::Relaxed);
    let mut figures = Figures::new();
    let groups: &[(&str, Measure)] = &[
        ("language", language),
        ("calls", calls),
        ("starts", starts),
        ("run", run),
        ("pods", pods::pods),
        ("caches", caches::caches),
        ("workspaces", caches::workspaces),
        ("reuse", unchanged::reuse),
        ("checkout", unchanged::checkout),
        ("docker", docker::docker),
        ("guard", guard::guard),
        ("hooks", hooks::hooks),
        ("log", log),
        ("live", live),
        ("artifacts", artifacts::artifacts),
        ("idle", idle),
        ("statuses", statuses::statuses),
        ("pages", pages::pages),
        ("reports", reports::reports),
        ("long-log", viewers::long_log),
        ("followers", viewers::followers),
    ];
    for (at, (name, measure)) in groups.iter().enumerate() {
        if only.is_empty() || only.iter().any(|o| o == name) {
            println!("[{}/{}] {name}", at + 1, groups.len());
            measure(&mut figures);
        }
    }
    println!();
    for (name, figure) in &figures {
        println!("{name:<28} {figure:>12.2}");
    }
    let rounded: BTreeMap<_, _> =
        figures.iter().map(|(name, figure)| (name, (figure * 100.0).round() / 100.0)).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench.json");
    std::fs::write(path, format!("{:#}\n", json!(rounded))).expect("target/bench.json is written");
}

type Figures = BTreeMap<&'static str, f64>;
type Measure = fn(&mut Figures);

/// Checks files without templates.
fn check(files: &[SourceFile]) -> pipeline::Checked {
    pipeline::check(files, &pipeline::TemplateFiles::new())
}

/// Pure functions: lint and plan.
fn language(figures: &mut Figures) {
    let mut big = "jobs:\n".to_owned();
    let mut n = 0;
    while big.len() < 254 * 1024 {
        big.push_str(&format!("  job-{n}:\n    image: debian:12\n    env: {{ A: '1', B: two }}\n    steps:\n"));
        for step in 0..20 {
            big.push_str(&format!("      - name: step {step}\n        run: echo {step} && make target-{step}\n"));
        }
        n += 1;
    }
    let files = [SourceFile::new("big.yml", big)];
    figures.insert("lint_256k_ms", median(20, || ms(|| assert!(!check(&files).has_errors()))));
    figures.insert(
        "lint_hostile_256k_ms",
        hostile().iter().map(|files| median(20, || ms(|| assert!(check(files).has_errors())))).fold(0.0, f64::max),
    );
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for n in 1..10 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", ")));
    }
    let files = [SourceFile::new("bomb.yml", bomb)];
    let before = peak_rss_mb();
    figures.insert("alias_bomb_ms", median(20, || ms(|| assert!(check(&files).has_errors()))));
    // The growth of the whole process, whose peak earlier groups may have raised already.
    figures.insert("alias_bomb_growth_mb", peak_rss_mb() - before);
    let axes = "      a: [1, 2, 3, 4]\n      b: [1, 2, 3, 4]\n      c: [1, 2, 3, 4]\n      d: [1, 2, 3, 4]\n";
    let matrix = format!(
        "jobs:\n  test:\n    image: 'x:${{{{ matrix.a }}}}'\n    matrix:\n{axes}    steps: [{{ run: make }}]\n"
    );
    let files = [SourceFile::new("matrix.yml", matrix)];
    let event = Event {
        message: "m".to_owned(),
        author: "a".to_owned(),
        author_email: "a@localhost".to_owned(),
        ..Event::new(EventName::Push, "refs/heads/main", "1".repeat(40))
    };
    let facts = RepoFacts { name: "a/b".to_owned(), forge: "git".to_owned(), ..RepoFacts::default() };
    let plan = || match check(&files).plan(&event, &facts) {
        pipeline::Planned::Build(plan) => assert_eq!(plan.jobs.len(), 256),
        other => panic!("{other:?}"),
    };
    figures.insert("plan_256_jobs_ms", median(20, || ms(plan)));
}

/// Files of the largest size, made to take long: brackets, unknown keys, expressions, aliases.
fn hostile() -> Vec<[SourceFile; 1]> {
    let fill = |before: &str, unit: &str, after: &str| {
        let room = 255 * 1024 - before.len() - after.len();
        [SourceFile::new("hostile.yml", format!("{before}{}{after}", unit.repeat(room / unit.len())))]
    };
    let job = "jobs:\n  a:\n    image: x\n    steps:\n";
    vec![
        fill("jobs: [", "{a: b},", ""),
        fill("jobs: [", "[],", ""),
        fill("jobs:\n", "  a: {}\n", ""),
        fill(job, "      - rnu: a\n", ""),
        fill(job, "      - run: ${{ a.b == c['d'] }}\n", ""),
        fill(&format!("{job}      - run: \""), "${{ event.title }}", "\"\n"),
        fill("x: &x {a: b, c: d}\njobs:\n", "  - *x\n", ""),
    ]
}

/// Returns the peak memory of this process.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()).map_or(0.0, |kb| kb / 1024.0)
}

/// Measures the calls to the engine, counted on its socket, and the time from step to step.
fn calls(figures: &mut Figures) {
    let proxy = Proxy::start();
    let world = World::of(Server::start_with(proxy.host(), &[("LONGSHORE_SANDBOXES", "1")]));
    world.run(&one_step("true"));
    settle(&proxy);
    let count = |pipeline: &str| {
        let before = proxy.calls();
        let build = world.run(pipeline);
        assert_eq!(build["status"], "success", "{build}");
        settle(&proxy);
        (proxy.calls() - before, build)
    };
    // The server tries out its engine beside the first jobs, whose calls are not theirs.
    let one = (0..3).map(|_| count(&one_step("true")).0).min().expect("three builds");
    let many = format!("jobs:\n  one:\n    image: {BUSYBOX}\n    steps:\n{}", "      - run: 'true'\n".repeat(200));
    let (two_hundred, build) = count(&many);
    figures.insert("engine_calls_per_build", one as f64);
    figures.insert("engine_calls_per_step", (two_hundred as f64 - one as f64) / 199.0);
    let steps = job(&build, "one")["steps"].as_array().expect("steps");
    let mut gaps: Vec<f64> =
        steps.windows(2).map(|pair| time_of(&pair[1], "started_at") - time_of(&pair[0], "finished_at")).collect();
    assert_eq!(gaps.len(), 199);
    figures.insert("step_to_step_ms", middle(&mut gaps));
    let all = time_of(&steps[199], "finished_at") - time_of(&steps[0], "started_at");
    figures.insert("step_with_its_start_mean_ms", all / 200.0);
    let before = proxy.calls();
    std::thread::sleep(Duration::from_secs(20));
    figures.insert("engine_calls_idle_per_min", (proxy.calls() - before) as f64 * 3.0);
}

fn settle(proxy: &Proxy) {
    let mut last = proxy.calls();
    loop {
        std::thread::sleep(Duration::from_millis(1500));
        if proxy.calls() == last {
            return;
        }
        last = proxy.calls();
    }
}

/// Starts a build of one job, and returns the time from claim to the first byte of output. Nothing else is on the
/// engine.
fn claim_to_first_byte(world: &World) -> f64 {
    world.nothing_is_left();
    let build = world.start_build();
    let build = world.api().wait_for_build(&text(&build, "id"));
    let one = job(&build, "one");
    let (_, lines) = world.api().get_text(&format!("/api/v1/jobs/{}/log?format=jsonl", text(one, "id")));
    let first: Value = serde_json::from_str(lines.lines().find(|l| l.contains("\"stdout\"")).expect("output")).unwrap();
    world.nothing_is_left();
    time_of(&first, "time") - time_of(one, "claimed_at")
}

/// Measures the time from claim to the first byte of output, with a sandbox, and the same by hand.
fn starts(figures: &mut Figures) {
    let world = World::of(Server::start_with(
        engine::docker_host(),
        &[("LONGSHORE_SANDBOXES", "1"), ("LONGSHORE_CAPACITY", "1")],
    ));
    world.run(&one_step("echo x"));
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        ours.push(claim_to_first_byte(&world));
        let sandbox = engine::objects(&world.server.instance, &["sandbox"]).remove(0);
        let begin = Instant::now();
        let id = raw::create(BUSYBOX, &["echo", "x"], &format!("container:{sandbox}"), "none");
        let mut output = raw::attach(&id);
        raw::start(&id);
        std::io::Read::read_exact(&mut output, &mut [0; 9]).expect("a header and a byte");
        by_hand.push(begin.elapsed().as_secs_f64() * 1000.0);
        raw::remove(&id);
    }
    let (ours, by_hand) = (middle(&mut ours), middle(&mut by_hand));
    figures.insert("claim_to_first_byte_ms", ours);
    figures.insert("raw_first_byte_ms", by_hand);
    figures.insert("claim_to_first_byte_ratio", ours / by_hand);
}

/// Measures a warm `longshore run` of one step, and create, attach, start, wait and remove by hand.
fn run(figures: &mut Figures) {
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join(".longshore.yml"), one_step("echo x")).unwrap();
    let instance = format!("bench{}", std::process::id());
    let once = |folder: &std::path::Path| {
        let ended = Command::new(program())
            .args(["run", "--docker-host", &engine::docker_host()])
            .arg(folder)
            .env("LONGSHORE_INSTANCE", &instance)
            .stdout(Stdio::null())
            .status();
        assert!(ended.expect("it runs").success());
    };
    once(tree.path());
    let (mut ours, mut elsewhere, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..15 {
        ours.push(ms(|| once(tree.path())));
        // A folder that was never seen, after runs in others.
        let unseen = tempfile::tempdir().unwrap();
        std::fs::write(unseen.path().join(".longshore.yml"), one_step("echo x")).unwrap();
        elsewhere.push(ms(|| once(unseen.path())));
        let sandbox = engine::objects(&instance, &["sandbox"]).remove(0);
        by_hand.push(ms(|| {
            let id = raw::create(BUSYBOX, &["echo", "x"], &format!("container:{sandbox}"), "none");
            let mut output = raw::attach(&id);
            raw::start(&id);
            raw::wait(&id);
            std::io::Read::read_to_end(&mut output, &mut Vec::new()).expect("output");
            raw::remove(&id);
        }));
    }
    engine::remove_all(&instance);
    let (ours, by_hand) = (middle(&mut ours), middle(&mut by_hand));
    figures.insert("local_first_run_ratio", middle(&mut elsewhere) / by_hand);
    figures.insert("one_step_build_ms", ours);
    figures.insert("raw_one_container_ms", by_hand);
    figures.insert("one_step_build_ratio", ours / by_hand);
}

/// Measures 1,000,000 lines from the container to the stored log, and `docker logs -f` of the same.
fn log(figures: &mut Figures) {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_SANDBOXES", "1")]));
    world.run(&one_step("true"));
    world.git.push(&one_step(LINES));
    let expected: u64 = 96 * 1_000_000;
    let (mut ours, mut growth) = (Vec::new(), 0.0_f64);
    // The build of the push, then three started by hand.
    until("the push's build", || {
        let builds = world.api().get("/api/v1/builds?limit=1");
        support::api::is_final(&builds["items"][0]).then_some(())
    });
    let before = memory_mb(world.server.pid(), "VmRSS:");
    for _ in 0..3 {
        let build = world.start_build();
        let build = world.api().wait_for_build(&text(&build, "id"));
        assert_eq!(build["status"], "success", "{build}");
        let one = job(&build, "one");
        ours.push(time_of(one, "finished_at") - time_of(&one["steps"][0], "started_at"));
        growth = growth.max(memory_mb(world.server.pid(), "VmRSS:") - before);
        let log = world.api().raw_log(&text(one, "id"));
        let line = format!("{}X\n", "0123456789".repeat(9) + "0123");
        assert_eq!(log.len() as u64, expected);
        assert!(log.chunks(line.len()).all(|l| l == line.as_bytes()), "byte for byte");
    }
    let mut by_hand = Vec::new();
    for _ in 0..2 {
        let id = raw::create(BUSYBOX, &["sh", "-c", LINES], "none", "json-file");
        by_hand.push(ms(|| {
            raw::start(&id);
            assert!(raw::follow_logs(&id) >= expected, "docker's own log is whole");
        }));
        raw::remove(&id);
    }
    let (ours, by_hand) = (middle(&mut ours), middle(&mut by_hand));
    figures.insert("log_mb_per_s", expected as f64 / 1e6 / (ours / 1000.0));
    figures.insert("log_ms", ours);
    figures.insert("docker_logs_ms", by_hand);
    figures.insert("log_ratio", by_hand / ours);
    figures.insert("log_rss_growth_mb", growth.max(0.0));
    figures.insert("log_rss_peak_mb", memory_mb(world.server.pid(), "VmHWM:"));
}

/// Measures the time from a printed line to a live reader, and from a cancel to the end of the process.
fn live(figures: &mut Figures) {
    let world = World::start();
    world.git.push(&one_step("i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); usleep 10000; done"));
    let build =
        until("the build", || world.api().get("/api/v1/builds?limit=1")["items"][0]["id"].as_str().map(str::to_owned));
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    let mut late = Vec::new();
    world.api().stream(&format!("/api/v1/jobs/{one}/log/stream"), None, |(name, _, data)| {
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        if name == "log" && data["stream"] == "stdout" {
            late.push(now_ms() - time_of(&data, "time"));
        }
        name == "end"
    });
    late.sort_by(f64::total_cmp);
    figures.insert("live_line_p99_ms", late[late.len() * 99 / 100]);
    figures.insert("live_line_p50_ms", late[late.len() / 2]);

    world.git.push(&one_step("echo ready; exec sleep 600"));
    let mut cancels = Vec::new();
    for n in 0..5 {
        let build = if n == 0 {
            until("the push's build", || {
                let builds = world.api().get("/api/v1/builds?limit=1");
                let newest = builds["items"][0].clone();
                (newest["id"] != build.as_str()).then_some(newest)
            })
        } else {
            world.start_build()
        };
        let id = text(&build, "id");
        let one = text(job(&world.api().get(&format!("/api/v1/builds/{id}")), "one"), "id");
        until("its first line", || (world.api().raw_log(&one) == b"ready\n").then_some(()));
        let asked = now_ms();
        world.api().post(&format!("/api/v1/builds/{id}/cancel"), &json!({}));
        let build = world.api().wait_for_build(&id);
        cancels.push(time_of(&job(&build, "one")["steps"][0], "finished_at") - asked);
    }
    figures.insert("cancel_ms", middle(&mut cancels));
}

/// Measures an idle server that has run a build.
fn idle(figures: &mut Figures) {
    let world = World::start();
    world.run(&one_step("true"));
    world.nothing_is_left();
    std::thread::sleep(Duration::from_secs(2));
    figures.insert("idle_rss_mb", memory_mb(world.server.pid(), "VmRSS:"));
    // The rest is pages of the program's file, which the kernel maps around each one that is used and drops when it
    // needs room.
    figures.insert("idle_private_mb", memory_mb(world.server.pid(), "RssAnon:"));
}

fn memory_mb(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

fn time_of(value: &Value, key: &str) -> f64 {
    let time: Timestamp =
        serde_json::from_value(value[key].clone()).unwrap_or_else(|_| panic!("no time `{key}` in {value}"));
    time.as_millis() as f64
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1000.0
}

fn ms(what: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    what();
    begin.elapsed().as_secs_f64() * 1000.0
}

fn median(times: usize, mut measure: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..times).map(|_| measure()).collect();
    middle(&mut all)
}

fn middle(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
