//! A job outlives whoever follows it: adoption, cut connections, two who want the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use std::time::Duration;

use longshore_core::{ErrorKind, Outcome};
use longshore_executor::{AdoptRequest, ContainerFacts, JobRequest, JobUpdate};
use support::{MemoryJournal, World, boxed, eventually, job};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runs until the log says `until`, then drops the driver as a dying server would.
async fn run_and_die(
    world: &World,
    request: &JobRequest,
    journal: &MemoryJournal,
    until: &str,
) -> (ContainerFacts, u32) {
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request.clone(), boxed(journal), sender, CancellationToken::new());
    tokio::select! {
        outcome = running => panic!("it should have run on: {outcome:?}"),
        () = eventually("the job is under way", async || journal.stdout_text().contains(until)) => {}
    }
    let (mut facts, mut session) = (None, 0);
    while let Ok(update) = receiver.try_recv() {
        match update {
            JobUpdate::ContainerCreated(created) => facts = Some(created),
            JobUpdate::Session(number) => session = number,
            JobUpdate::Phase(_) | JobUpdate::StepStarted { .. } | JobUpdate::StepFinished { .. } => {}
        }
    }
    (facts.unwrap(), session)
}

async fn adopt(world: &World, request: &JobRequest, journal: &MemoryJournal, known: (ContainerFacts, u32)) -> Outcome {
    let (sender, mut receiver) = mpsc::channel(64);
    let request = AdoptRequest { job: request.clone(), facts: known.0, session: known.1 };
    let adopting = world.engine.adopt(request, boxed(journal), sender, CancellationToken::new());
    let drained = async { while receiver.recv().await.is_some() {} };
    tokio::join!(adopting, drained).0
}

/// Prints numbers, slowly enough to be interrupted.
const COUNT: &str = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 7";

fn counted() -> String {
    (1..=200).map(|i| format!("{i}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_adopted_and_its_log_has_no_gap_and_nothing_twice() {
    let world = World::new().await;
    let (request, journal) = (job(&[COUNT]), MemoryJournal::default());
    let known = run_and_die(&world, &request, &journal, "20\n").await;
    let outcome = adopt(&world, &request, &journal, known).await;
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), counted());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ended_while_nobody_was_there_is_read_from_its_volume() {
    let world = World::new().await;
    let (request, journal) = (job(&[COUNT]), MemoryJournal::default());
    let known = run_and_die(&world, &request, &journal, "20\n").await;
    eventually("the container has ended", async || {
        let found = world.docker.inspect_container(&known.0.container, None).await.unwrap();
        found.state.unwrap().running == Some(false)
    })
    .await;
    let outcome = adopt(&world, &request, &journal, known).await;
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), counted());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_end_is_in_the_journal_is_over_though_nobody_was_told_and_its_container_is_gone() {
    let world = World::new().await;
    let (request, journal) = (job(&["echo all of it; exit 7"]), MemoryJournal::default());
    let (sender, mut receiver) = mpsc::channel(64);
    world.engine.run_job(request.clone(), boxed(&journal), sender, CancellationToken::new()).await;
    world.engine.settled().await;
    let mut known = None;
    while let Some(update) = receiver.recv().await {
        if let JobUpdate::ContainerCreated(facts) = update {
            known = Some(facts);
        }
    }
    journal.reopen();
    let outcome = adopt(&world, &request, &journal, (known.unwrap(), 0)).await;
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), "all of it\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_job_is_lost() {
    let world = World::new().await;
    let (request, journal) = (job(&["echo up; sleep 60"]), MemoryJournal::default());
    let known = run_and_die(&world, &request, &journal, "up\n").await;
    let options = bollard::query_parameters::RemoveContainerOptionsBuilder::new().force(true).build();
    world.docker.remove_container(&known.0.container, Some(options)).await.unwrap();
    let outcome = adopt(&world, &request, &journal, known).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_cost_no_byte() {
    let proxy = support::proxy::Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    let (request, journal) = (job(&[COUNT]), MemoryJournal::default());
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, boxed(&journal), sender, CancellationToken::new());
    let cutting = async {
        for at in ["10\n", "40\n", "70\n", "100\n", "150\n"] {
            eventually("the job is under way", async || journal.stdout_text().contains(at)).await;
            proxy.refuse(true);
            proxy.cut();
            tokio::time::sleep(Duration::from_millis(150)).await;
            proxy.refuse(false);
        }
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, cutting, drained);
    assert!(matches!(outcome, Outcome::Failure { exit_code: 7, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), counted());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stays_away_is_an_error_after_a_while() {
    let proxy = support::proxy::Proxy::before(&support::docker_host());
    let world = World::with(|options| {
        options.docker_host = proxy.host();
        options.patience = Duration::from_millis(500);
    })
    .await;
    let (request, journal) = (job(&["echo up; sleep 30"]), MemoryJournal::default());
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, boxed(&journal), sender, CancellationToken::new());
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
    let (request, first, second) = (job(&[COUNT]), MemoryJournal::default(), MemoryJournal::default());
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request.clone(), boxed(&first), sender, CancellationToken::new());
    let taking_over = async {
        let (mut facts, mut session) = (None, 0);
        while session == 0 {
            match receiver.recv().await.unwrap() {
                JobUpdate::ContainerCreated(created) => facts = Some(created),
                JobUpdate::Session(number) => session = number,
                JobUpdate::Phase(_) | JobUpdate::StepStarted { .. } | JobUpdate::StepFinished { .. } => {}
            }
        }
        eventually("the first one reads", async || first.stdout_text().contains("20\n")).await;
        // The second goes on from the log as it is on disk.
        let drained = async { while receiver.recv().await.is_some() {} };
        second.copy_of(&first);
        tokio::join!(adopt(&world, &request, &second, (facts.unwrap(), session)), drained).0
    };
    let (older, newer) = tokio::join!(running, taking_over);
    assert!(matches!(newer, Outcome::Failure { exit_code: 7, .. } | Outcome::Error { .. }), "{newer:?}");
    assert!(matches!(older, Outcome::Error { kind: ErrorKind::Lost, .. }), "{older:?}");
    world.end().await;
}
