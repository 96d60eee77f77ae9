//! How `longshore run` ends: by signals, when nobody reads its output, when it is killed, and with a large workspace.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    engine,
    tree::{Tree, has_no},
    until,
    world::one_step,
};

/// Prints and never ends by itself.
const FOR_EVER: &str = "while :; do echo works; sleep 0.1; done";

/// Starts a run, and waits until its step prints.
fn begin(tree: &Tree) -> (Child, BufReader<ChildStdout>) {
    let mut child = tree.command(&["run"]).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("works") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended before its step began");
    }
    (child, output)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Returns whether this process was started with a signal ignored, as below `nohup`. Its children then ignore it too.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

#[test]
fn a_run_that_gets_a_signal_cancels_its_jobs_leaves_nothing_and_is_no_success() {
    let tree = Tree::new(&one_step(FOR_EVER));
    for signal in [Signal::TERM, Signal::HUP, Signal::INT].into_iter().filter(|signal| !is_ignored(*signal)) {
        let (mut child, output) = begin(&tree);
        send(&child, signal);
        let rest: Vec<String> = output.lines().map_while(Result::ok).collect();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{signal:?}: {rest:?}");
        assert_eq!(rest.last().map(String::as_str), Some("canceled"), "{signal:?}");
        tree.until_gone();
    }
    // The record of a run whose files were not deleted in time is the next run's to remove.
    tree.write(".longshore.yml", &one_step("true"));
    until("the records to go", || {
        has_no(&tree.temporary(), ".run").then_some(()).or_else(|| {
            tree.exit_code(&["run"]);
            None
        })
    });
}

#[test]
fn a_run_whose_output_nobody_reads_is_canceled_and_no_success() {
    let tree = Tree::new(&one_step(FOR_EVER));
    let (mut child, output) = begin(&tree);
    drop(output);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    tree.until_gone();
}

#[test]
fn a_run_of_a_silent_job_is_canceled_when_nobody_reads_it_any_more() {
    let tree = Tree::new(&one_step("echo works; sleep 600"));
    let (mut child, output) = begin(&tree);
    drop(output);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    tree.until_gone();
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let image = engine::BUSYBOX;
    let tree = Tree::new(&format!(
        "on: push
jobs:
  first: {{ image: {image}, steps: [run: 'true'] }}
  next:
    image: {image}
    needs: [{{ job: first, workspace: true }}]
    services: {{ beside: {{ image: {image}, command: ['sleep', '600'] }} }}
    steps: [run: '{FOR_EVER}']
"
    ));
    let (mut child, _output) = begin(&tree);
    assert!(!tree.objects().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    tree.write(".longshore.yml", &one_step("true"));
    assert_eq!(tree.exit_code(&["run"]), Some(0));
    // A busy engine may take longer than a run that has nothing to do: the next one goes on.
    until("the killed run's containers, volumes, record and folder to go", || {
        assert_eq!(tree.exit_code(&["run"]), Some(0));
        let mut folders = std::fs::read_dir(tree.temporary()).unwrap().flatten();
        let is_gone = !folders.any(|entry| entry.file_name().to_string_lossy().starts_with("longshore-run-"));
        (is_gone && tree.objects().is_empty() && has_no(&tree.temporary(), ".run")).then_some(())
    });
}

#[test]
fn a_run_does_not_wait_until_a_large_workspace_is_deleted() {
    // Many small files: the engine takes a while to delete them, whatever the disk.
    let many = "mkdir d; cd d; i=0; while [ $i -lt 400 ]; do mkdir $i; i=$((i+1)); done; \
                seq 1 400 | while read f; do echo $f > 0/$f; done; for d in *; do [ $d = 0 ] || cp 0/* $d/; done";
    let tree = Tree::new(&one_step(many));
    let mut child = tree.command(&["run"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut over = None;
    for line in output.lines().map_while(Result::ok) {
        if line == "success" {
            over = Some(Instant::now());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let took = over.unwrap().elapsed();
    let left = tree.objects().len();
    println!("ended {} ms after its result, {left} volumes being deleted", took.as_millis());
    // A machine that is slow to end the run is slow to delete, too.
    assert!(left > 0 || took < Duration::from_secs(8), "{took:?}");
    // The engine goes on by itself.
    until("the engine to delete the workspace", || tree.objects().is_empty().then_some(()));
}
