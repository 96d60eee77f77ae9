//! Which job gets which sandbox, and which sandboxes are removed.

use std::collections::BTreeSet;

use longshore_core::Outcome;
use tokio_util::sync::CancellationToken;

use crate::agent::Script;
use crate::engine::Verb;
use crate::journal::MemoryJournal;
use crate::world::{World, job, logged, run, until};

async fn run_in(world: &World, scope: &str) {
    let mut request = job();
    request.scope = scope.to_owned();
    assert_eq!(world.run(request).await.0, Outcome::Success);
    world.executor.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_serves_one_scope_only() {
    let world = World::new();
    run_in(&world, "a").await;
    run_in(&world, "a").await;
    assert_eq!(world.engine.sandboxes().len(), 1);
    run_in(&world, "b").await;
    assert_eq!(world.engine.sandboxes().len(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_whose_agent_did_not_report_its_jobs_end_serves_nobody_again() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let (request, journal) = (job(), MemoryJournal::default());
    let ending = async {
        logged(&journal, "up\n").await;
        world.engine.agent(request.attempt_id()).end(137);
    };
    tokio::join!(run(&world.executor, request.clone(), &journal, CancellationToken::new()), ending);
    world.executor.settled().await;
    assert_eq!(world.engine.sandboxes(), []);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_serves_another_job_only_once_all_containers_of_the_one_before_are_gone() {
    let world = World::new();
    world.engine.script(Script::Stays);
    // The removal of the container.
    world.engine.hang(Verb::Remove);
    let (one, journal) = (job(), MemoryJournal::default());
    assert_eq!(run(&world.executor, one.clone(), &journal, CancellationToken::new()).await, Outcome::Success);
    world.engine.called(Verb::Remove, 1).await;
    assert_eq!(world.engine.agent(one.attempt_id()).exit_code(), None);
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    until("the second job's sandbox to be idle", || world.engine.calls(Verb::Remove) >= 3).await;
    assert_eq!(world.engine.sandboxes().len(), 2, "the first job's is not shared");
    world.engine.agent(one.attempt_id()).end(0);
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_sandboxes_are_kept_than_the_limit_and_the_longest_idle_goes() {
    let world = World::with(|options| options.sandbox_limit = 2);
    for scope in ["a", "b", "c"] {
        run_in(&world, scope).await;
    }
    let kept = world.engine.sandboxes();
    assert_eq!(kept.len(), 2);
    run_in(&world, "c").await;
    assert_eq!(world.engine.sandboxes(), kept);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_removes_what_nobody_keeps_and_leaves_the_rest() {
    let world = World::new();
    let (kept, lost) = (job(), job());
    for request in [&kept, &lost] {
        world.engine.script(Script::Waits);
        world.run_and_die(request).await;
    }
    let next = world.next_process();
    let removed = next.sweep(&BTreeSet::from([kept.attempt_id()])).await.unwrap();
    assert_eq!(removed.volumes, [lost.attempt_id().volume_name().to_string()]);
    assert_eq!(world.engine.agent(kept.attempt_id()).exit_code(), None);
    world.swept().await;
}
