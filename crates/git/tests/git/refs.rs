//! Names of branches, tags and commits: each stands for exactly what the git host has under it.

use longshore_forge::{CommitId, RefName};
use longshore_git::{FetchTarget, GitError};

use crate::mirror::{branch, on, world};

#[tokio::test]
async fn a_push_is_of_a_commit_that_its_branch_or_tag_has_or_had_and_of_no_other_that_the_host_serves() {
    let world = world().await;
    let first = world.head();
    let push =
        |name: &str, after: &CommitId| FetchTarget::Push { git_ref: name.parse().unwrap(), after: after.clone() };
    let main = "refs/heads/main";
    // As on forges: a fork's commit, which anybody may name.
    world.repository.git(&["checkout", "-q", "--detach"]);
    let of_fork: CommitId = world.repository.write("evil", "1").commit("of a fork").parse().unwrap();
    world.repository.git(&["update-ref", "refs/pull/7/head", of_fork.as_str()]);
    world.repository.git(&["checkout", "-q", "main"]);
    assert!(matches!(world.fetch(&push(main, &of_fork)).await, Err(GitError::UnknownRevision { .. })));
    let request = FetchTarget::PullRequest {
        served_at: Some("refs/pull/7/head".to_owned()),
        head: of_fork.clone(),
        held_by: Vec::new(),
    };
    assert_eq!(world.fetch(&request).await.unwrap(), of_fork);
    for name in [main, "refs/heads/nowhere", "refs/tags/v1"] {
        let error = world.fetch(&push(name, &of_fork)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{of_fork} is not on {name}")), "{error}");
    }
    // A pull request of the repository's own, too.
    let own = FetchTarget::PullRequest {
        served_at: Some("refs/pull/7/head".to_owned()),
        head: of_fork.clone(),
        held_by: vec![branch("topic"), branch("main")],
    };
    let error = world.fetch(&own).await.unwrap_err();
    assert!(error.to_string().contains("is not on refs/heads/topic or refs/heads/main"), "{error}");
    // Two pushes in a row, and one by force that nobody has fetched before the next.
    let second: CommitId = world.repository.commit("second").parse().unwrap();
    let third: CommitId = world.repository.commit("third").parse().unwrap();
    let fourth: CommitId = world.repository.commit("fourth").parse().unwrap();
    for commit in [&second, &third, &fourth, &first] {
        assert_eq!(world.fetch(&push(main, commit)).await.unwrap(), *commit);
    }
    world.repository.git(&["reset", "-q", "--hard", first.as_str()]);
    world.repository.commit("pushed over");
    assert_eq!(world.fetch(&push(main, &third)).await.unwrap(), third, "the branch had it");
    assert!(matches!(world.fetch(&push(main, &third)).await, Err(GitError::NotOnRef { .. })));
    assert_eq!(world.fetch(&push(main, &world.head())).await.unwrap(), world.head());
    // A tag is at one commit.
    world.repository.git(&["tag", "-f", "v1", second.as_str()]);
    assert!(matches!(world.fetch(&push("refs/tags/v1", &first)).await, Err(GitError::NotOnRef { .. })));
    assert_eq!(world.fetch(&push("refs/tags/v1", &second)).await.unwrap(), second);
    // Some forges name an annotated tag's commit, and not its own object.
    world.repository.git(&["tag", "-a", "-m", "two", "v2", second.as_str()]);
    assert!(matches!(world.fetch(&push("refs/tags/v2", &first)).await, Err(GitError::NotOnRef { .. })));
    assert_eq!(world.fetch(&push("refs/tags/v2", &second)).await.unwrap(), second);
}

#[tokio::test]
async fn branches_named_like_options_are_branches() {
    let world = world().await;
    for name in ["--upload-pack=x", "-x", "$(id)", "ünï🚢", "a'b\"c", "@"] {
        world.repository.git(&["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
        assert_eq!(world.fetch(&on(name)).await.unwrap(), world.head(), "{name}");
    }
}

#[tokio::test]
async fn a_branch_may_become_a_folder_of_branches() {
    let world = world().await;
    world.repository.git(&["branch", "a"]);
    world.fetch(&on("a")).await.unwrap();
    world.repository.git(&["branch", "-D", "a"]);
    world.repository.git(&["branch", "a/b"]);
    assert_eq!(world.fetch(&on("a/b")).await.unwrap(), world.head());
}

#[tokio::test]
async fn a_branch_that_is_called_as_a_tag_is_or_as_a_full_name_is_not_taken_for_it() {
    let world = world().await;
    let head = world.head();
    for name in ["refs/tags/v9", "refs/heads/x", "tags/v9", "refs/pull/7/head"] {
        world.repository.git(&["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
    }
    let wanted = |name: &str| FetchTarget::Ref(name.parse().unwrap());
    for name in ["refs/tags/v9", "refs/heads/x"] {
        let error = world.fetch(&wanted(name)).await.unwrap_err();
        assert!(matches!(error, GitError::UnknownRevision { .. }), "{name}: {error:?}");
        assert_eq!(world.mirror.remote_ref(&world.url, name).await.unwrap(), None);
        let inside = format!("refs/heads/{name}");
        assert_eq!(world.fetch(&wanted(&inside)).await.unwrap(), head);
        assert_eq!(world.mirror.remote_ref(&world.url, &inside).await.unwrap(), Some(head.clone()));
    }
    let push = FetchTarget::Push { git_ref: "refs/tags/v9".parse().unwrap(), after: head.clone() };
    assert!(matches!(world.fetch(&push).await, Err(GitError::NotOnRef { .. })), "the commit is on `main`");
    let request = FetchTarget::PullRequest {
        served_at: Some(format!("refs/pull/{}/head", 7)),
        head: head.clone(),
        held_by: Vec::new(),
    };
    assert!(matches!(world.fetch(&request).await, Err(GitError::UnknownRevision { .. })));
    // Once the tag exists, the name means the tag.
    let tagged: CommitId = world.repository.commit("second").parse().unwrap();
    world.repository.git(&["tag", "v9"]);
    assert_eq!(world.fetch(&wanted("refs/tags/v9")).await.unwrap(), tagged);
}

#[tokio::test]
async fn a_branch_that_is_called_as_a_commit_is_does_not_stand_for_it() {
    let world = world().await;
    let first = world.head();
    let second: CommitId = world.repository.commit("second").parse().unwrap();
    world.repository.git(&["update-ref", &format!("refs/heads/{first}"), second.as_str()]);
    assert_eq!(world.fetch(&FetchTarget::Commit(first.clone())).await.unwrap(), first);
    assert!(world.mirror.is_on(&first, &second).await.unwrap());
    assert!(!world.mirror.is_on(&second, &first).await.unwrap());
}

#[tokio::test]
async fn a_tag_on_a_tree_is_said_to_be_no_commit() {
    let world = world().await;
    world.repository.git(&["tag", "-a", "-m", "tree", "tree", "HEAD^{tree}"]);
    world.repository.git(&["tag", "blob", "HEAD:.longshore.yml"]);
    for (name, kind) in [("refs/tags/tree", "a tree"), ("refs/tags/blob", "a blob")] {
        let git_ref: RefName = name.parse().unwrap();
        let after = world.repository.git(&["rev-parse", name]).parse().unwrap();
        let error = world.fetch(&FetchTarget::Ref(git_ref.clone())).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{name} names {kind}, not a commit")), "{error}");
        let error = world.fetch(&FetchTarget::Push { git_ref, after }).await.unwrap_err();
        assert!(error.to_string().contains(&format!("names {kind}, not a commit")), "{error}");
    }
}
