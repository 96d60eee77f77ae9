//! When what ended jobs leave is removed, while other jobs start.

use std::time::Duration;

use longshore_core::{ErrorKind, Outcome, Timestamp};
use longshore_executor::CleanScope;
use tokio_util::sync::CancellationToken;

use crate::agent::Script;
use crate::engine::Verb;
use crate::journal::MemoryJournal;
use crate::world::{World, job, logged, run, until};

const JOBS: usize = 40;

#[tokio::test(start_paused = true)]
async fn what_a_job_left_that_ran_long_and_ended_a_moment_ago_is_not_cleaned_away() {
    let world = World::new();
    let request = job();
    world.engine.script(Script::Waits);
    let journal = world.run_and_die(&request).await;
    world.engine.agent(request.attempt_id()).end(0);
    let scope = CleanScope::Idle { jobs_older_than: Duration::from_secs(3600) };
    world.engine.ended_at(Timestamp::now());
    let removed = world.next_process().clean(&scope).await.unwrap();
    assert_eq!(removed.containers, [""; 0], "its server reads it yet");
    drop(journal);
    world.engine.ended_at(Timestamp::from_millis(Timestamp::now().as_millis() - 2 * 3_600_000));
    let removed = world.next_process().clean(&scope).await.unwrap();
    assert_eq!(removed.containers.len(), 1, "{removed:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn removals_do_not_fall_behind_where_jobs_start_all_the_time() {
    let world = World::new();
    let requests: Vec<_> = (0..JOBS).map(|_| job()).collect();
    let journals: Vec<_> = requests.iter().map(|_| MemoryJournal::default()).collect();
    let running = requests.iter().zip(&journals).map(|(request, journal)| {
        world.engine.script(Script::Waits);
        run(&world.executor, request.clone(), journal, CancellationToken::new())
    });
    let starting = async {
        for journal in &journals {
            logged(journal, "up\n").await;
        }
        // From now on a job is being started, for as long as the test takes.
        world.engine.hang(Verb::Start);
        let (starting, unheard) = (job(), MemoryJournal::default());
        let starts = run(&world.executor, starting, &unheard, CancellationToken::new());
        let ending = async {
            until("a start is in progress", || world.engine.calls(Verb::Start) > JOBS).await;
            for request in &requests {
                world.engine.agent(request.attempt_id()).end(137);
            }
            // Twice as long as one removal waits for starts, and not half as many times.
            tokio::time::sleep(Duration::from_secs(5)).await;
            world.engine.left().len()
        };
        tokio::select! {
            outcome = starts => panic!("{outcome:?}"),
            left = ending => left,
        }
    };
    let (outcomes, left) = tokio::join!(futures_util::future::join_all(running), starting);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Error { .. })), "{outcomes:?}");
    // A container, its volume and its sandbox for each that still waits, and those of the start.
    assert!(left < 40, "{left} objects are left of {JOBS} jobs");
}

#[tokio::test(start_paused = true)]
async fn the_files_of_a_large_workspace_are_gone_before_the_engine_is_asked_to_remove_it() {
    let world = World::new();
    let large = job();
    world.engine.script(Script::LeavesManyFiles);
    assert_eq!(world.run(large.clone()).await.0, Outcome::Success);
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    world.executor.settled().await;
    assert_eq!(
        world.engine.tools(),
        [format!("empty {}", large.attempt_id().volume_name())],
        "a small one costs nothing"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_large_workspace_that_is_being_emptied_keeps_no_other_job_and_no_process_from_ending() {
    let world = World::new();
    let large = job();
    world.engine.script(Script::LeavesManyFiles);
    world.engine.hang(Verb::RunTool);
    assert_eq!(world.run(large.clone()).await.0, Outcome::Success);
    let volume = large.attempt_id().volume_name().to_string();
    until("its files to be deleted", || world.engine.calls(Verb::RunTool) == 1).await;
    for _ in 0..4 {
        assert_eq!(world.run(job()).await.0, Outcome::Success);
    }
    until("what the others left to go", || {
        let mut left = world.engine.left();
        left.retain(|one| !one.starts_with("sandbox"));
        left == [volume.as_str()]
    })
    .await;
    assert!(world.executor.settled_or_deleting(Duration::from_secs(60)).await, "the engine deletes the files");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_workspace_whose_files_nobody_has_counted_is_a_large_one() {
    let world = World::new();
    let request = job();
    world.engine.script(Script::Waits);
    let journal = MemoryJournal::default();
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let killing = async {
        logged(&journal, "up\n").await;
        world.engine.agent(request.attempt_id()).end(137);
    };
    let (outcome, ()) = tokio::join!(running, killing);
    assert!(matches!(outcome, Outcome::Error { .. }), "{outcome:?}");
    world.executor.settled().await;
    assert_eq!(world.engine.tools(), [format!("empty {}", request.attempt_id().volume_name())]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_about_which_the_engine_answers_nothing_ends_its_job_and_holds_up_no_removal() {
    let world = World::new();
    // More than are removed at once.
    let jobs: Vec<_> = (0..3).map(|_| job()).collect();
    for request in &jobs {
        world.engine.leave_unanswered(1);
        let (outcome, _) = world.run(request.clone()).await;
        assert!(
            matches!(&outcome, Outcome::Error { kind: ErrorKind::EngineGone, message } if message.contains("and answers others")),
            "{outcome:?}"
        );
    }
    assert_eq!(world.engine.calls(Verb::Start), 3, "nothing is tried again with such an image");
    assert_eq!(world.run(job()).await.0, Outcome::Success);
    // A process that finds one, and does not know that its start was never answered.
    let next = world.next_process();
    jobs.iter().for_each(|request| next.abandon(request.attempt_id()));
    let settled = async { tokio::join!(next.settled(), world.executor.settled()) };
    tokio::time::timeout(Duration::from_secs(3600), settled).await.expect("nothing waits for the engine's answers");
    let left = || {
        let mut left = world.engine.left();
        left.retain(|one| one.starts_with("job-"));
        left.len()
    };
    assert_eq!(left(), 3, "{:?}", world.engine.left());
    world.engine.answer_again();
    until("they are gone, once the engine answers", || left() == 0).await;
    world.end().await;
}
