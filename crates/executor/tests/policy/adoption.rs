//! A job outlives the process that started it, in every state of its container.

use longshore_agent_protocol::{JobResult, UNFIT_SANDBOX};
use longshore_core::{ErrorKind, Outcome};
use longshore_executor::{AdoptRequest, JobUpdate, Phase, Refusal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::agent::Script;
use crate::engine::{Verb, away, refused};
use crate::journal::MemoryJournal;
use crate::world::{PATIENCE, World, adopt, job, logged, run, until};

#[tokio::test(start_paused = true)]
async fn a_running_job_is_followed_from_where_its_log_ends() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let request = job();
    let journal = world.run_and_die(&request).await;
    world.engine.agent(request.attempt_id()).print("unheard");
    let going_on = async {
        logged(&journal, "unheard\n").await;
        world.engine.agent(request.attempt_id()).finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(world.adopt(&request, &journal), going_on);
    assert_eq!(outcome, Outcome::Success);
    assert_eq!(journal.stdout_text(), "up\nunheard\n");
    assert_eq!(world.engine.calls(Verb::Create), 1);
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ended_while_nobody_was_there_is_read_from_its_spool() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let request = job();
    let journal = world.run_and_die(&request).await;
    let agent = world.engine.agent(request.attempt_id());
    agent.print("unheard");
    agent.finish(JobResult::Failure { step: 0, exit_code: 7, out_of_memory: false });
    until("the container ends", || agent.exit_code().is_some()).await;
    // The engine interrupts the read once, and is asked again.
    world.engine.fail(Verb::ReadSpool, away());
    let outcome = world.adopt(&request, &journal).await;
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), "up\nunheard\n");
    assert_eq!(world.engine.calls(Verb::ReadSpool), 2);
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_process_died_at_any_call_of_its_start_runs_exactly_once() {
    for verb in [Verb::CreateSandbox, Verb::Create, Verb::Start] {
        let world = World::new();
        world.engine.hang(verb);
        let (request, journal) = (job(), MemoryJournal::default());
        tokio::select! {
            outcome = run(&world.executor, request.clone(), &journal, CancellationToken::new()) => panic!("{outcome:?}"),
            () = world.engine.called(verb, 1) => {}
        }
        assert_eq!(world.adopt(&request, &journal).await, Outcome::Success, "{verb:?}");
        assert_eq!(journal.stdout_text(), "done\n", "{verb:?}");
        world.swept().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ended_before_its_agent_had_its_orders_is_started_over() {
    let world = World::new();
    world.engine.script(Script::Silent);
    let (request, journal) = (job(), MemoryJournal::default());
    tokio::select! {
        outcome = run(&world.executor, request.clone(), &journal, CancellationToken::new()) => panic!("{outcome:?}"),
        () = world.engine.called(Verb::Start, 1) => {}
    }
    world.engine.agent(request.attempt_id()).end(137);
    assert_eq!(world.adopt(&request, &journal).await, Outcome::Success);
    assert_eq!((journal.stdout_text().as_str(), world.engine.calls(Verb::Create)), ("done\n", 2));
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_process_dies_while_it_starts_over_is_started_and_not_lost() {
    let world = World::new();
    world.engine.script(Script::Crashes(i64::from(UNFIT_SANDBOX)));
    let (request, journal) = (job(), MemoryJournal::default());
    let (updates, mut told) = mpsc::channel(64);
    let running = world.executor.run_job(request.clone(), journal.open(), updates, CancellationToken::new());
    // What a database knows at the end of the process.
    let mut began = false;
    let stored = async {
        while let Some(update) = told.recv().await {
            match update {
                JobUpdate::Phase(Phase::Running) => began = true,
                JobUpdate::StartsOver(_) => began = false,
                _ => {}
            }
        }
    };
    tokio::select! {
        outcome = running => panic!("{outcome:?}"),
        () = stored => panic!("it runs"),
        () = world.engine.called(Verb::Remove, 1) => {}
    }
    let (updates, mut told) = mpsc::channel(64);
    let request = AdoptRequest { job: request, session: 0, began };
    let next = world.next_process();
    let adopting = next.adopt(request, journal.open(), updates, CancellationToken::new());
    let read = async { while told.recv().await.is_some() {} };
    assert_eq!(tokio::join!(adopting, read).0, Outcome::Success);
    next.shutdown(true).await;
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_had_begun_is_lost_with_its_container_and_never_run_twice() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let request = job();
    let journal = world.run_and_die(&request).await;
    world.engine.lose_container(request.attempt_id());
    let outcome = world.adopt(&request, &journal).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    // The same if only the database knows that the job had begun.
    let (updates, _told) = mpsc::channel(64);
    let known = AdoptRequest { job: job(), session: 3, began: true };
    let outcome = world.executor.adopt(known, MemoryJournal::default().open(), updates, CancellationToken::new()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    assert_eq!(world.engine.calls(Verb::Create), 1);
    world.executor.settled().await;
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_end_is_in_its_log_is_over_whatever_has_become_of_its_container() {
    let world = World::new();
    let request = job();
    let (_, journal) = world.run(request.clone()).await;
    world.executor.settled().await;
    assert_eq!(world.adopt(&request, &journal).await, Outcome::Success);
    assert_eq!((journal.stdout_text().as_str(), world.engine.calls(Verb::Create)), ("done\n", 1));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_no_agent_reported_is_in_the_log_before_the_container_goes() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let (request, journal) = (job(), MemoryJournal::default());
    let ending = async {
        logged(&journal, "up\n").await;
        world.engine.agent(request.attempt_id()).end(1);
    };
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let (outcome, ()) = tokio::join!(running, ending);
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::AgentFailed, .. }), "{outcome:?}");
    // The process dies after the container is gone, and before anybody has stored the outcome.
    world.executor.settled().await;
    assert_eq!(world.adopt(&request, &journal).await, outcome);
    assert_eq!(journal.notes().matches("error: ").count(), 1, "{}", journal.notes());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_agent_was_ended_for_memory_names_its_limit() {
    let world = World::new();
    world.engine.script(Script::Waits);
    world.engine.ended_out_of_memory();
    let (mut request, journal) = (job(), MemoryJournal::default());
    request.limits.memory = Some(64 << 20);
    let ending = async {
        logged(&journal, "up\n").await;
        world.engine.agent(request.attempt_id()).end(137);
    };
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let (outcome, ()) = tokio::join!(running, ending);
    assert!(matches!(outcome, Outcome::Failure { out_of_memory: true, .. }), "{outcome:?}");
    assert!(journal.notes().contains("this job may use 64 MiB"), "{}", journal.notes());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_who_follow_a_job_the_older_one_leaves_it_alone() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let (request, first, second) = (job(), MemoryJournal::default(), MemoryJournal::default());
    let older = run(&world.executor, request.clone(), &first, CancellationToken::new());
    let newer = async {
        logged(&first, "up\n").await;
        second.copy_of(&first);
        let next = world.next_process();
        let finishing = async {
            world.engine.called(Verb::Attach, 1).await;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            world.engine.agent(request.attempt_id()).finish(JobResult::Success);
        };
        tokio::join!(adopt(&next, &request, &second, CancellationToken::new()), finishing).0
    };
    let (older, newer) = tokio::join!(older, newer);
    assert!(matches!(older, Outcome::Error { kind: ErrorKind::Lost, .. }), "{older:?}");
    assert_eq!(newer, Outcome::Success);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_adoption_waits_for_its_engine_and_then_gives_the_job_up() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let request = job();
    let journal = world.run_and_die(&request).await;
    world.engine.away(true);
    let begun = tokio::time::Instant::now();
    let next = world.next_process();
    let outcome = adopt(&next, &request, &journal, CancellationToken::new()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::EngineGone, .. }), "{outcome:?}");
    assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
    // Its steps end once the engine is back.
    world.engine.away(false);
    next.settled().await;
    assert_eq!(world.engine.left(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_understood_is_not_waited_for() {
    let world = World::new();
    let understood = longshore_executor::EngineError::NotUnderstood { what: "inspect", reason: "no JSON".to_owned() };
    world.engine.fail(Verb::Find, understood);
    let begun = tokio::time::Instant::now();
    let outcome = world.adopt(&job(), &MemoryJournal::default()).await;
    assert!(matches!(&outcome, Outcome::Error { message, .. } if message.contains("no JSON")), "{outcome:?}");
    assert_eq!(begun.elapsed(), std::time::Duration::ZERO);
    // A passing refusal is retried.
    world.engine.fail(Verb::Find, refused(Refusal::Failed));
    assert_eq!(world.adopt(&job(), &MemoryJournal::default()).await, Outcome::Success);
    world.swept().await;
}
