//! How long the executor waits for an engine and an agent, and what happens to a job that is given up.

use std::io;
use std::time::Duration;

use longshore_agent_protocol::JobResult;
use longshore_core::{ErrorKind, Outcome, Record};
use longshore_executor::{DockerAccess, ENGINE_AWAY, EngineError, GuardedDocker, JobRequest, Journal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::Script;
use crate::engine::Verb;
use crate::journal::MemoryJournal;
use crate::world::{AGENT_PATIENCE, PATIENCE, World, job, logged, noted, run};

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_an_engine_that_is_away_when_it_should_start() {
    let world = World::new();
    world.engine.away(true);
    let journal = MemoryJournal::default();
    let returning = async {
        noted(&journal, "waiting for the engine").await;
        tokio::time::sleep(PATIENCE / 2).await;
        world.engine.away(false);
    };
    let (outcome, ()) = tokio::join!(run(&world.executor, job(), &journal, CancellationToken::new()), returning);
    assert_eq!(outcome, Outcome::Success);
    assert_eq!(journal.notes().matches("waiting").count(), 1, "{}", journal.notes());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_of_the_engine_is_waited_for_as_well() {
    let world = World::new();
    (0..3).for_each(|_| world.engine.fail(Verb::Create, EngineError::NoRoom("no space left".to_owned())));
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    assert_eq!(world.engine.calls(Verb::Create), 4);
    world.end().await;
}

fn job_with_docker() -> JobRequest {
    JobRequest { docker: DockerAccess::Guarded(GuardedDocker::default()), ..job() }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_finds_no_engine_is_replaced_once_there_is_one() {
    let world = World::new();
    world.engine.guard_ends_with(&format!("{ENGINE_AWAY}the engine cannot be reached: Connection refused\n"));
    world.engine.guard_ends_with(&format!("{ENGINE_AWAY}the engine cannot be reached: no such file\n"));
    let (outcome, journal) = world.run(job_with_docker()).await;
    assert_eq!(outcome, Outcome::Success, "{}", journal.notes());
    // The second and the third found the name taken first.
    assert_eq!(world.engine.calls(Verb::CreateGuard), 5);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_once_its_guard_has_ended() {
    let world = World::new();
    world.engine.script(Script::Waits);
    world.engine.guard_ends_with("listening on /longshore/docker/docker.sock\n");
    let (outcome, journal) = world.run(job_with_docker()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    assert!(journal.notes().contains("the guard of its Docker API has ended"), "{}", journal.notes());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stays_away_is_an_error_after_the_patience_and_not_before() {
    let world = World::new();
    world.engine.away(true);
    let begun = Instant::now();
    let (outcome, _) = world.run(job()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::EngineGone, .. }), "{outcome:?}");
    assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn links_that_are_cut_and_an_engine_that_is_away_for_a_while_cost_no_byte() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let (request, journal) = (job(), MemoryJournal::default());
    let cutting = async {
        logged(&journal, "up\n").await;
        let agent = world.engine.agent(request.attempt_id());
        for line in ["one", "two", "three"] {
            world.engine.away(true);
            world.engine.cut_links();
            agent.print(line);
            tokio::time::sleep(PATIENCE / 4).await;
            world.engine.away(false);
            logged(&journal, line).await;
        }
        agent.finish(JobResult::Success);
    };
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let (outcome, ()) = tokio::join!(running, cutting);
    assert_eq!(outcome, Outcome::Success);
    assert_eq!(journal.stdout_text(), "up\none\ntwo\nthree\n");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_answers_is_killed_when_its_time_is_over() {
    let world = World::new();
    world.engine.script(Script::Silent);
    let begun = Instant::now();
    let (outcome, _) = world.run(job()).await;
    assert!(
        matches!(&outcome, Outcome::Error { kind: ErrorKind::AgentFailed, message } if message.contains("did not respond")),
        "{outcome:?}"
    );
    assert!(begun.elapsed() >= AGENT_PATIENCE && begun.elapsed() < AGENT_PATIENCE * 2, "{:?}", begun.elapsed());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_misses_the_jobs_time_limit_is_killed() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let mut request = job();
    request.plan.timeout_ms = 1000;
    let begun = Instant::now();
    let (outcome, journal) = world.run(request).await;
    assert_eq!(outcome, Outcome::TimedOut { limit_ms: 1000 });
    assert!(journal.notes().contains("did not enforce the job's timeout"), "{}", journal.notes());
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_killed_from_outside_is_lost_and_one_that_vanished_too() {
    let world = World::new();
    for vanishes in [false, true] {
        world.engine.script(Script::Waits);
        let (request, journal) = (job(), MemoryJournal::default());
        let ending = async {
            logged(&journal, "up\n").await;
            world.engine.agent(request.attempt_id()).end(137);
            if vanishes {
                world.engine.lose_container(request.attempt_id());
            }
        };
        let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
        let (outcome, ()) = tokio::join!(running, ending);
        assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
        assert_eq!(journal.stdout_text(), "up\n");
    }
    world.end().await;
}

/// A log on a disk that is gone.
struct Unwritable;

impl Journal for Unwritable {
    fn last_seq(&self) -> u64 {
        0
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn milestones(&self) -> Vec<Record<'static>> {
        Vec::new()
    }

    fn append(&mut self, _: &[Record<'_>]) -> io::Result<()> {
        Err(io::Error::other("the disk is gone"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_written_ends_the_job_and_leaves_no_container() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let (updates, mut told) = mpsc::channel(64);
    let running = world.executor.run_job(job(), Box::new(Unwritable), updates, CancellationToken::new());
    let read = async { while told.recv().await.is_some() {} };
    let (outcome, ()) = tokio::join!(running, read);
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Internal, .. }), "{outcome:?}");
    world.end().await;
}
