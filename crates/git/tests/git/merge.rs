//! Merges that are small to push and take git long.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use longshore_forge::CommitId;
use longshore_git::{Git, Merged, Mirror};

use crate::support::executable;

const BRANCHES: [&str; 3] = ["base", "target", "head"];

/// Fills a mirror: `head` moves and changes `files` files of `base`, and `target` changes them too, elsewhere.
fn fill(mirror: &Path, files: usize) -> [CommitId; 2] {
    use std::io::Write as _;
    let mut stream = String::new();
    for (mark, branch) in (1..).zip(BRANCHES) {
        let from = if branch == "base" { "" } else { "from :1\ndeleteall\n" };
        write!(stream, "commit refs/heads/{branch}\nmark :{mark}\ncommitter a <a@b> 1 +0000\ndata 1\nx\n{from}")
            .unwrap();
        for file in 0..files {
            let line = |line: usize| match (branch, line) {
                ("target", 0) | ("head", 19) => "changed\n".to_owned(),
                _ => format!("{file} {line} {}\n", file.wrapping_mul(7919).wrapping_add(line * 104_729)),
            };
            let content: String = (0..20).map(line).collect();
            let path = if branch == "head" { format!("new/{}", files - file) } else { format!("old/file{file}") };
            write!(stream, "M 100644 inline {path}\ndata {}\n{content}\n", content.len()).unwrap();
        }
        stream.push('\n');
    }
    let mut import = Command::new("git")
        .env("GIT_DIR", mirror)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    ["target", "head"].map(|branch| {
        let output = Command::new("git").env("GIT_DIR", mirror).args(["rev-parse", branch]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    })
}

async fn merge(git: Git, files: usize) -> Merged {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.git");
    let mirror = Mirror::open_or_create(git, &path).await.unwrap();
    let [target, head] = fill(&path, files);
    mirror.merge(&target, &head, 7).await.unwrap()
}

#[tokio::test]
async fn renames_are_found_in_a_merge_up_to_a_number_that_takes_no_time() {
    let few = merge(Git::default(), 100).await;
    assert!(matches!(few, Merged::Commit(_)), "{few:?}");
    // Nine million pairs of files would take minutes to compare.
    let many = merge(Git::default(), 3000).await;
    assert!(matches!(many, Merged::Conflict(_)), "{many:?}");
}

#[tokio::test]
async fn a_merge_that_takes_too_long_is_given_up_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("git");
    executable::write(&program, b"#!/bin/sh\ncase $1 in merge-tree) exec sleep 600;; esac\nexec git \"$@\"\n");
    let limit = Duration::from_secs(1);
    let merged = merge(Git::default().with_program(program).with_merge_timeout(limit), 1).await;
    assert_eq!(merged, Merged::TooLong(limit));
    assert!(merged.refusal().unwrap().starts_with("git did not finish within 1 s"));
}
