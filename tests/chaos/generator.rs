//! Pipelines with known output: a seed determines both the script and every byte that it prints.

use std::fmt::Write as _;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::support::engine::BUSYBOX;

/// A pipeline and its expected result.
#[derive(Debug, Clone)]
pub struct Program {
    pub pipeline: String,
    pub jobs: Vec<Expected>,
}

/// The expected result of a job, however often the server was killed meanwhile.
#[derive(Debug, Clone)]
pub struct Expected {
    pub name: String,
    /// The output of the steps.
    pub log: Vec<u8>,
    /// The output of each service, all of it before the first step.
    pub services: Vec<(&'static str, Vec<u8>)>,
    /// 0 for `success`, anything else for `failure`.
    pub exit_code: i64,
    /// The exit code of each step that runs.
    pub step_exit_codes: Vec<i64>,
    /// The least duration of each step.
    pub step_ms: Vec<u64>,
}

/// How many of a program's jobs have services, and how many of its steps have images of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Some.
    Mixed,
    /// Every job has two services, and at least two steps with images of their own.
    Pods,
}

/// Returns the pipeline of a seed: one to three parallel jobs of one to four steps, which take half a second to three
/// seconds.
pub fn program(seed: u64, shape: Shape) -> Program {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pipeline = "jobs:\n".to_owned();
    let mut jobs = Vec::new();
    for at in 0..random.random_range(1..=3) {
        let name = format!("job-{at}");
        let mut expected = Expected {
            name: name.clone(),
            log: Vec::new(),
            services: Vec::new(),
            exit_code: 0,
            step_exit_codes: Vec::new(),
            step_ms: Vec::new(),
        };
        let _ = write!(pipeline, "  {name}:\n    image: {BUSYBOX}\n    checkout: {}\n", random.random_bool(0.5));
        if random.random_bool(0.4) || shape == Shape::Pods {
            pipeline.push_str(&services(&mut expected.services));
        }
        pipeline.push_str("    steps:\n");
        let steps = random.random_range(if shape == Shape::Pods { 2..=4 } else { 1..=4 });
        for step in 0..steps {
            let (mut script, output, ms) = piece(&mut random, &format!("{seed}-{at}-{step}"));
            // Rarely in the middle, because most jobs should run long enough for a kill.
            let code = if step + 1 == steps && random.random_bool(0.3) { random.random_range(1..=125) } else { 0 };
            if code != 0 {
                let _ = writeln!(script, "exit {code}");
            }
            if random.random_bool(0.3) || shape == Shape::Pods && step < 2 {
                let _ = writeln!(pipeline, "      - image: {BUSYBOX}\n        run: |");
            } else {
                pipeline.push_str("      - run: |\n");
            }
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

/// Two services, which print before they are ready, and with that before the first step.
fn services(logs: &mut Vec<(&'static str, Vec<u8>)>) -> String {
    const LINES: usize = 40;
    let mut text = "    services:\n".to_owned();
    for name in ["one", "two"] {
        let script = format!(
            "i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo {name} $i; sleep 0.01; done; touch /tmp/up; sleep 1000"
        );
        let _ = writeln!(
            text,
            "      {name}: {{ image: {BUSYBOX}, command: [sh, -c, '{script}'], ready: {{ exec: test -e /tmp/up }} }}"
        );
        logs.push((name, (1..=LINES).map(|i| format!("{name} {i}\n")).collect::<String>().into_bytes()));
    }
    text
}

/// Returns a script, its output, and how long it sleeps altogether, in milliseconds.
fn piece(random: &mut StdRng, word: &str) -> (String, Vec<u8>, u64) {
    match random.random_range(0..4) {
        // Line by line, with pauses.
        0 => {
            let (lines, pause) = (random.random_range(20..=80), random.random_range(5..=25));
            let script = format!(
                "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo \"{word} line $i\"; sleep 0.{pause:03}; done\n"
            );
            let output = (1..=lines).map(|i| format!("{word} line {i}\n")).collect::<String>();
            (script, output.into_bytes(), lines * pause)
        }
        // Much at once: more than any buffer on the way.
        1 => {
            let lines = random.random_range(20_000..=200_000);
            let script = format!("seq 1 {lines}\nsleep 0.2\n");
            let output = (1..=lines).map(|i| format!("{i}\n")).collect::<String>();
            (script, output.into_bytes(), 200)
        }
        // Parts of a line, and bytes that are not text.
        2 => {
            let script =
                format!("printf '{word} '; sleep 0.3; printf '\\377\\376\\001'; sleep 0.3; printf ' end\\n'\n");
            let mut output = format!("{word} ").into_bytes();
            output.extend_from_slice(b"\xff\xfe\x01 end\n");
            (script, output, 600)
        }
        // A silence, then one more line.
        _ => {
            let script = format!("sleep 0.8; echo {word} woke\n");
            (script, format!("{word} woke\n").into_bytes(), 800)
        }
    }
}
