//! Closed pull requests whose commit is gone: a branch is deleted with its pull request, a fork with its owner's
//! account.

use longshore_core::stranger;
use longshore_store::{deliveries::DeliveryStatus, people};
use serde_json::{Value, json};

use crate::{NONE, PIPELINE, World, pull_request, push};

const ON_CLOSED: &str = "on: { pull-request: { types: [opened, closed, reopened], paths: ['src/**'] } }\n\
                         jobs: { one: { image: a, steps: [{ run: b }] } }\n";

/// Something that happened to pull request 7, from the branch `topic` into `main`.
fn own(action: &str, head: &str, time: u32) -> Value {
    let mut told = pull_request(action, head, time);
    told["pull_request"]["head"]["repo"]["id"] = 1.into();
    told
}

impl World {
    /// Commits to `topic`, which is then deleted, and returns the commit, which is `refs/pull/7/head` all the same.
    fn deleted_topic(&self) -> String {
        let head = self.topic();
        self.repository.git(&["branch", "-q", "-D", "topic"]);
        head
    }

    fn topic(&self) -> String {
        self.repository.git(&["checkout", "-q", "-b", "topic"]);
        let head = self.repository.write("src/new", "1").commit("of the topic");
        self.repository.git(&["checkout", "-q", "main"]);
        self.repository.git(&["update-ref", "refs/pull/7/head", &head]);
        head
    }

    fn main(&self) -> String {
        self.repository.git(&["rev-parse", "main"])
    }
}

#[tokio::test]
async fn a_merge_makes_nobody_known() {
    let world = World::new("github", PIPELINE).await;
    let head = world.topic();
    let told = |action: &str, time: u32| {
        let mut body = pull_request(action, &head, time);
        body["pull_request"]["user"] = json!({ "id": 9, "login": "eve" });
        body["pull_request"]["merged"] = (action == "closed").into();
        body
    };
    // The commit is a member's: with their pull request, the forge calls this one merged, too.
    let opened = world.build(&world.process("pull_request", "id:1", &told("opened", 1)).await).await;
    world.process("pull_request", "id:2", &told("closed", 2)).await;
    assert!(stranger::author(&opened.event).is_some());
    assert!(!people::is_known(&world.store, world.repo.id, &opened.event).await.unwrap());
}

#[tokio::test]
async fn a_closed_pull_request_whose_branch_is_gone_builds_its_target_and_says_so() {
    for forge in ["github", "gitea"] {
        let world = World::new(forge, ON_CLOSED).await;
        let head = world.deleted_topic();
        // The mirror has the commit, but not on a branch: it might be a fork's.
        world.build(&world.process("pull_request", "id:1", &pull_request("opened", &head, 1)).await).await;
        let closed = world.process("pull_request", "id:2", &own("closed", &head, 2)).await;
        let reason = closed.reason.as_ref().unwrap();
        assert_eq!(closed.status, DeliveryStatus::Done, "{closed:?}");
        assert!(reason.contains("built the newest commit of `main`, because"), "{reason}");
        let build = world.build(&closed).await;
        assert_eq!((&build.event.commit, build.event.commit_at_forge()), (&world.main(), head.as_str()), "{forge}");
        let request = build.event.pull_request.as_ref().unwrap();
        assert_eq!((request.action.as_str(), request.fork, request.source_branch.as_str()), ("closed", false, "topic"));
        // What it changed nobody can say: the filters let it pass.
        assert!(build.diagnostics.iter().any(|found| found.code == "LS061"), "{:?}", build.diagnostics);
        let again = world.process("pull_request", "id:3", &own("closed", &head, 3)).await;
        assert_eq!((again.status, again.builds.len()), (DeliveryStatus::Ignored, 0), "{again:?}");
        // That it was told as the repository's own makes its commit no more the repository's.
        let reopened = world.process("pull_request", "id:4", &own("reopened", &head, 4)).await;
        assert!(reopened.reason.as_ref().unwrap().contains("is not on refs/heads/topic"), "{reopened:?}");
    }
}

#[tokio::test]
async fn a_closed_pull_request_is_built_as_it_was_known_although_its_branch_is_gone() {
    for forge in ["github", "bitbucket"] {
        let world = World::new(forge, ON_CLOSED).await;
        let head = world.topic();
        let tell = async |key: &str, action: &str, time: u32| match forge {
            "bitbucket" => world.process(of_bitbucket(action), key, &bitbucket(&head, true, time)).await,
            _ => world.process("pull_request", key, &own(action, &head, time)).await,
        };
        world.build(&tell("id:1", "opened", 1).await).await;
        world.repository.git(&["branch", "-q", "-D", "topic"]);
        let next = world.repository.commit("the branch's deletion is seen with another push");
        world.process("push", "id:2", &push("refs/heads/main", NONE, &next, 2)).await;
        let closed = tell("id:3", "closed", 3).await;
        let build = world.build(&closed).await;
        assert_eq!(build.event.commit, head, "{forge}");
        assert_eq!(closed.reason.as_deref(), Some("canceled 1 build of the pull request"), "{forge}");
    }
}

#[tokio::test]
async fn a_pull_request_stays_the_repositorys_own_when_its_branch_is_deleted_and_one_without_a_branch_does_not_become_so()
 {
    for was_known in [true, false] {
        let world = World::new("gitea", ON_CLOSED).await;
        let head = world.topic();
        if was_known {
            world.build(&world.process("pull_request", "id:1", &own("opened", &head, 1)).await).await;
        }
        world.repository.git(&["branch", "-q", "-D", "topic"]);
        // As Gitea and Forgejo tell of it then, and of what was pushed to `refs/for/main`.
        let mut closed = own("closed", &head, 2);
        closed["pull_request"]["head"]["ref"] = "refs/pull/7/head".into();
        closed["pull_request"]["head"]["label"] = "topic".into();
        let build = world.build(&world.process("pull_request", "id:2", &closed).await).await;
        let request = build.event.pull_request.as_ref().unwrap();
        assert_eq!((build.event.commit.as_str(), request.fork), (head.as_str(), !was_known));
        if was_known {
            assert_eq!(request.source_branch, "topic");
        }
    }
}

#[tokio::test]
async fn a_closed_pull_request_whose_commit_the_forge_does_not_serve_builds_its_target() {
    for forge in ["bitbucket", "gogs"] {
        let world = World::new(forge, ON_CLOSED).await;
        let head = world.deleted_topic();
        world.repository.git(&["update-ref", "-d", "refs/pull/7/head"]);
        let closed = match forge {
            "bitbucket" => world.process(of_bitbucket("closed"), "id:1", &bitbucket(&head, true, 1)).await,
            _ => {
                let told = json!({ "action": "closed", "number": 7, "sender": { "login": "eve" }, "pull_request": {
                    "title": "t", "head_branch": "topic", "head_repo": { "id": 1 }, "base_branch": "main", "base_repo": { "id": 1 } } });
                world.process("pull_request", "id:1", &told).await
            }
        };
        let build = world.build(&closed).await;
        assert_eq!(build.event.commit, world.main(), "{forge}");
        let shown = if forge == "bitbucket" { &head[..12] } else { build.event.commit.as_str() };
        assert_eq!(build.event.commit_at_forge(), shown);
    }
}

#[tokio::test]
async fn a_closed_pull_request_of_a_fork_that_is_gone_builds_its_target_and_stays_a_strangers() {
    for forge in ["github", "bitbucket"] {
        let world = World::new(forge, ON_CLOSED).await;
        let head = world.deleted_topic();
        world.repository.git(&["update-ref", "-d", "refs/pull/7/head"]);
        let mut told = pull_request("closed", &head, 1);
        told["pull_request"]["head"]["repo"] = Value::Null;
        let closed = match forge {
            "bitbucket" => world.process(of_bitbucket("closed"), "id:1", &bitbucket(&head, false, 1)).await,
            _ => world.process("pull_request", "id:1", &told).await,
        };
        let build = world.build(&closed).await;
        assert!(closed.reason.as_ref().unwrap().contains("built the newest commit of `main`"), "{closed:?}");
        assert_eq!(build.event.commit, world.main());
        assert!(build.event.pull_request.as_ref().unwrap().fork);
        let jobs = longshore_store::jobs::of_build(&world.store, build.id).await.unwrap();
        assert!(jobs.iter().all(|job| job.status == longshore_core::Status::Blocked), "{jobs:?}");
    }
}

#[tokio::test]
async fn a_closed_pull_request_that_starts_nothing_says_so_although_its_commit_is_gone() {
    let world = World::new("github", PIPELINE).await;
    let head = world.deleted_topic();
    let closed = world.process("pull_request", "id:1", &own("closed", &head, 1)).await;
    assert_eq!(closed.status, DeliveryStatus::Ignored, "{closed:?}");
    assert!(closed.reason.as_ref().unwrap().contains("the pull request was `closed`"), "{closed:?}");
}

fn of_bitbucket(action: &str) -> &'static str {
    if action == "closed" { "pullrequest:rejected" } else { "pullrequest:created" }
}

fn bitbucket(head: &str, own: bool, time: u32) -> Value {
    let repository = |uuid: &str| json!({ "uuid": uuid, "full_name": "team/app" });
    let source = if own { repository("{1}") } else { Value::Null };
    json!({ "actor": { "nickname": "eve" }, "pullrequest": { "id": 7, "title": "t", "updated_on": time.to_string(),
        "source": { "branch": { "name": "topic" }, "commit": { "hash": &head[..12] }, "repository": source },
        "destination": { "branch": { "name": "main" }, "repository": repository("{1}") } } })
}
