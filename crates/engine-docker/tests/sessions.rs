//! A job outlives the process that follows it: adoption, cut connections, and two processes that follow the same job.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use std::time::Duration;

use futures_util::future::{self, Either};
use longshore_core::{ErrorKind, Outcome, Timestamp};
use longshore_executor::{AdoptRequest, JobRequest, JobUpdate, Journal};
use support::proxy::{Moment, Proxy};
use support::{MemoryJournal, Options, World, adopt, connect, container, eventually, job, let_go, run_and_die};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runs the job on an engine connection of its own.
async fn run_in(options: Options, request: JobRequest, journal: Box<dyn Journal>) {
    let engine = connect(options).await.unwrap();
    let (sender, _updates) = mpsc::channel(64);
    engine.run_job(request, journal, sender, CancellationToken::new()).await;
}

/// Runs the job in what the engine sees as a process of its own, which dies with all its tasks at the given call.
async fn die_at(
    world: &World,
    proxy: &Proxy,
    request: &JobRequest,
    journal: &MemoryJournal,
    (call, passing, moment): (&str, usize, Moment),
) {
    let process = tokio::runtime::Runtime::new().unwrap();
    let stopped = proxy.stop_at(call, passing, moment);
    process.spawn(run_in(world.options(proxy.host()), request.clone(), journal.open()));
    stopped.await;
    // Nothing of it runs any more when its connections end: otherwise it would still remove what it cannot start.
    let dying = move || process.shutdown_timeout(Duration::from_secs(10));
    tokio::task::spawn_blocking(dying).await.unwrap();
    proxy.cut();
}

/// Prints numbers, slowly enough to be interrupted.
const COUNT: &str = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 7";

/// The same, but waits at this number until it is let go.
fn count_waiting_at(number: u32) -> String {
    COUNT.replace("sleep 0.01", &format!("sleep 0.01; until [ $i -lt {number} ] || [ -e go ]; do sleep 0.02; done"))
}

fn counted() -> String {
    (1..=200).map(|i| format!("{i}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_adopted_and_its_log_has_no_gap_and_nothing_twice() {
    let world = World::new().await;
    let (request, journal) = (job(&[COUNT]), MemoryJournal::default());
    run_and_die(&world, &request, &journal, "20\n").await;
    let outcome = adopt(&world, &request, &journal).await;
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), counted());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ended_while_nobody_was_there_is_read_from_its_volume() {
    let world = World::new().await;
    let (request, journal) = (job(&[COUNT]), MemoryJournal::default());
    run_and_die(&world, &request, &journal, "20\n").await;
    eventually("the container has ended", async || {
        let found = world.docker.inspect_container(&container(&world, &request).await, None).await.unwrap();
        found.state.unwrap().running == Some(false)
    })
    .await;
    let outcome = adopt(&world, &request, &journal).await;
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), counted());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_of_a_job_that_ended_is_asked_for_again_when_the_engine_breaks_off() {
    for moment in [Moment::BeforeTheEngine, Moment::BeforeTheAnswer, Moment::InTheAnswer(1 << 20)] {
        let proxy = Proxy::before(&support::docker_host());
        let world = World::with(|options| options.docker_host = proxy.host()).await;
        let script = "echo begun; until [ -e go ]; do sleep 0.05; done; seq 1 300000; exit 7";
        let (request, journal) = (job(&[script]), MemoryJournal::default());
        run_and_die(&world, &request, &journal, "begun\n").await;
        let_go(&world, &request).await;
        let id = container(&world, &request).await;
        eventually("the container has ended", async || {
            world.docker.inspect_container(&id, None).await.unwrap().state.unwrap().running == Some(false)
        })
        .await;
        // An old engine exports the container.
        let is_whole = world.docker.client_version().minor_version < 43;
        let stopped = proxy.stop_at(if is_whole { "/export" } else { "/archive" }, 0, moment);
        let cutting = async {
            stopped.await;
            proxy.cut();
        };
        let (outcome, ()) = tokio::join!(adopt(&world, &request, &journal), cutting);
        assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{moment:?}: {outcome:?}");
        let expected: String = (1..=300_000).map(|i| format!("{i}\n")).collect();
        assert!(journal.stdout_text() == format!("begun\n{expected}"), "{moment:?}: not byte for byte");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_said_after_a_cancel_is_in_the_log_though_the_engine_hung_and_the_clock_ran_out() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    let script = "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.02; done";
    let (mut request, journal) = (job(&[script]), MemoryJournal::default());
    // The clock runs that long, and ten seconds more.
    request.limits.grace = Duration::from_secs(5);
    let (sender, mut receiver) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    let running = world.engine.run_job(request.clone(), journal.open(), sender, cancel.clone());
    let canceling = async {
        eventually("the step is up", async || journal.stdout_text() == "up\n").await;
        proxy.hang();
        cancel.cancel();
        // The signal that the agent would have received for the cancel.
        let term = bollard::query_parameters::KillContainerOptionsBuilder::new().signal("TERM").build();
        world.docker.kill_container(&container(&world, &request).await, Some(term)).await.unwrap();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, canceling, drained);
    assert_eq!(outcome, Outcome::Canceled);
    assert_eq!(journal.stdout_text(), "up\nbye\n");
    assert!(!journal.notes().contains("killed"), "{}", journal.notes());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_end_is_in_the_journal_is_over_though_nobody_was_told_and_its_container_is_gone() {
    let world = World::new().await;
    let (request, journal) = (job(&["echo all of it; exit 7"]), MemoryJournal::default());
    let (sender, _updates) = mpsc::channel(64);
    world.engine.run_job(request.clone(), journal.open(), sender, CancellationToken::new()).await;
    world.engine.settled().await;
    let outcome = adopt(&world, &request, &journal).await;
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), "all of it\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_start_was_cut_short_at_any_call_runs_exactly_once() {
    // The sandbox's calls come first.
    let calls = [("/containers/create", 0), ("/start", 0), ("/containers/create", 1), ("/attach", 0), ("/start", 1)];
    for (call, passing) in calls {
        for moment in [Moment::BeforeTheEngine, Moment::BeforeTheAnswer] {
            let proxy = Proxy::before(&support::docker_host());
            let world = World::new().await;
            world.run(job(&["true"])).await;
            let (request, journal) = (job(&["echo once"]), MemoryJournal::default());
            die_at(&world, &proxy, &request, &journal, (call, passing, moment)).await;
            let outcome = adopt(&world, &request, &journal).await;
            assert_eq!(outcome, Outcome::Success, "{call}, {moment:?}");
            assert_eq!(journal.stdout_text(), "once\n", "{call}, {moment:?}");
            world.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ended_before_its_agent_had_its_orders_is_started_over() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::new().await;
    // The agent is delivered before anything is counted.
    world.run(job(&["true"])).await;
    let (request, journal) = (job(&["echo once"]), MemoryJournal::default());
    die_at(&world, &proxy, &request, &journal, ("/start", 1, Moment::BeforeTheAnswer)).await;
    let killed = bollard::query_parameters::KillContainerOptionsBuilder::new().signal("KILL").build();
    world.docker.kill_container(&container(&world, &request).await, Some(killed)).await.unwrap();
    assert_eq!(adopt(&world, &request, &journal).await, Outcome::Success);
    assert_eq!(journal.stdout_text(), "once\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_taken_away_before_its_agent_answers_whoever_adopts_is_started_over() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::new().await;
    // The agent is delivered before anything is counted.
    world.run(job(&["true"])).await;
    let (request, journal) = (job(&["echo once"]), MemoryJournal::default());
    die_at(&world, &proxy, &request, &journal, ("/start", 1, Moment::BeforeTheAnswer)).await;
    // It runs when it is looked up, and is gone when it is attached to, because the engine still carries out the dead
    // process's call.
    let id = container(&world, &request).await;
    let adopter = connect(world.options(proxy.host())).await.unwrap();
    let stopped = proxy.stop_at("/attach", 0, Moment::BeforeTheEngine);
    let (sender, mut receiver) = mpsc::channel(64);
    let adopt = AdoptRequest { job: request.clone(), session: 0, began: false };
    let adopting = adopter.adopt(adopt, journal.open(), sender, CancellationToken::new());
    let removing = async {
        stopped.await;
        world.take_away(&id).await;
        proxy.cut();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(adopting, removing, drained);
    assert_eq!(outcome, Outcome::Success);
    assert_eq!(journal.stdout_text(), "once\n");
    adopter.shutdown(true).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_an_engine_that_is_away_when_it_should_start() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    world.engine.prepare().await.unwrap();
    proxy.refuse(true);
    proxy.cut();
    let (request, journal) = (job(&["echo here"]), MemoryJournal::default());
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let returning = async {
        eventually("the log says why it waits", async || journal.notes().contains("waiting for the engine")).await;
        proxy.refuse(false);
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, returning, drained);
    assert_eq!(outcome, Outcome::Success);
    assert_eq!(journal.stdout_text(), "here\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_sessions_a_restored_database_does_not_know_of_is_adopted_all_the_same() {
    let world = World::with(|options| options.agent_patience = Duration::from_secs(5)).await;
    // It runs for as long as one leaves it and the next one comes.
    let (request, journal) = (job(&[&count_waiting_at(60)]), MemoryJournal::default());
    run_and_die(&world, &request, &journal, "20\n").await;
    let now = u32::try_from(Timestamp::now().as_millis() / 1000).unwrap();
    let ahead = AdoptRequest { job: request.clone(), session: now + 100_000, began: true };
    let (sender, _updates) = mpsc::channel(64);
    tokio::select! {
        outcome = world.engine.adopt(ahead, journal.open(), sender, CancellationToken::new()) => panic!("{outcome:?}"),
        () = eventually("the agent has answered", async || journal.stdout_text().contains("60\n")) => {}
    }
    let_go(&world, &request).await;
    let outcome = adopt(&world, &request, &journal).await;
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), counted());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_job_is_lost() {
    let world = World::new().await;
    let (request, journal) = (job(&["echo up; sleep 600"]), MemoryJournal::default());
    run_and_die(&world, &request, &journal, "up\n").await;
    world.take_away(&container(&world, &request).await).await;
    let outcome = adopt(&world, &request, &journal).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_cost_no_byte() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    let (request, journal) = (job(&[COUNT]), MemoryJournal::default());
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let cutting = async {
        for at in ["10\n", "40\n", "70\n", "100\n", "150\n"] {
            eventually("the job is under way", async || journal.stdout_text().contains(at)).await;
            proxy.refuse(true);
            proxy.cut();
            tokio::time::sleep(Duration::from_millis(150)).await;
            proxy.refuse(false);
        }
    };
    // A job that ends early shows how.
    let ended = async {
        match future::select(std::pin::pin!(running), std::pin::pin!(cutting)).await {
            Either::Left((outcome, _)) => {
                proxy.refuse(false);
                outcome
            }
            Either::Right(((), running)) => running.await,
        }
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, ()) = tokio::join!(ended, drained);
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), counted());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stays_away_is_an_error_after_a_while() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::with(|options| {
        options.docker_host = proxy.host();
        options.patience = Duration::from_millis(500);
    })
    .await;
    let (request, journal) = (job(&["echo up; sleep 600"]), MemoryJournal::default());
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let cutting = async {
        eventually("the job is under way", async || journal.stdout_text() == "up\n").await;
        proxy.refuse(true);
        proxy.cut();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, cutting, drained);
    proxy.refuse(false);
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::EngineGone, .. }), "{outcome:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_follow_a_job_the_older_is_fenced_and_leaves_it_alone() {
    let world = World::new().await;
    let (first, second) = (MemoryJournal::default(), MemoryJournal::default());
    let request = job(&[&count_waiting_at(150)]);
    let (sender, mut receiver) = mpsc::channel(64);
    let running = async {
        let older = world.engine.run_job(request.clone(), first.open(), sender, CancellationToken::new()).await;
        // The job does not end before.
        let_go(&world, &request).await;
        older
    };
    let taking_over = async {
        while !matches!(receiver.recv().await.unwrap(), JobUpdate::Session(_)) {}
        eventually("the first one reads", async || first.stdout_text().contains("20\n")).await;
        // The second one continues from the log on disk.
        let drained = async { while receiver.recv().await.is_some() {} };
        second.copy_of(&first);
        tokio::join!(adopt(&world, &request, &second), drained).0
    };
    let (older, newer) = tokio::join!(running, taking_over);
    assert!(matches!(newer, Outcome::Failure { exit_code: 7, .. }), "{newer:?}");
    assert_eq!(second.stdout_text(), counted());
    assert!(matches!(older, Outcome::Error { kind: ErrorKind::Lost, .. }), "{older:?}");
    world.end().await;
}
