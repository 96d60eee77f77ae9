//! Many pods that end in every way: success, a step that fails, a timeout, a service that crashes or is never ready, a
//! cancel at any moment. Afterwards the engine has sandboxes, and nothing else.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    deliveries::{insist, settled},
    generator::Program,
    scenarios::Stage,
    support::{
        api::is_final,
        engine::{self, BUSYBOX},
    },
    verdict::Verdict,
};

/// Pods that run at a time.
const CAPACITY: u64 = 8;
/// Sandboxes that a server with this capacity keeps.
const SANDBOXES: u64 = CAPACITY + 2;
/// Rounds at a time.
const ROUNDS: u64 = 3;
/// How long a build runs before it is canceled, at most: its jobs are queued, starting, and running by then.
const LATEST_CANCEL: Duration = Duration::from_millis(2500);

/// A service that is ready at once.
const READY: &str = "touch /tmp/up; sleep 1000";
const NEVER_READY: &str = "sleep 1000";
const CRASHES: &str = "touch /tmp/up; sleep 0.5; exit 9";

/// The job that has a time limit of a few seconds.
const TOO_SLOW: &str = "is-too-slow";
/// The jobs of a build that nobody cancels: the name, the service's script, the step's script, whether the step has an
/// image of its own, and the end.
const ENDINGS: [(&str, &str, &str, bool, &str); 6] = [
    ("succeeds", READY, "echo done", true, "success"),
    ("fails", READY, "exit 3", false, "failure"),
    ("fails-in-its-own-image", READY, "exit 4", true, "failure"),
    (TOO_SLOW, READY, "sleep 1000", true, "timed-out"),
    ("loses-its-service", CRASHES, "sleep 1000", false, "error"),
    ("gets-no-service", NEVER_READY, "echo never", false, "error"),
];
/// The jobs of a build that is canceled.
const CANCELED: usize = 4;

/// Runs `count` pods: rounds of a build that ends by itself, and one that is canceled.
pub fn soak(seed: u64, count: u64) -> Verdict {
    let of_round = (ENDINGS.len() + CANCELED) as u64;
    let rounds = count.div_ceil(of_round);
    let stage = Stage::new(vec![endings(), canceled()], CAPACITY);
    let next = AtomicU64::new(0);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let play = || {
            let mut wrong = Vec::new();
            loop {
                let round = next.fetch_add(1, Ordering::Relaxed);
                if round >= rounds {
                    return wrong;
                }
                wrong.extend(play_round(&stage, seed, round));
                if round % 10 == 9 {
                    println!("  {} of {rounds} rounds", round + 1);
                }
            }
        };
        let players: Vec<_> = (0..ROUNDS).map(|_| scope.spawn(play)).collect();
        players.into_iter().flat_map(|player| player.join().expect("a round")).collect()
    });
    let mut verdict = Verdict::default();
    verdict.add("pods", rounds * of_round);
    verdict.wrong = wrong;
    verdict.of_engine(&stage.server.instance);
    let sandboxes = || engine::objects(&stage.server.instance, &["sandbox"]).len() as u64;
    let begun = Instant::now();
    let left = settled(sandboxes, |left| *left <= SANDBOXES);
    if left > SANDBOXES {
        verdict.wrong.push(format!("{left} sandboxes are left, {SANDBOXES} at most were expected"));
    }
    verdict.add("sandboxes_left", left);
    verdict.add("sandboxes_removed_after_ms", u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    verdict
}

/// Returns what was wrong.
fn play_round(stage: &Stage, seed: u64, round: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(round));
    let [ending, canceled] = [0, 1].map(|program| {
        let delivery = stage.push(program, &format!("soak-{round}"));
        insist("a delivery's build", || {
            let delivery = stage.client.json(&format!("/api/v1/deliveries/{delivery}"));
            delivery["builds"][0].as_str().map(str::to_owned)
        })
    });
    std::thread::sleep(LATEST_CANCEL.mul_f64(random.random()));
    let (status, answer) = stage.server.api().post(&format!("/api/v1/builds/{canceled}/cancel"), &json!({}));
    let mut wrong = Vec::new();
    if status != 202 {
        wrong.push(format!("the cancel was answered {status}: {answer}"));
    }
    let canceled = end_of(stage, &canceled);
    for job in canceled["jobs"].as_array().into_iter().flatten() {
        if job["status"] != "canceled" {
            wrong.push(format!("not canceled: {job}"));
        }
    }
    let ended = end_of(stage, &ending);
    for (name, _, _, _, status) in ENDINGS {
        let job = ended["jobs"].as_array().and_then(|jobs| jobs.iter().find(|job| job["name"] == name));
        if job.is_none_or(|job| job["status"] != status) {
            wrong.push(format!("{status} was expected of {name}: {job:?}"));
        }
    }
    wrong
}

fn end_of(stage: &Stage, build: &str) -> Value {
    insist("a build's end", || {
        let build = stage.client.json(&format!("/api/v1/builds/{build}"));
        is_final(&build).then_some(build)
    })
}

fn endings() -> Program {
    let jobs = ENDINGS.map(|(name, service, script, own, _)| job(name, service, script, own));
    Program { pipeline: format!("jobs:\n{}", jobs.concat()), jobs: Vec::new() }
}

fn canceled() -> Program {
    let jobs: String = (0..CANCELED).map(|at| job(&format!("job-{at}"), READY, "sleep 1000", at % 2 == 0)).collect();
    Program { pipeline: format!("jobs:\n{jobs}"), jobs: Vec::new() }
}

/// A job with a service and a step.
fn job(name: &str, service: &str, script: &str, own: bool) -> String {
    let timeout = if name == TOO_SLOW { "    timeout: 3s\n" } else { "" };
    let image = if own { format!("image: {BUSYBOX}, ") } else { String::new() };
    // On a busy machine even one that is ready at once takes a while.
    let patience = if service == NEVER_READY { "2s" } else { "1m" };
    format!(
        "  {name}:\n    image: {BUSYBOX}\n    checkout: false\n{timeout}    services:\n      web: {{ image: {BUSYBOX}, \
         command: [sh, -c, '{service}'], ready: {{ exec: test -e /tmp/up, timeout: {patience} }} }}\n    steps:\n      - {{ {image}run: '{script}' }}\n"
    )
}
