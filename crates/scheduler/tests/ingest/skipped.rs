//! `[skip ci]` in the message of the newest commit.

use longshore_scheduler::StartRequest;
use longshore_store::deliveries::DeliveryStatus;

use crate::{NONE, PIPELINE, World, pull_request, push};

#[tokio::test]
async fn a_message_that_says_skip_ci_keeps_pushes_and_pull_requests_from_building_and_nothing_else() {
    let world = World::new("github", PIPELINE).await;
    let before = world.repository.git(&["rev-parse", "HEAD"]);
    let commit = world.repository.commit("docs\n\n[skip ci]");
    world.repository.git(&["tag", "v1"]);
    world.repository.git(&["update-ref", "refs/pull/7/head", &commit]);
    let pushed = world.process("push", "1", &push("refs/heads/main", &before, &commit, 1)).await;
    let asked = world.process("pull_request", "2", &pull_request("opened", &commit, 1)).await;
    for ignored in [pushed, asked] {
        assert_eq!(ignored.status, DeliveryStatus::Ignored, "{ignored:?}");
        assert!(ignored.reason.as_ref().unwrap().contains("`[skip ci]`"), "{ignored:?}");
    }
    let tagged = world.process("push", "3", &push("refs/tags/v1", NONE, &commit, 1)).await;
    assert_eq!(world.build(&tagged).await.event.commit, commit);
    world.scheduler.start_build(world.repo.id, StartRequest::default()).await.unwrap();
    // Only the newest commit's message counts.
    let next = world.repository.commit("code");
    let pushed = world.process("push", "4", &push("refs/heads/main", &commit, &next, 2)).await;
    assert_eq!(world.build(&pushed).await.event.commit, next);
}
