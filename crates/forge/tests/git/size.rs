//! Commits that are small to push and endless to unpack.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use longshore_forge::{
    CommitId,
    git::{Git, GitError, Mirror},
};

/// Runs git in a mirror with this input; its answer.
fn git(mirror: &Path, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(mirror)
        .args(arguments)
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@b"), ("GIT_COMMITTER_NAME", "a")])
        .env("GIT_COMMITTER_EMAIL", "a@b")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A tree with so many names for one object.
fn tree(mirror: &Path, kind: &str, object: &str, names: usize) -> String {
    let mut list = String::new();
    for name in 0..names {
        let mode = if kind == "tree" { "040000" } else { "100644" };
        writeln!(list, "{mode} {kind} {object}\t{name:04}").unwrap();
    }
    git(mirror, &["mktree"], &list)
}

#[tokio::test]
async fn a_strangers_commit_that_unpacks_to_more_than_it_may_is_refused_before_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.git");
    let mirror = Mirror::open_or_create(Git::default(), &path).await.unwrap();
    let commit = |tree: &str| -> CommitId { git(&path, &["commit-tree", "-m", "x", tree], "").parse().unwrap() };
    let blob = git(&path, &["hash-object", "-w", "--stdin"], &"0".repeat(3 << 20));

    let usual = commit(&tree(&path, "blob", &blob, 100));
    mirror.check_size(&usual).await.unwrap();
    let large = commit(&tree(&path, "blob", &blob, 1000));
    assert!(matches!(mirror.check_size(&large).await, Err(GitError::TooLarge { .. })));
    // 10^12 files, and 10^12 folders without a file.
    for innermost in [tree(&path, "blob", &blob, 1), git(&path, &["mktree"], "")] {
        let nested = (0..12).fold(innermost, |inner, _| tree(&path, "tree", &inner, 10));
        let error = mirror.check_size(&commit(&nested)).await.unwrap_err();
        assert!(error.to_string().contains("more than 200000 files and folders, or more than 2 GiB"), "{error}");
    }
}
