//! `longshore run`, `lint` and their exit codes: what people type.

mod support;

use std::process::{Command, Output};

use support::{engine, server};

fn longshore(args: &[&str], dir: &std::path::Path) -> Output {
    Command::new(server::program())
        .args(args)
        .current_dir(dir)
        .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
        .output()
        .expect("the program runs")
}

fn tree(pipeline: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".longshore.yml"), pipeline).unwrap();
    dir
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_run_takes_the_working_tree_as_it_is_and_prints_a_prefixed_log() {
    let dir = tree(&support::world::one_step("cat untracked; echo $WORD; echo $TOKEN"));
    std::fs::write(dir.path().join("untracked"), "not committed\n").unwrap();
    let output = longshore(&["run", "--env", "WORD=given", "--secret", "TOKEN=hunter2hunter2"], dir.path());
    let printed = out(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    for line in ["one | not committed\n", "one | given\n", "one | ***\n"] {
        assert!(printed.contains(line), "{line:?} in {printed}");
    }
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn the_exit_code_says_whose_fault_it_was() {
    let failing = tree(&support::world::one_step("exit 9"));
    assert_eq!(longshore(&["run"], failing.path()).status.code(), Some(1));
    let broken = tree("jobs: 3\n");
    assert_eq!(longshore(&["run"], broken.path()).status.code(), Some(2));
    let missing = tree(&support::world::one_step("true").replace(engine::BUSYBOX, "longshore-test/not-here:1"));
    assert_eq!(longshore(&["run"], missing.path()).status.code(), Some(3));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(longshore(&["run"], empty.path()).status.code(), Some(2));
}

#[test]
fn nothing_of_a_run_is_left_but_its_berth() {
    let dir = tree(&support::world::one_step("true"));
    assert_eq!(longshore(&["run"], dir.path()).status.code(), Some(0));
    // Other tests run beside this one: its own leftovers are what counts, and a run removes them before it ends.
    let left = engine::docker(&[
        "ps",
        "-aq",
        "--filter",
        "label=longshore.instance=run",
        "--filter",
        "label=longshore.kind=job",
        "--filter",
        "status=exited",
    ]);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn lint_gives_json_with_the_place_of_each_finding_and_exits_with_1() {
    let dir = tree("jobs:\n  a:\n    image: x\n    stepz: []\n");
    let output = longshore(&["lint", "--format", "json"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let unknown = found.as_array().unwrap().iter().find(|f| f["code"] == "LS012").unwrap();
    assert_eq!(
        (unknown["file"].as_str(), unknown["line"].as_u64(), unknown["column"].as_u64()),
        (Some(".longshore.yml"), Some(4), Some(5))
    );
    let good = tree(&support::world::one_step("true"));
    assert_eq!(longshore(&["lint"], good.path()).status.code(), Some(0));
}
