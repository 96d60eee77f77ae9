//! Jobs that begin on the workspace that another left.

use longshore_core::{ErrorKind, Outcome};
use longshore_executor::names::VolumeName;
use longshore_executor::{AttemptId, JobRequest, Workspace};

use crate::engine::Verb;
use crate::world::{World, job};

fn on(base: &[AttemptId], kept: bool) -> JobRequest {
    JobRequest { workspace: Workspace { base: base.to_vec(), needed: "build".to_owned(), kept }, ..job() }
}

/// Removes what was kept.
async fn end(world: World) {
    for volume in world.engine.volumes() {
        world.executor.remove_volume(&VolumeName::new(volume).unwrap()).await;
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_workspace_is_kept_for_those_that_begin_on_it_and_each_gets_an_overlay_of_its_own() {
    let world = World::new();
    let first = on(&[], true);
    assert_eq!(world.run(first.clone()).await.0, Outcome::Success);
    world.executor.settled().await;
    let left = first.attempt_id().volume_name().to_string();
    assert_eq!(world.engine.volumes(), [left.as_str()]);
    let second = on(&[first.attempt_id()], true);
    let third = on(&[second.attempt_id(), first.attempt_id()], false);
    for request in [&second, &third] {
        let (outcome, journal) = world.run(request.clone()).await;
        assert_eq!(outcome, Outcome::Success);
        assert!(journal.notes().contains("begins on the workspace of build"), "{}", journal.notes());
        world.executor.settled().await;
    }
    let upper = |request: &JobRequest| format!("{}-upper", request.attempt_id().volume_name());
    assert_eq!(
        world.engine.overlays(),
        [vec![upper(&second), left.clone()], vec![upper(&third), upper(&second), left.clone()]]
    );
    let mut there = vec![left, upper(&second)];
    there.sort();
    assert_eq!(world.engine.volumes(), there, "what was kept, and nothing of the last one");
    end(world).await;
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_is_gone_is_said_and_nothing_is_started() {
    let world = World::new();
    let missing = job().attempt_id();
    let (outcome, _) = world.run(on(&[missing], false)).await;
    assert!(
        matches!(&outcome, Outcome::Error { kind: ErrorKind::Lost, message } if message.contains("the workspace of `build` is not on the engine")),
        "{outcome:?}"
    );
    assert_eq!(world.engine.calls(Verb::Create), 0);
    world.executor.settled().await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_overlays_copies_a_workspace() {
    let world = World::new();
    world.engine.without_overlays();
    let first = on(&[], true);
    world.run(first.clone()).await;
    world.executor.settled().await;
    let second = on(&[first.attempt_id()], false);
    assert_eq!(world.run(second.clone()).await.0, Outcome::Success);
    let (from, to) = (first.attempt_id().volume_name(), second.attempt_id().volume_name());
    assert_eq!(world.engine.tools(), [format!("copy {from} {to}")]);
    world.executor.settled().await;
    assert_eq!(world.engine.volumes(), [from.to_string()]);
    end(world).await;
}
