//! A cancel ends a job wherever it is, and leaves nothing of it.

use longshore_agent_protocol::JobResult;
use longshore_core::{ErrorKind, Outcome};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::Script;
use crate::engine::{Verb, away};
use crate::journal::MemoryJournal;
use crate::world::{GRACE, PATIENCE, World, adopt, job, logged, noted, run};

#[tokio::test(start_paused = true)]
async fn a_cancel_does_not_wait_for_a_start_that_hangs_and_what_comes_of_it_is_removed() {
    let world = World::new();
    world.engine.lose(Verb::Create, away());
    world.engine.hang(Verb::CreateSandbox);
    let (cancel, journal) = (CancellationToken::new(), MemoryJournal::default());
    let canceling = async {
        world.engine.called(Verb::CreateSandbox, 1).await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(run(&world.executor, job(), &journal, cancel.clone()), canceling);
    assert_eq!(outcome, Outcome::Canceled);
    assert!(journal.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_canceled_before_its_start_is_over_leaves_no_container() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(run(&world.executor, job(), &MemoryJournal::default(), cancel).await, Outcome::Canceled);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_running_job_is_canceled_by_its_agent() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let (cancel, journal) = (CancellationToken::new(), MemoryJournal::default());
    let canceling = async {
        logged(&journal, "up\n").await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(run(&world.executor, job(), &journal, cancel.clone()), canceling);
    assert_eq!(outcome, Outcome::Canceled);
    assert_eq!(world.engine.calls(Verb::Kill), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ignores_a_cancel_is_killed_after_the_grace() {
    let world = World::new();
    world.engine.script(Script::IgnoresCancel);
    let (cancel, journal) = (CancellationToken::new(), MemoryJournal::default());
    let canceling = async {
        logged(&journal, "up\n").await;
        cancel.cancel();
        let canceled = Instant::now();
        world.engine.called(Verb::Kill, 1).await;
        canceled.elapsed()
    };
    let (outcome, took) = tokio::join!(run(&world.executor, job(), &journal, cancel.clone()), canceling);
    assert_eq!(outcome, Outcome::Canceled);
    assert!(took >= GRACE && took < GRACE * 10, "{took:?}");
    assert!(journal.notes().contains("its container was killed"), "{}", journal.notes());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_nobody_canceled_is_lost_and_not_canceled() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let (request, journal) = (job(), MemoryJournal::default());
    let stopping = async {
        logged(&journal, "up\n").await;
        // An agent takes every TERM for a cancel.
        world.engine.agent(request.attempt_id()).finish(JobResult::Canceled);
    };
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let (outcome, ()) = tokio::join!(running, stopping);
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_its_engine_is_canceled_at_once() {
    let world = World::new();
    world.engine.away(true);
    let (cancel, journal) = (CancellationToken::new(), MemoryJournal::default());
    let begun = Instant::now();
    let canceling = async {
        noted(&journal, "waiting for the engine").await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(run(&world.executor, job(), &journal, cancel.clone()), canceling);
    assert_eq!(outcome, Outcome::Canceled);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_end_was_asked_for_before_a_restart_ends_after_it() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let request = job();
    let journal = world.run_and_die(&request).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let next = world.next_process();
    assert_eq!(adopt(&next, &request, &journal, cancel.clone()).await, Outcome::Canceled);
    // One that was never started runs nothing.
    let never = MemoryJournal::default();
    assert_eq!(adopt(&next, &job(), &never, cancel).await, Outcome::Canceled);
    assert_eq!(never.stdout_text(), "");
    next.settled().await;
    world.swept().await;
}
