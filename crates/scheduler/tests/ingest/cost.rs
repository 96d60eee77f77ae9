//! How often git is started between a push and its build: each start costs milliseconds that somebody waits.

use std::path::{Path, PathBuf};

use longshore_git::Git;

use crate::{NONE, PIPELINE, World, push, support::executable};

/// The most starts of git, not counting those that git itself makes.
const MOST: usize = 9;

/// Returns a git that writes a line for each start, and the file with the lines.
fn logging_git(folder: &Path) -> (Git, PathBuf) {
    let (program, log) = (folder.join("git"), folder.join("log"));
    let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("git"))
        .find(|program| program.exists())
        .unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\nexec '{}' \"$@\"\n", log.display(), real.display());
    executable::write(&program, script.as_bytes());
    (Git::default().with_program(&program), log)
}

/// Returns the starts of git that somebody waits for. Those of looking after the mirror come from the push before, or
/// in the background.
fn waited_for(log: &Path) -> Vec<String> {
    let background = ["for-each-ref", "update-ref", "gc", "cat-file --batch-check"];
    let started = std::fs::read_to_string(log).unwrap();
    let waited_for = started.lines().filter(|line| !background.iter().any(|of| line.starts_with(of)));
    waited_for.map(str::to_owned).collect()
}

#[tokio::test]
async fn from_a_push_to_its_build_git_is_started_a_few_times() {
    let folder = tempfile::tempdir().unwrap();
    let (git, log) = logging_git(folder.path());
    let world = World::with_git("git", PIPELINE, git).await;
    let first = world.repository.git(&["rev-parse", "HEAD"]);
    world.build(&world.process("push", "id:1", &push("refs/heads/main", NONE, &first, 1)).await).await;
    let commit = world.repository.commit("next");
    std::fs::write(&log, "").unwrap();
    world.build(&world.process("push", "id:2", &push("refs/heads/main", &first, &commit, 2)).await).await;
    let waited_for = waited_for(&log);
    println!("{} starts of git:\n{}", waited_for.len(), waited_for.join("\n"));
    assert!(waited_for.len() <= MOST, "{waited_for:#?}");
}

#[tokio::test]
async fn a_signed_body_that_is_sent_again_under_other_ids_starts_no_git() {
    let folder = tempfile::tempdir().unwrap();
    let (git, log) = logging_git(folder.path());
    let world = World::with_git("github", PIPELINE, git).await;
    let first = world.repository.git(&["rev-parse", "HEAD"]);
    let told = push("refs/heads/main", NONE, &first, 1);
    world.build(&world.process("push", "id:1", &told).await).await;
    let next = world.repository.commit("next");
    world.build(&world.process("push", "id:2", &push("refs/heads/main", &first, &next, 2)).await).await;
    std::fs::write(&log, "").unwrap();
    for number in 3..6 {
        let replayed = world.process("push", &format!("id:{number}"), &told).await;
        assert!(replayed.reason.as_ref().unwrap().contains("which started build #1"), "{replayed:?}");
    }
    assert_eq!(waited_for(&log), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pushes_has_its_mirror_maintained_once() {
    let folder = tempfile::tempdir().unwrap();
    let (git, log) = logging_git(folder.path());
    let world = World::with_git("git", PIPELINE, git).await;
    let mut before = world.repository.git(&["rev-parse", "HEAD"]);
    for number in 1..=8 {
        let commit = world.repository.commit(&format!("commit {number}"));
        let pushed = push("refs/heads/main", &before, &commit, number);
        world.build(&world.process("push", &format!("id:{number}"), &pushed).await).await;
        before = commit;
    }
    let started = std::fs::read_to_string(&log).unwrap();
    assert!(started.lines().filter(|line| line.starts_with("gc ")).count() <= 1, "{started}");
}
