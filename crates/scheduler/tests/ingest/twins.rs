//! Several deliveries about the same event make one build. An event that happens again makes another.

use longshore_core::Timestamp;
use longshore_scheduler::StartRequest;
use longshore_store::deliveries::{self, DeliveryStatus};

use crate::{NONE, PIPELINE, World, pull_request, push};

const MAIN: &str = "refs/heads/main";

#[tokio::test]
async fn a_push_that_is_told_twice_at_once_is_one_build_and_the_other_delivery_names_it() {
    for forge in ["git", "github", "gitea", "forgejo"] {
        let world = World::new(forge, PIPELINE).await;
        let after = world.repository.git(&["rev-parse", "HEAD"]);
        let (one, two) = (push(MAIN, NONE, &after, 1), push(MAIN, NONE, &after, 2));
        let ids = world.deliver("push", &[("id:1", &one), ("id:2", &two)]).await;
        let (first, second) = (world.end(ids[0]).await, world.end(ids[1]).await);
        assert_eq!(world.build(&first).await.number, 1, "{forge}");
        assert_eq!((second.status, second.builds.len()), (DeliveryStatus::Ignored, 0), "{forge}: {second:?}");
        assert!(second.reason.as_ref().unwrap().contains("build #1"), "{forge}: {second:?}");
        // With its own id it is the same delivery.
        assert_eq!(world.deliver("push", &[("id:1", &one)]).await, ids[..1]);
        // A person who asks for it gets a build.
        let mut tx = world.store.write().await.unwrap();
        let (_, again) = deliveries::redeliver(&mut tx, ids[0], Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.build(&world.end(again).await).await.number, 2, "{forge}");
        for _ in 0..2 {
            world.scheduler.start_build(world.repo.id, StartRequest::default()).await.unwrap();
        }
        assert_eq!(world.builds().await, 4);
    }
}

#[tokio::test]
async fn a_pull_request_that_goes_into_another_branch_is_built_for_that_one() {
    let world = World::new("github", PIPELINE).await;
    let repository = &world.repository;
    repository.git(&["branch", "-q", "lax"]);
    repository.git(&["checkout", "-q", "-b", "topic"]);
    let head = repository.write("a", "1").commit("mine");
    repository.git(&["checkout", "-q", "main"]);
    repository.git(&["update-ref", "refs/pull/7/head", &head]);
    let told = |action: &str, target: &str, time: u32| {
        let mut body = pull_request(action, &head, time);
        body["pull_request"]["base"]["ref"] = target.into();
        body
    };
    let mut number = 0;
    for (time, action, target) in
        [(1, "opened", "lax"), (2, "edited", "main"), (3, "edited", "lax"), (4, "edited", "main")]
    {
        let body = told(action, target, time);
        let delivery = world.process("pull_request", &format!("id:{time}"), &body).await;
        let build = world.build(&delivery).await;
        number += 1;
        assert_eq!((build.number, build.event.branch()), (number, Some(target)));
        let again = world.process("pull_request", &format!("id:again {time}"), &body).await;
        assert_eq!((again.status, again.builds.len()), (DeliveryStatus::Ignored, 0), "{again:?}");
    }
    // Another title is not another target.
    let titled = world.process("pull_request", "id:5", &told("edited", "main", 5)).await;
    assert_eq!((titled.status, titled.builds.len()), (DeliveryStatus::Ignored, 0), "{titled:?}");
}

#[tokio::test]
async fn a_branch_that_comes_back_to_a_commit_is_built_again_and_a_body_that_is_sent_again_is_not() {
    for (forge, event) in [("git", "push"), ("github", "push"), ("gitlab", "Push Hook")] {
        let world = World::new(forge, PIPELINE).await;
        let a = world.repository.git(&["rev-parse", "HEAD"]);
        let b = world.repository.commit("b");
        let mut time = 0;
        let mut told = Vec::new();
        let mut before = NONE;
        for after in [&a, &b, &a, &b, &a] {
            world.repository.git(&["update-ref", MAIN, after]);
            // A plain remote's hook and GitLab send no time: their bodies are the same.
            time += u32::from(forge == "github");
            told.push(push(MAIN, before, after, time));
            let number = told.len();
            let delivery = world.process(event, &format!("id:{number}"), &told[number - 1]).await;
            let build = world.build(&delivery).await;
            assert_eq!((build.number, &build.event.commit), (number as u64, after), "{forge}");
            before = after;
        }
        for (number, body) in told.iter().enumerate() {
            let replayed = world.process(event, &format!("id:again {number}"), body).await;
            assert_eq!(replayed.status, DeliveryStatus::Ignored, "{forge} {number}: {replayed:?}");
        }
        assert_eq!(world.builds().await, 5, "{forge}");
    }
}

#[tokio::test]
async fn a_body_without_a_time_that_is_sent_again_builds_only_what_its_branch_has_come_back_to_and_that_once() {
    let world = World::new("gitlab", PIPELINE).await;
    let topic = "refs/heads/topic";
    let a = world.repository.git(&["rev-parse", "HEAD"]);
    let b = world.repository.commit("b");
    world.scheduler.check_for_missed_pushes(world.repo.id).await.unwrap();
    let bodies = [push(topic, NONE, &a, 0), push(topic, &a, &b, 0), push(topic, &b, &a, 0)];
    let mut number = 0;
    let mut tell = async |body: usize| {
        number += 1;
        let delivery = world.process("Push Hook", &format!("id:{number}"), &bodies[body]).await;
        (delivery.builds.len(), delivery.reason.unwrap_or_default())
    };
    for (body, at) in [(0, &a), (1, &b)] {
        world.repository.git(&["update-ref", topic, at]);
        assert_eq!(tell(body).await.0, 1);
    }
    assert_eq!(tell(0).await.0, 0, "the branch has moved on");
    // It goes back, and nothing tells of it. It may have been deleted and created there.
    world.repository.git(&["update-ref", topic, &a]);
    assert_eq!(tell(0).await.0, 1);
    assert_eq!(tell(0).await.0, 0);
    assert_eq!(world.scheduler.check_for_missed_pushes(world.repo.id).await.unwrap().found, []);
    let (built, reason) = tell(2).await;
    assert!(built == 0 && reason.contains("build #3"), "{reason}");
    assert_eq!(world.builds().await, 3);
}

#[tokio::test]
async fn a_tag_that_was_deleted_and_pushed_again_is_built_again() {
    for (forge, event, times) in [("forgejo", "push", [1, 2, 3]), ("gitlab", "Tag Push Hook", [0; 3])] {
        let world = World::new(forge, PIPELINE).await;
        let commit = world.repository.git(&["rev-parse", "HEAD"]);
        world.repository.git(&["tag", "v1"]);
        let tell = async |number: usize, from: &str, to: &str| {
            let body = push("refs/tags/v1", from, to, times[number.min(2)]);
            world.process(event, &format!("id:{number}"), &body).await
        };
        world.build(&tell(0, NONE, &commit).await).await;
        assert_eq!(tell(1, &commit, NONE).await.status, DeliveryStatus::Ignored, "{forge}");
        assert_eq!(world.build(&tell(2, NONE, &commit).await).await.number, 2, "{forge}");
        assert_eq!(tell(3, NONE, &commit).await.status, DeliveryStatus::Ignored, "{forge}");
    }
}

#[tokio::test]
async fn a_body_that_comes_under_another_name_first_is_still_the_event_that_it_tells_of() {
    let world = World::new("github", PIPELINE).await;
    let body = push(MAIN, NONE, &world.repository.git(&["rev-parse", "HEAD"]), 1);
    for name in ["ping", "create", "pull_request", "star"] {
        assert_eq!(world.process(name, &format!("id:{name}"), &body).await.builds.len(), 0);
    }
    assert_eq!(world.build(&world.process("push", "id:1", &body).await).await.number, 1);
}

#[tokio::test]
async fn what_happens_to_a_pull_request_is_built_once_each_time_that_it_happens() {
    for forge in ["github", "gitea"] {
        let world = World::new(forge, PIPELINE).await;
        let head = world.repository.git(&["rev-parse", "HEAD"]);
        world.repository.git(&["update-ref", "refs/pull/7/head", &head]);
        let mut number = 0;
        let mut tell = async |action: &str, time: u32| {
            number += 1;
            world.process("pull_request", &format!("id:{number}"), &pull_request(action, &head, time)).await
        };
        assert_eq!(tell("opened", 1).await.builds.len(), 1);
        assert_eq!(tell("opened", 1).await.status, DeliveryStatus::Ignored);
        assert_eq!(tell("synchronize", 2).await.builds.len(), 1);
        assert_eq!(tell("synchronize", 3).await.status, DeliveryStatus::Ignored);
        for time in [4, 6] {
            assert_eq!(tell("closed", time).await.builds.len(), 0);
            assert_eq!(tell("reopened", time + 1).await.builds.len(), 1, "{forge} {time}");
            assert_eq!(tell("reopened", time + 1).await.status, DeliveryStatus::Ignored);
        }
        tell("closed", 8).await;
        assert_eq!(tell("reopened", 7).await.status, DeliveryStatus::Ignored, "a body that was seen");
        assert_eq!(world.builds().await, 4, "{forge}");
    }
}

#[tokio::test]
async fn signed_bodies_that_are_sent_again_in_their_order_under_other_ids_start_and_cancel_nothing() {
    let world = World::new("gitea", PIPELINE).await;
    let head = world.repository.git(&["rev-parse", "HEAD"]);
    world.repository.git(&["update-ref", "refs/pull/7/head", &head]);
    world.repository.git(&["tag", "v1"]);
    let tag = "refs/tags/v1";
    let mut told = Vec::new();
    for (time, action) in (1..).zip(["opened", "closed", "reopened", "closed", "reopened"]) {
        told.push(("pull_request", pull_request(action, &head, time)));
    }
    told.push(("push", push(tag, NONE, &head, 6)));
    told.push(("push", push(tag, &head, NONE, 7)));
    told.push(("push", push(tag, NONE, &head, 8)));
    for (number, (event, body)) in told.iter().enumerate() {
        world.process(event, &format!("id:{number}"), body).await;
    }
    let built = world.builds().await;
    assert_eq!(built, 5);
    for round in 0..2 {
        for (number, (event, body)) in told.iter().enumerate() {
            let replayed = world.process(event, &format!("id:again {round} {number}"), body).await;
            assert_eq!(replayed.status, DeliveryStatus::Ignored, "{number}: {replayed:?}");
            assert!(!replayed.reason.as_ref().unwrap().contains("canceled"), "{number}: {replayed:?}");
        }
    }
    assert_eq!(world.builds().await, built);
}
