//! Working trees, as `longshore run` takes them: packed as they are now, with the history of a checkout.

use std::os::unix::fs::symlink;

use longshore_git::{Git, Worktree};

use crate::checkout::{tree, unpack};
use crate::support::{Repository, git};

#[tokio::test]
async fn a_working_tree_is_taken_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), "work");
    repository.write("kept", "1").write("changed", "1").write("gone", "1").write(".gitignore", "ignored\n");
    let head = repository.commit("first");
    repository.git(&["remote", "add", "origin", "https://me:s3cr3t@forge.example/me/app.git"]);
    repository.write("changed", "2").write("new file", "3").write("ignored", "4").write("sub/new", "5");
    std::fs::remove_file(repository.0.join("gone")).unwrap();
    symlink("/etc/passwd", repository.0.join("link")).unwrap();
    let nested = Repository::new(&repository.0, "nested");
    nested.write("inner", "6").write(".gitignore", "secret\n").write("secret", "7");
    let worktree = Worktree::open(&Git::default(), &repository.0).await.unwrap();
    let facts = worktree.facts();
    assert_eq!((facts.git_ref.as_str(), facts.commit.as_str()), ("refs/heads/main", head.as_str()));
    assert_eq!((facts.facts.message.as_str(), facts.facts.author.as_str()), ("first", "Eve"));
    assert_eq!(facts.origin.as_deref(), Some("https://forge.example/me/app.git"));
    let (tars, notes) = worktree.tars(&[1].into(), None).await.unwrap();
    let tar = &tars[&1];
    assert!(notes.len() == 1 && notes[0].contains("`nested`"), "{notes:?}");
    let ours = folder.path().join("ours");
    unpack(tar, &ours).await;
    let names: Vec<String> = tree(&ours).keys().map(|path| path.display().to_string()).collect();
    let expected = [
        ".gitignore",
        "changed",
        "kept",
        "link",
        "nested",
        "nested/.gitignore",
        "nested/inner",
        "new file",
        "sub",
        "sub/new",
    ];
    assert_eq!(names, expected);
    assert!(ours.join("link").is_symlink());
    let status = git(&ours, &["status", "--porcelain"]);
    assert_eq!(status, " M changed\n D gone\n?? link\n?? nested/\n?? \"new file\"\n?? sub/");
    assert_eq!(git(&ours, &["rev-parse", "HEAD"]), head);
}

#[tokio::test]
async fn a_working_tree_has_the_history_of_a_servers_checkout_at_each_depth() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Repository::new(folder.path(), "upstream");
    upstream.write("file", "1").commit("first");
    upstream.git(&["tag", "v1"]);
    upstream.write("file", "2").commit("second");
    upstream.git(&["branch", "other"]);
    git(folder.path(), &["clone", "-q", "upstream", "work"]);
    let work = Repository(folder.path().join("work"));
    work.git(&["branch", "never-pushed"]);
    let head = work.write("file", "3").commit("third");
    let take = async |name: &str, depth: u32| {
        let worktree = Worktree::open(&Git::default(), &folder.path().join(name)).await.unwrap();
        let (tars, notes) = worktree.tars(&[1, depth].into(), None).await.unwrap();
        let ours = folder.path().join(format!("ours-{name}-{depth}"));
        unpack(&tars[&depth], &ours).await;
        assert_eq!(git(&ours, &["fsck", "--no-dangling"]), "", "{name}, {depth}");
        assert_eq!(git(&ours, &["status", "--porcelain"]), "", "{name}, {depth}");
        (ours, notes)
    };
    let (whole, notes) = take("work", 0).await;
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(git(&whole, &["rev-list", "--count", "HEAD"]), "3");
    assert_eq!(git(&whole, &["describe", "--tags"]), format!("v1-2-g{}", &head[..7]));
    assert_eq!(git(&whole, &["rev-parse", "origin/main"]), head, "as after a push");
    let branches = git(&whole, &["for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes"]);
    assert_eq!(branches, "refs/heads/main\nrefs/remotes/origin/main\nrefs/remotes/origin/other");

    let (two, _) = take("work", 2).await;
    assert_eq!(git(&two, &["rev-list", "--count", "HEAD"]), "2");
    assert_eq!(git(&two, &["tag"]), "");

    // A clone that has not all of the history itself.
    let url = format!("file://{}", folder.path().join("upstream").display());
    git(folder.path(), &["clone", "-q", "--depth", "1", &url, "thin"]);
    for depth in [0, 5] {
        let (thin, notes) = take("thin", depth).await;
        assert!(notes.len() == 1 && notes[0].contains("shallow clone"), "{notes:?}");
        assert_eq!(git(&thin, &["rev-list", "--count", "HEAD"]), "1");
        assert_eq!(git(&thin, &["rev-parse", "--is-shallow-repository"]), "true");
    }
}

#[tokio::test]
async fn the_newest_tag_of_the_commit_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), "work");
    repository.write("file", "1").commit("first");
    repository.git(&["tag", "old"]);
    let tag = async || Worktree::open(&Git::default(), &repository.0).await.unwrap().tag().await.unwrap();
    assert_eq!(tag().await.as_deref(), Some("old"));
    repository.write("file", "2").commit("second");
    assert_eq!(tag().await, None);
    repository.git(&["tag", "v1.9"]);
    repository.git(&["tag", "v1.10"]);
    assert_eq!(tag().await.as_deref(), Some("v1.10"));
}

#[tokio::test]
async fn a_linked_worktree_a_subfolder_and_a_folder_without_git_are_taken_too() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), "work");
    repository.write("sub/file", "1").write(".gitignore", "out\n").write("sub/out", "2").commit("first");
    std::fs::remove_file(repository.0.join("sub/out")).unwrap();
    repository.git(&["rm", "-q", "--cached", "sub/out"]);
    let head = repository.commit("without");
    repository.write("sub/out", "2");
    repository.git(&["worktree", "add", "-q", "-b", "side", "../linked"]);
    let take = async |name: &str| {
        let worktree = Worktree::open(&Git::default(), &folder.path().join(name)).await.unwrap();
        let (tars, notes) = worktree.tars(&[1].into(), None).await.unwrap();
        let tar = &tars[&1];
        let ours = folder.path().join(format!("ours-{}", name.replace('/', "-")));
        unpack(tar, &ours).await;
        (worktree.facts(), notes, ours)
    };
    let (facts, _, ours) = take("linked").await;
    assert_eq!((facts.git_ref.as_str(), facts.commit.as_str()), ("refs/heads/side", head.as_str()));
    assert_eq!(git(&ours, &["status", "--porcelain"]), "");
    assert_eq!(git(&ours, &["branch", "--show-current"]), "side");

    let (_, notes, ours) = take("work/sub").await;
    assert!(notes[0].contains("a part of the repository"), "{notes:?}");
    assert_eq!(tree(&ours).keys().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(), ["file"]);

    crate::support::write(&folder.path().join("plain/.gitignore"), "out\n");
    crate::support::write(&folder.path().join("plain/out"), "1");
    crate::support::write(&folder.path().join("plain/.env"), "2");
    let (facts, _, ours) = take("plain").await;
    assert_eq!((facts.git_ref.as_str(), facts.commit), ("refs/heads/main", "0".repeat(40)));
    assert_eq!(tree(&ours).len(), 2);

    std::fs::create_dir(folder.path().join("unborn")).unwrap();
    git(&folder.path().join("unborn"), &["init", "-q", "-b", "main"]);
    crate::support::write(&folder.path().join("unborn/new"), "1");
    let (facts, _, ours) = take("unborn").await;
    assert_eq!(facts.commit, "0".repeat(40));
    assert_eq!(git(&ours, &["status", "--porcelain"]), "?? new");
}
