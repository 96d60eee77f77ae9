//! Chaos: builds with known output run while the server is killed, its connections are cut and its engine restarts.
//!
//! `cargo test` runs a short schedule with a fixed seed, and `make chaos` the long ones. To repeat a seed that failed:
//! `cargo test -p longshore --test chaos -- kills --seed 7 --count 200`.
//!
//! A scenario is a generator of known output (`generator`), a schedule of faults (`faults`), and a verdict (`verdict`).
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "it prints figures"
)]

mod caches;
mod deliveries;
mod docker;
mod faults;
mod follower;
mod generator;
mod proxy;
mod scenarios;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod verdict;

use std::{process::ExitCode, sync::atomic::Ordering, time::Instant};

use support::server::SANDBOXES_READY;
use verdict::Verdict;

/// The scenario to run, and its parameters.
#[derive(Debug, Clone)]
struct Play {
    scenario: String,
    seed: u64,
    count: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("chaos: test");
        return ExitCode::SUCCESS;
    }
    SANDBOXES_READY.store(true, Ordering::Relaxed);
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let scenario = arguments.iter().find(|argument| scenarios::NAMES.contains(&argument.as_str()));
    let plays = match scenario {
        Some(scenario) => vec![Play {
            scenario: scenario.clone(),
            seed: value("--seed").unwrap_or(1),
            count: value("--count").unwrap_or(10),
        }],
        // The short scenario of every test run: without arguments, or with those of the test harness, which are
        // ignored.
        None => vec![
            Play { scenario: "kills".to_owned(), seed: 7, count: 8 },
            Play { scenario: "pods".to_owned(), seed: 7, count: 6 },
            Play { scenario: "soak".to_owned(), seed: 7, count: 20 },
            Play { scenario: "hooks".to_owned(), seed: 7, count: 3 },
            Play { scenario: "caches".to_owned(), seed: 7, count: 16 },
            Play { scenario: "docker".to_owned(), seed: 7, count: 3 },
        ],
    };
    let mut failed = false;
    for play in plays {
        failed |= !run(&play);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs a scenario and prints figures. Returns whether nothing was wrong.
fn run(play: &Play) -> bool {
    let Play { scenario, seed, count } = play;
    println!("chaos: {scenario}, seed {seed}, {count} times");
    let begun = Instant::now();
    let Verdict { mut figures, wrong } = scenarios::play(scenario, *seed, *count);
    figures.insert("seconds", begun.elapsed().as_secs());
    for (name, figure) in &figures {
        println!("  {name:<44} {figure:>12}");
    }
    for what in wrong.iter().take(20) {
        println!("  WRONG: {what}");
    }
    if !wrong.is_empty() {
        println!("  again: cargo test -p longshore --test chaos -- {scenario} --seed {seed} --count {count}");
    }
    let path = format!("{}/../../target/chaos-{scenario}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::write(path, format!("{:#}\n", serde_json::json!(figures))).expect("the figures are written");
    wrong.is_empty()
}
