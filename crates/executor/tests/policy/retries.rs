//! The kind of an error at a start decides what is done before the next try.

use longshore_core::{ErrorKind, Outcome};
use longshore_executor::{EngineError, PullFailure, PullPolicy, Refusal};
use tokio::time::Instant;

use crate::agent::Script;
use crate::engine::{Verb, refused};
use crate::world::{World, job};

fn gone(what: &str) -> String {
    format!("no such {what}")
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_has_ended_is_replaced_with_all_that_are_idle() {
    let world = World::new();
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    world.executor.settled().await;
    let first = world.engine.sandboxes();
    world.engine.lose_sandboxes();
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    assert_ne!(world.engine.sandboxes(), first);
    for _ in 0..4 {
        world.engine.fail(Verb::Start, EngineError::SandboxGone(gone("container")));
    }
    let (outcome, _) = world.run(job()).await;
    assert!(
        matches!(&outcome, Outcome::Error { kind: ErrorKind::AgentFailed, message } if message.contains("4 sandboxes")),
        "{outcome:?}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_gone_is_looked_up_again_and_pulled() {
    let world = World::new();
    let request = job();
    world.engine.fail(Verb::Create, EngineError::ImageGone(gone("image")));
    let (outcome, _) = world.run(request.clone()).await;
    assert_eq!((outcome, world.engine.calls(Verb::Image)), (Outcome::Success, 2));
    // The build's next job gets the same image as the first, although the tag is gone.
    world.engine.untag("busybox");
    let mut next = job();
    next.build = request.build;
    assert_eq!(world.run(next).await.0, Outcome::Success);
    assert_eq!((world.engine.calls(Verb::Image), world.engine.calls(Verb::Pull)), (2, 0));
    // Another build pulls the image.
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    assert_eq!(world.engine.calls(Verb::Pull), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pull_is_tried_again_while_its_registry_is_down_and_not_for_ever() {
    let world = World::new();
    world.engine.untag("busybox");
    let down = || EngineError::PullFailed { image: "busybox".to_owned(), why: PullFailure::Unreachable };
    (0..3).for_each(|_| world.engine.fail(Verb::Pull, down()));
    let (outcome, journal) = world.run(job()).await;
    assert_eq!((outcome, world.engine.calls(Verb::Pull)), (Outcome::Success, 4));
    assert!(journal.notes().contains("retrying in 4 s"), "{}", journal.notes());

    world.engine.untag("busybox");
    (0..100).for_each(|_| world.engine.fail(Verb::Pull, down()));
    let begun = Instant::now();
    let (outcome, _) = world.run(job()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::PullFailed, .. }), "{outcome:?}");
    assert!((10..=20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    // If the image is there, nobody waits.
    world.engine.tag("busybox", "1");
    let mut always = job();
    always.pull = PullPolicy::Always;
    let begun = Instant::now();
    let (outcome, journal) = world.run(always).await;
    assert_eq!((outcome, begun.elapsed().as_secs()), (Outcome::Success, 0));
    assert!(journal.notes().contains("using the local busybox"), "{}", journal.notes());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_says_no_is_asked_once() {
    let world = World::new();
    world.engine.untag("busybox");
    let no = EngineError::PullFailed { image: "busybox".to_owned(), why: PullFailure::Absent };
    world.engine.fail(Verb::Pull, no);
    let (outcome, _) = world.run(job()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::ImageMissing, .. }), "{outcome:?}");
    assert_eq!((world.engine.calls(Verb::Pull), world.engine.calls(Verb::Create)), (1, 0));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_earlier_container_of_the_attempt_makes_way_with_its_spool() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let request = job();
    world.run_and_die(&request).await;
    // As if the database were older than the run.
    let (outcome, journal) = world.run(request).await;
    assert_eq!((outcome, journal.stdout_text().as_str()), (Outcome::Success, "done\n"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_makes_again_by_itself_takes_another_try() {
    let world = World::new();
    let stale = || EngineError::Stale(Box::new(EngineError::AgentFailed("no such file".to_owned())));
    world.engine.fail(Verb::Start, stale());
    world.engine.fail(Verb::CreateSandbox, stale());
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    (0..4).for_each(|_| world.engine.fail(Verb::Start, stale()));
    let (outcome, _) = world.run(job()).await;
    assert!(
        matches!(&outcome, Outcome::Error { kind: ErrorKind::AgentFailed, message } if message.contains("no such file")),
        "{outcome:?}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_run_is_brought_again_once_until_one_has_run() {
    let world = World::new();
    // It crashes before it says a word.
    world.engine.script(Script::Crashes(139));
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    assert_eq!(world.engine.calls(Verb::RenewAgent), 1);
    // One has run since, so it is delivered again. Two crashes in a row are the program's own fault.
    world.engine.script(Script::Crashes(139));
    world.engine.script(Script::Crashes(139));
    let (outcome, _) = world.run(job()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::AgentFailed, .. }), "{outcome:?}");
    assert_eq!(world.engine.calls(Verb::RenewAgent), 2);
    // The same if the engine does not start it.
    world.engine.fail(Verb::Start, EngineError::AgentFailed("permission denied".to_owned()));
    let (outcome, _) = world.run(job()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::AgentFailed, .. }), "{outcome:?}");
    assert_eq!(world.engine.calls(Verb::RenewAgent), 2, "not before one has run");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_engine_is_asked_four_times_and_one_that_never_does_it_once() {
    let world = World::new();
    (0..3).for_each(|_| world.engine.fail(Verb::Create, refused(Refusal::Failed)));
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    (0..4).for_each(|_| world.engine.fail(Verb::Create, refused(Refusal::Failed)));
    let (outcome, _) = world.run(job()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::EngineGone, .. }), "{outcome:?}");
    assert_eq!(world.engine.calls(Verb::Create), 8);
    world.engine.fail(Verb::Create, refused(Refusal::Invalid));
    let (outcome, _) = world.run(job()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::EngineGone, .. }), "{outcome:?}");
    assert_eq!(world.engine.calls(Verb::Create), 9);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_did_not_start_is_gone_before_the_next_try() {
    let world = World::new();
    world.engine.lose(Verb::Start, refused(Refusal::Failed));
    let (outcome, journal) = world.run(job()).await;
    assert_eq!((outcome, journal.stdout_text().as_str()), (Outcome::Success, "done\n"));
    assert_eq!(world.engine.calls(Verb::Create), 2);
    world.end().await;
}
