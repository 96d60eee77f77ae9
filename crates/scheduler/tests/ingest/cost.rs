//! How often git is started between a push and its build: each start costs milliseconds that somebody waits.

use std::os::unix::fs::PermissionsExt as _;

use longshore_git::Git;

use crate::{NONE, PIPELINE, World, push};

/// The most starts of git, not counting those that git itself makes.
const MOST: usize = 9;

#[tokio::test]
async fn from_a_push_to_its_build_git_is_started_a_few_times() {
    let folder = tempfile::tempdir().unwrap();
    let (program, log) = (folder.path().join("git"), folder.path().join("log"));
    let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("git"))
        .find(|program| program.exists())
        .unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\nexec '{}' \"$@\"\n", log.display(), real.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let world = World::with_git("git", PIPELINE, Git::default().with_program(&program)).await;
    let first = world.repository.git(&["rev-parse", "HEAD"]);
    world.build(&world.process("push", "id:1", &push("refs/heads/main", NONE, &first, 1)).await).await;
    let commit = world.repository.commit("next");
    std::fs::write(&log, "").unwrap();
    world.build(&world.process("push", "id:2", &push("refs/heads/main", &first, &commit, 2)).await).await;
    let started = std::fs::read_to_string(&log).unwrap();
    // Those of looking after the mirror come from the push before, or in the background.
    let waited_for: Vec<&str> = started
        .lines()
        .filter(|line| {
            !["for-each-ref", "update-ref", "gc", "cat-file --batch-check"].iter().any(|of| line.starts_with(of))
        })
        .collect();
    println!("{} starts of git:\n{}", waited_for.len(), waited_for.join("\n"));
    assert!(waited_for.len() <= MOST, "{waited_for:#?}");
}
