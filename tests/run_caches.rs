//! The caches of `longshore run`, and who looks after them when a run is over.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use support::{
    engine,
    tree::{Tree, out, upkeep_is_over, upkeeps},
    until,
};

/// A pipeline of one job that caches these paths.
fn caching(paths: &str, script: &str) -> String {
    format!(
        "jobs: {{ one: {{ image: {}, cache: [{{ path: [{paths}], key: 'k-${{{{ hash-files(\"a.lock\") }}}}' }}], steps: [{{ run: '{script}' }}] }} }}",
        engine::BUSYBOX
    )
}

fn run(tree: &Tree) -> String {
    let output = tree.longshore(&["run"]);
    assert!(output.status.success(), "{}{}", out(&output), String::from_utf8_lossy(&output.stderr));
    out(&output)
}

/// Holds the lock of whoever looks after the caches, until dropped.
fn hold_upkeep(tree: &Tree) -> File {
    let host = {
        use sha2::Digest as _;
        hex::encode(&sha2::Sha256::digest(engine::docker_host().as_bytes())[..4])
    };
    let folder = tree.temporary().join(format!("longshore-{}", rustix::process::getuid().as_raw()));
    let lock = folder.join(format!("caches-{}-{host}.lock", tree.instance));
    let lock = File::options().create(true).truncate(false).write(true).open(lock).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    lock
}

#[test]
fn a_run_keeps_what_the_next_run_of_the_folder_begins_with() {
    let tree = Tree::new(&caching("target", "cat target/x || true; echo kept > target/x"));
    tree.write("a.lock", "1");
    assert!(run(&tree).contains("nothing found"));
    let second = run(&tree);
    assert!(second.contains("restored") && second.contains("| kept\n"), "{second}");
    tree.write("a.lock", "2");
    assert!(run(&tree).contains("nothing found"), "another key");
    tree.until_gone();
    upkeep_is_over(&tree.instance);
    assert_eq!(engine::objects(&tree.instance, &["cache"]).len(), 2);
    engine::remove_all(&tree.instance);
    assert!(run(&tree).contains("starts empty"), "its volumes were removed by somebody else");
}

#[test]
fn a_run_does_not_wait_until_its_caches_are_measured_and_the_next_makes_good_what_a_kill_left() {
    let tree = Tree::new(&caching("target", "echo x > target/x"));
    tree.write("a.lock", "1");
    // The first run of an engine finds out whether it has overlays, and makes the folder of the locks.
    run(&tree);
    upkeep_is_over(&tree.instance);
    let held = hold_upkeep(&tree);
    tree.write("a.lock", "2");
    run(&tree);
    let left = upkeeps(&tree.instance);
    assert_eq!(left.len(), 1, "the run is over, and its caches are still to be looked after");
    for id in left {
        kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
    }
    upkeep_is_over(&tree.instance);
    drop(held);
    let unmeasured = run(&tree);
    assert!(unmeasured.contains("restored in "), "nobody knows its size: {unmeasured}");
    upkeep_is_over(&tree.instance);
    let measured = run(&tree);
    assert!(measured.contains("restored") && !measured.contains("restored in "), "{measured}");
    upkeep_is_over(&tree.instance);
    assert_eq!(engine::objects(&tree.instance, &["agent"]), [""; 0]);
}

#[test]
fn of_runs_that_end_together_one_process_looks_after_the_caches_and_one_waits() {
    let tree = Tree::new(&caching("target", "echo x > target/x"));
    tree.write("a.lock", "1");
    run(&tree);
    upkeep_is_over(&tree.instance);
    let held = hold_upkeep(&tree);
    for _ in 0..3 {
        run(&tree);
    }
    // Those that come later see that one waits, which begins after them.
    until("the others to leave it to one", || (upkeeps(&tree.instance).len() == 1).then_some(()));
    drop(held);
}

#[test]
fn a_run_waits_where_earlier_ones_have_left_many_caches_unmeasured() {
    let paths: Vec<String> = (0..17).map(|at| format!("p{at}")).collect();
    let tree = Tree::new(&caching(&paths.join(", "), "echo x > p0/x"));
    tree.write("a.lock", "1");
    let folder = tree.temporary().join(format!("longshore-{}", rustix::process::getuid().as_raw()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let held = hold_upkeep(&tree);
    let mut child = tree.command(&["run"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "success"));
    until("the process that looks after the caches", || (!upkeeps(&tree.instance).is_empty()).then_some(()));
    assert!(child.try_wait().unwrap().is_none(), "it is over, and nobody has measured its caches");
    drop(held);
    assert!(child.wait().unwrap().success());
    assert_eq!(upkeeps(&tree.instance), [0; 0]);
    let measured = run(&tree);
    assert!(measured.contains("restored") && !measured.contains("restored in "), "{measured}");
}
