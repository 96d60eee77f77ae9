//! Each forge's own way of announcing events becomes the builds that it means.

use std::time::Duration;

use longshore_core::{Status, event::Merge};
use longshore_git::Git;
use longshore_store::{
    builds::{self, Build},
    deliveries::{Delivery, DeliveryStatus},
};
use serde_json::{Value, json};

use crate::{NONE, PIPELINE, World, push, support::executable};

const MAIN: &str = "refs/heads/main";

impl World {
    /// Returns the builds of a delivery, in order.
    async fn all_builds(&self, delivery: &Delivery) -> Vec<Build> {
        let mut found = Vec::new();
        for build in &delivery.builds {
            found.push(builds::get(&self.store, *build).await.unwrap().unwrap());
        }
        found
    }

    /// Commits on a branch of its own, and goes back to `main`.
    fn commit_on(&self, branch: &str, file: &str, text: &str) -> String {
        self.repository.git(&["checkout", "-q", "-B", branch]);
        let commit = self.repository.write(file, text).commit(branch);
        self.repository.git(&["checkout", "-q", "main"]);
        commit
    }
}

fn bitbucket_side(kind: &str, name: &str, commit: &str) -> Value {
    json!({ "type": kind, "name": name, "target": { "hash": commit } })
}

#[tokio::test]
async fn one_delivery_that_tells_of_several_refs_becomes_several_builds() {
    let world = World::new("bitbucket", PIPELINE).await;
    let first = world.repository.git(&["rev-parse", "HEAD"]);
    let commit = world.repository.commit("second");
    world.repository.git(&["branch", "x"]);
    world.repository.git(&["tag", "v1"]);
    let told = json!({ "actor": { "nickname": "eve" }, "push": { "changes": [
        { "old": bitbucket_side("branch", "main", &first), "new": bitbucket_side("branch", "main", &commit) },
        { "old": null, "new": bitbucket_side("branch", "x", &commit) },
        { "old": null, "new": bitbucket_side("tag", "v1", &commit) },
        { "old": bitbucket_side("branch", "gone", &first), "new": null },
    ] } });
    let delivery = world.process("repo:push", "id:1", &told).await;
    assert_eq!(delivery.status, DeliveryStatus::Done, "{delivery:?}");
    assert!(delivery.reason.as_ref().unwrap().contains("`gone`: "), "{delivery:?}");
    let refs: Vec<_> = world.all_builds(&delivery).await.into_iter().map(|build| build.event.git_ref).collect();
    assert_eq!(refs, [MAIN, "refs/heads/x", "refs/tags/v1"]);
    // Another webhook announces one of them, and a new one.
    world.repository.git(&["branch", "y"]);
    let told = json!({ "actor": { "nickname": "eve" }, "push": { "changes": [
        { "old": null, "new": bitbucket_side("branch", "x", &commit) },
        { "old": null, "new": bitbucket_side("branch", "y", &commit) },
    ] } });
    let delivery = world.process("repo:push", "id:2", &told).await;
    assert_eq!(world.all_builds(&delivery).await.len(), 1);
    assert!(delivery.reason.as_ref().unwrap().contains("`x`: duplicate"), "{delivery:?}");
}

#[tokio::test]
async fn a_short_commit_is_found_on_its_branch_and_a_changed_title_is_no_new_commit() {
    let world = World::new("bitbucket", PIPELINE).await;
    let head = world.commit_on("topic", "a", "1");
    let told = |head: &str, title: &str, fork: bool| {
        let side = |name: &str, commit: &str, uuid: &str| json!({ "branch": { "name": name }, "commit": { "hash": &commit[..12] }, "repository": { "uuid": uuid } });
        json!({ "actor": { "nickname": "eve" }, "pullrequest": { "id": 7, "title": title, "author": { "uuid": "{1}" },
            "source": side("topic", head, if fork { "{fork}" } else { "{ours}" }),
            "destination": side("main", head, "{ours}"), "updated_on": title } })
    };
    let opened = world.process("pullrequest:created", "id:1", &told(&head, "one", false)).await;
    let build = world.build(&opened).await;
    assert_eq!((build.event.commit, build.event.pull_request.unwrap().action.as_str()), (head.clone(), "opened"));
    let edited = world.process("pullrequest:updated", "id:2", &told(&head, "two", false)).await;
    assert!(edited.reason.as_ref().unwrap().contains("`edited`"), "{edited:?}");
    let next = world.commit_on("topic", "a", "2");
    let updated = world.process("pullrequest:updated", "id:3", &told(&next, "two", false)).await;
    let build = world.build(&updated).await;
    assert_eq!((build.event.commit, build.event.pull_request.unwrap().action.as_str()), (next, "synchronize"));
    let fork = world.process("pullrequest:updated", "id:4", &told(&"9".repeat(40), "three", true)).await;
    assert_eq!(fork.status, DeliveryStatus::Ignored, "{fork:?}");
    assert!(fork.reason.as_ref().unwrap().contains("does not serve the commits of forks"), "{fork:?}");
}

#[tokio::test]
async fn a_merge_request_is_fetched_where_gitlab_serves_it_and_one_of_gogs_by_its_newest_commit() {
    let world = World::new("gitlab", PIPELINE).await;
    let head = world.commit_on("topic", "a", "1");
    world.repository.git(&["branch", "-D", "topic"]);
    world.repository.git(&["update-ref", "refs/merge-requests/7/head", &head]);
    let request = json!({ "object_attributes": { "iid": 7, "action": "open", "source_branch": "topic", "target_branch": "main",
        "source_project_id": 2, "target_project_id": 1, "last_commit": { "id": head } } });
    let opened = world.process("Merge Request Hook", "id:1", &request).await;
    let build = world.build(&opened).await;
    assert_eq!((build.event.git_ref.as_str(), &build.event.commit), ("refs/merge-requests/7/head", &head));
    assert!(build.event.pull_request.unwrap().fork);

    let world = World::new("gogs", PIPELINE).await;
    let head = world.commit_on("topic", "a", "1");
    world.repository.git(&["update-ref", "refs/pull/7/head", &head]);
    let request = json!({ "action": "opened", "number": 7, "sender": { "login": "eve" }, "pull_request": { "title": "t",
        "head_branch": "topic", "head_repo": { "id": 1 }, "base_branch": "main", "base_repo": { "id": 1 } } });
    assert_eq!(world.build(&world.process("pull_request", "id:1", &request).await).await.event.commit, head);
}

#[tokio::test]
async fn a_label_that_is_taken_away_starts_what_waits_for_that() {
    let pipeline = "on: { pull-request: { types: [unlabeled] } }\njobs: { one: { image: a, steps: [{ run: b }] } }\n";
    let world = World::new("forgejo", pipeline).await;
    let head = world.repository.git(&["rev-parse", "HEAD"]);
    world.repository.git(&["update-ref", "refs/pull/7/head", &head]);
    let mut time = 0;
    let mut now = async |action: &str, labels: &[&str]| {
        time += 1;
        let mut told = crate::pull_request(action, &head, time);
        told["pull_request"]["labels"] = labels.iter().map(|name| json!({ "name": name })).collect();
        world.process("pull_request", &format!("id:{time}"), &told).await.builds.len()
    };
    assert_eq!(now("opened", &["a"]).await, 0);
    assert_eq!(now("label_updated", &["a", "b"]).await, 0);
    assert_eq!(now("label_updated", &["a"]).await, 1);
    assert_eq!(now("label_cleared", &[]).await, 1);
    assert_eq!(now("label_updated", &["b"]).await, 0);
    assert_eq!(now("label_updated", &[]).await, 1, "once more, at the same commit");
}

#[tokio::test]
async fn what_merging_would_give_is_built_and_what_cannot_be_merged_says_so() {
    let pipeline = "on: { pull-request: { build: merge } }\njobs: { one: { image: a, steps: [{ run: b }] } }\n";
    let world = World::new("github", pipeline).await;
    let head = world.commit_on("topic", "a", "of the topic");
    let target = world.repository.write("b", "of main").commit("main goes on");
    world.repository.git(&["update-ref", "refs/pull/7/head", &head]);
    let mut told = crate::pull_request("opened", &head, 1);
    told["pull_request"]["head"]["repo"]["id"] = 1.into();
    let build = world.build(&world.process("pull_request", "id:1", &told).await).await;
    assert_eq!(build.event.pull_request.as_ref().unwrap().merge, Some(Merge { head: head.clone(), target }));
    assert_eq!(build.event.commit_at_forge(), head);
    assert_ne!(build.event.commit, head);
    // The same change is told once more.
    told["pull_request"]["updated_at"] = 2.into();
    assert_eq!(world.process("pull_request", "id:2", &told).await.status, DeliveryStatus::Ignored);

    world.repository.write("a", "of main, too").commit("a conflict");
    let head = world.commit_on("topic2", "a", "of the topic, too");
    world.repository.git(&["update-ref", "refs/heads/topic2", &head]);
    let clash = world.repository.git(&["rev-parse", "topic"]);
    let mut told = crate::pull_request("synchronize", &clash, 3);
    told["pull_request"]["head"]["repo"]["id"] = 1.into();
    // The first commit of the topic does not fit any more.
    let build = world.build(&world.process("pull_request", "id:3", &told).await).await;
    assert_eq!((build.status, &build.event.commit), (Status::Error, &clash));
    let message = &build.diagnostics[0].message;
    assert!(message.contains("cannot be merged: conflicts in `a`"), "{message}");
}

#[tokio::test]
async fn a_pull_request_that_git_does_not_merge_in_time_fails_once_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("git");
    executable::write(&program, b"#!/bin/sh\ncase $1 in merge-tree) exec sleep 600;; esac\nexec git \"$@\"\n");
    let git = Git::default().with_program(program).with_merge_timeout(Duration::from_secs(1));
    let pipeline = "on: { pull-request: { build: merge } }\njobs: { one: { image: a, steps: [{ run: b }] } }\n";
    let world = World::with_git("github", pipeline, git).await;
    let head = world.commit_on("topic", "a", "of the topic");
    world.repository.git(&["update-ref", "refs/pull/7/head", &head]);
    // `told` sees to it that nothing is tried again.
    let build =
        world.build(&world.process("pull_request", "id:1", &crate::pull_request("opened", &head, 1)).await).await;
    assert_eq!((build.status, &build.event.commit), (Status::Error, &head));
    let message = &build.diagnostics[0].message;
    assert!(message.contains("cannot be merged: git did not finish within 1 s"), "{message}");
}

#[tokio::test]
async fn a_release_is_built_at_its_tag_and_a_push_with_the_option_is_not() {
    let world = World::new("forgejo", "on: [push, release]\njobs: { one: { image: a, steps: [{ run: b }] } }\n").await;
    let commit = world.repository.git(&["rev-parse", "HEAD"]);
    world.repository.git(&["tag", "-a", "-m", "m", "v1"]);
    let release = |time: &str| {
        json!({ "action": "published", "sender": { "login": "eve" },
            "release": { "tag_name": "v1", "name": "One", "published_at": time } })
    };
    let build = world.build(&world.process("release", "id:1", &release("1")).await).await;
    assert_eq!((build.event.name.as_str(), build.event.git_ref.as_str()), ("release", "refs/tags/v1"));
    assert_eq!((build.event.commit, build.event.release.unwrap().name.as_str()), (commit.clone(), "One"));
    assert_eq!(world.process("release", "id:2", &release("1")).await.status, DeliveryStatus::Ignored);

    let world = World::new("git", PIPELINE).await;
    let commit = world.repository.git(&["rev-parse", "HEAD"]);
    let mut told = push(MAIN, NONE, &commit, 1);
    told["push_options"] = json!(["LONGSHORE_SKIP"]);
    let skipped = world.process("push", "id:1", &told).await;
    assert_eq!(skipped.status, DeliveryStatus::Ignored);
    assert!(skipped.reason.unwrap().contains("push option `LONGSHORE_SKIP`"));
}
