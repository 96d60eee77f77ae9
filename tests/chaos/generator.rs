//! Pipelines whose every byte of output is known beforehand: a seed makes both the script and what it prints.

use std::fmt::Write as _;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::support::engine::BUSYBOX;

/// One pipeline and what has to come of it.
#[derive(Debug, Clone)]
pub struct Program {
    pub pipeline: String,
    pub jobs: Vec<Expected>,
}

/// What has to be true of a job, however often the server died on the way.
#[derive(Debug, Clone)]
pub struct Expected {
    pub name: String,
    pub log: Vec<u8>,
    /// 0 is `success`, anything else `failure`.
    pub exit_code: i64,
    /// Of each step that runs.
    pub step_exit_codes: Vec<i64>,
    /// At least so long did each of them run.
    pub step_ms: Vec<u64>,
}

/// The program of a seed: one to three jobs side by side, each of one to four steps, for half a second to three.
pub fn program(seed: u64) -> Program {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pipeline = "jobs:\n".to_owned();
    let mut jobs = Vec::new();
    for at in 0..random.random_range(1..=3) {
        let name = format!("job-{at}");
        let mut expected = Expected {
            name: name.clone(),
            log: Vec::new(),
            exit_code: 0,
            step_exit_codes: Vec::new(),
            step_ms: Vec::new(),
        };
        let _ = write!(
            pipeline,
            "  {name}:\n    image: {BUSYBOX}\n    checkout: {}\n    steps:\n",
            random.random_bool(0.5)
        );
        let steps = random.random_range(1..=4);
        for step in 0..steps {
            let (mut script, output, ms) = piece(&mut random, &format!("{seed}-{at}-{step}"));
            // Seldom in the middle: most jobs shall run long enough to be killed under.
            let code = if step + 1 == steps && random.random_bool(0.3) { random.random_range(1..=125) } else { 0 };
            if code != 0 {
                let _ = writeln!(script, "exit {code}");
            }
            pipeline.push_str("      - run: |\n");
            for line in script.lines() {
                let _ = writeln!(pipeline, "          {line}");
            }
            expected.log.extend_from_slice(&output);
            expected.step_exit_codes.push(code);
            expected.step_ms.push(ms);
            expected.exit_code = code;
        }
        jobs.push(expected);
    }
    Program { pipeline, jobs }
}

/// A script, what it prints, and how long it sleeps in all, in milliseconds.
fn piece(random: &mut StdRng, word: &str) -> (String, Vec<u8>, u64) {
    match random.random_range(0..4) {
        // Line by line, with time between.
        0 => {
            let (lines, pause) = (random.random_range(20..=80), random.random_range(5..=25));
            let script = format!(
                "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo \"{word} line $i\"; sleep 0.{pause:03}; done\n"
            );
            let output = (1..=lines).map(|i| format!("{word} line {i}\n")).collect::<String>();
            (script, output.into_bytes(), lines * pause)
        }
        // Much at once: more than any buffer on the way holds.
        1 => {
            let lines = random.random_range(20_000..=200_000);
            let script = format!("seq 1 {lines}\nsleep 0.2\n");
            let output = (1..=lines).map(|i| format!("{i}\n")).collect::<String>();
            (script, output.into_bytes(), 200)
        }
        // Parts of a line, and bytes that are no text.
        2 => {
            let script =
                format!("printf '{word} '; sleep 0.3; printf '\\377\\376\\001'; sleep 0.3; printf ' end\\n'\n");
            let mut output = format!("{word} ").into_bytes();
            output.extend_from_slice(b"\xff\xfe\x01 end\n");
            (script, output, 600)
        }
        // Nothing for a while, then the last word.
        _ => {
            let script = format!("sleep 0.8; echo {word} woke\n");
            (script, format!("{word} woke\n").into_bytes(), 800)
        }
    }
}
