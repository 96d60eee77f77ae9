//! Room on the engine's disk: starts wait for it, and only images that were pulled for jobs are ours to remove.

use std::time::Duration;

use longshore_core::Outcome;

use crate::engine::Verb;
use crate::world::{World, job, noted};

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_room_on_the_engines_disk_and_its_log_says_so() {
    let world = World::new();
    world.executor.hold_starts(Some("the engine's disk is 95% full".to_owned()));
    let journal = crate::journal::MemoryJournal::default();
    let running = crate::world::run(&world.executor, job(), &journal, tokio_util::sync::CancellationToken::new());
    let room = async {
        noted(&journal, "95% full").await;
        assert_eq!(world.engine.calls(Verb::Create), 0);
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.executor.hold_starts(None);
    };
    assert_eq!(tokio::join!(running, room).0, Outcome::Success);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn only_an_image_that_was_not_there_before_counts_as_pulled_by_us() {
    let world = World::new();
    world.run(job()).await;
    let used = world.executor.take_used_images();
    assert!(used.iter().all(|image| !image.pulled) && used.len() == 1, "{used:?}");
    world.engine.untag("busybox");
    world.run(job()).await;
    let used = world.executor.take_used_images();
    assert!(used[0].pulled && used.len() == 1, "{used:?}");
    let id = used[0].id.clone();
    assert!(world.executor.has_image("busybox", &id).await.unwrap());
    world.engine.tag("busybox", "somebody-elses");
    assert_eq!(world.executor.remove_own_image("busybox", &id).await.unwrap(), None);
    world.executor.settled().await;
    world.end().await;
}
