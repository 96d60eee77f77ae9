//! Commits that are small to push and endless to unpack.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use longshore_forge::CommitId;
use longshore_git::{Checkout, Checkouts, Git, GitError, Mirror};

/// Runs git in a mirror with this input, and returns its output.
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

/// Creates a tree with this many names for one object.
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

#[tokio::test]
async fn what_attributes_make_of_a_strangers_files_counts_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.git");
    let mirror = Mirror::open_or_create(Git::default(), &path).await.unwrap();
    let checkouts = Checkouts::open(folder.path().join("checkouts"), 1 << 30).unwrap();
    let ids = git(&path, &["hash-object", "-w", "--stdin"], &"$Id$\n".repeat(200_000));
    let origin = "http://forge.example/app".parse().unwrap();
    for (files, attributes, fits) in [(3, "* ident\n", true), (200, "* ident\n", false)] {
        let files = tree(&path, "blob", &ids, files);
        let attributes = git(&path, &["hash-object", "-w", "--stdin"], attributes);
        let tree = format!("100644 blob {attributes}\t.gitattributes\n040000 tree {files}\tfiles\n");
        let tree = git(&path, &["mktree"], &tree);
        let commit: CommitId = git(&path, &["commit-tree", "-m", "x", &tree], "").parse().unwrap();
        mirror.check_size(&commit).await.unwrap();
        let checkout = Checkout {
            commit: &commit,
            git_ref: None,
            origin: &origin,
            depth: 1,
            submodules: false,
            lfs: false,
            only: &[],
            by_stranger: true,
            trusted_submodules: &[],
            fork: None,
        };
        match checkouts.tar(&mirror, &checkout).await {
            Ok(_) => assert!(fits),
            Err(error) => assert!(!fits && matches!(error, GitError::TooLarge { .. }), "{error}"),
        }
    }
}
