//! The files that a push or a pull request changes, compared with where it started.

use longshore_forge::{CommitId, Revision};
use longshore_git::{Changed, FetchTarget, GitError};

use crate::mirror::{branch, on, world};

fn files(names: &[&str]) -> Changed {
    Changed::Files(names.iter().map(|name| (*name).to_owned()).collect())
}

#[tokio::test]
async fn the_changed_files_of_a_push_are_those_between_its_commits() {
    let world = world().await;
    let first = world.head();
    world.repository.write("src/a file", "1").write("docs/é.md", "1").commit("second");
    let second = world.head();
    world.repository.git(&["mv", "src/a file", "src/b"]);
    world.repository.commit("third");
    let third = world.head();
    world.fetch(&on("main")).await.unwrap();
    let changed = async |before: Option<&CommitId>, default: Option<&CommitId>| {
        world.mirror.changed_by_push(&third, before, default).await.unwrap()
    };
    assert_eq!(changed(Some(&first), None).await, files(&["docs/é.md", "src/b"]));
    assert_eq!(changed(Some(&second), None).await, files(&["src/a file", "src/b"]));
    // A push that adds to a branch changes the pushed files, wherever the default branch is.
    assert_eq!(changed(Some(&second), Some(&first)).await, files(&["src/a file", "src/b"]));
    // On the default branch, nobody knows what was there before.
    let gone: CommitId = "1".repeat(40).parse().unwrap();
    for before in [None, Some(&gone)] {
        assert!(matches!(changed(before, None).await, Changed::Unknown(why) if why.contains("before the push")));
    }
}

#[tokio::test]
async fn a_new_branch_and_one_that_was_pushed_by_force_change_what_they_do_since_they_left_the_default_branch() {
    let world = world().await;
    let repository = &world.repository;
    repository.git(&["checkout", "-q", "-b", "topic"]);
    repository.write("src/one", "1").commit("one");
    repository.write("docs/two", "1").commit("two");
    repository.write("README.md", "1").commit("three");
    let topic = world.head();
    repository.write("README.md", "2").git(&["commit", "-q", "-a", "--amend", "-m", "three again"]);
    let forced = world.head();
    repository.git(&["checkout", "-q", "main"]);
    repository.write("meanwhile", "1").commit("meanwhile");
    let main = world.head();
    repository.git(&["branch", "before", topic.as_str()]);
    world.fetch(&on("topic")).await.unwrap();

    let since_it_left = files(&["README.md", "docs/two", "src/one"]);
    let changed = async |commit: &CommitId, before: Option<&CommitId>, default: &CommitId| {
        world.mirror.changed_by_push(commit, before, Some(default)).await.unwrap()
    };
    let gone: CommitId = "1".repeat(40).parse().unwrap();
    assert_eq!(changed(&topic, None, &main).await, since_it_left);
    assert_eq!(changed(&forced, Some(&gone), &main).await, since_it_left);
    assert_eq!(changed(&forced, Some(&topic), &main).await, since_it_left);
    // Files that a forced push removes are changed files too.
    repository.git(&["checkout", "-q", "-B", "topic", "main"]);
    repository.write("README.md", "3").commit("only this");
    let reset = world.fetch(&on("topic")).await.unwrap();
    let all = files(&["README.md", "docs/two", "meanwhile", "src/one"]);
    assert_eq!(changed(&reset, Some(&topic), &main).await, all);

    // A new branch whose newest commit is a merge: the changes of both sides.
    repository.git(&["checkout", "-q", "-b", "merged", forced.as_str()]);
    repository.write("src/three", "1").commit("four");
    repository.git(&["checkout", "-q", "-b", "side", topic.as_str()]);
    repository.write("lib/side", "1").git(&["rm", "-q", "README.md"]);
    repository.commit("side");
    repository.git(&["merge", "-q", "-s", "ours", "-m", "merge", "merged"]);
    let merged = world.fetch(&on("side")).await.unwrap();
    assert_eq!(changed(&merged, None, &main).await, files(&["docs/two", "lib/side", "src/one"]));

    // Without a common commit nobody can tell.
    repository.git(&["checkout", "-q", "--orphan", "alone"]);
    repository.commit("alone");
    let alone = world.fetch(&on("alone")).await.unwrap();
    assert!(matches!(changed(&alone, None, &main).await, Changed::Unknown(why) if why.contains("in common")));
}

#[tokio::test]
async fn a_pull_request_is_fetched_from_its_own_ref_and_compared_with_what_it_has_in_common_with_its_target() {
    let world = world().await;
    let repository = &world.repository;
    repository.git(&["checkout", "-q", "-b", "topic"]);
    repository.write("src/new", "1").commit("asked for");
    let head = world.head();
    // As on forges: the commit is on no branch.
    repository.git(&["update-ref", "refs/pull/7/head", head.as_str()]);
    repository.git(&["checkout", "-q", "main"]);
    repository.git(&["branch", "-D", "topic"]);
    repository.write("docs/meanwhile", "1").commit("meanwhile");
    let wanted = FetchTarget::PullRequest {
        served_at: Some(format!("refs/pull/{}/head", 7)),
        head: head.clone(),
        held_by: Vec::new(),
    };
    assert_eq!(world.fetch(&wanted).await.unwrap(), head);
    let target = world.mirror.resolve(&Revision::Ref(branch("main"))).await.unwrap();
    assert_eq!(target, world.head(), "the target comes with it");
    let changed = world.mirror.changed_since_merge_base(&head, &target).await.unwrap();
    assert_eq!(changed, files(&["src/new"]));
    // Pushed over meanwhile: the delivered commit is built all the same.
    repository.git(&["update-ref", "refs/pull/7/head", target.as_str()]);
    assert_eq!(world.fetch(&wanted).await.unwrap(), head);
    let gone = FetchTarget::PullRequest {
        served_at: Some(format!("refs/pull/{}/head", 7)),
        head: "1".repeat(40).parse().unwrap(),
        held_by: Vec::new(),
    };
    assert!(matches!(world.fetch(&gone).await, Err(GitError::UnknownRevision { .. })));
}

#[tokio::test]
async fn a_pull_request_whose_ref_is_gone_says_so_and_brings_nothing() {
    let world = world().await;
    let wanted = FetchTarget::PullRequest {
        served_at: Some(format!("refs/pull/{}/head", 9)),
        head: world.head(),
        held_by: Vec::new(),
    };
    let error = world.fetch(&wanted).await.unwrap_err();
    assert!(error.to_string().contains("refs/pull/9/head"), "{error}");
}
