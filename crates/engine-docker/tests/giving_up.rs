//! A caller that gives a job up leaves nothing of it: in a start that hangs, with a log that cannot be written, in an
//! adoption that fails; nor does a call to an engine that goes away in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use std::io;
use std::time::Duration;

use bollard::query_parameters::{RemoveImageOptions, TagImageOptionsBuilder};
use longshore_core::{ErrorKind, Outcome, Record};
use longshore_engine_docker::DockerEngine;
use longshore_executor::engine::Engine as _;
use longshore_executor::objects::Kind;
use longshore_executor::{AdoptRequest, EngineError, Executor, JobRequest, JobUpdate, Journal, Phase, PullPolicy};
use support::proxy::{Moment, Proxy};
use support::{BUSYBOX, MemoryJournal, World, collect, connect, eventually, job, run_and_die};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Adopts with nothing known but the request and the log. Returns the outcome and the updates.
async fn adopt(engine: &Executor, request: &JobRequest, journal: Box<dyn Journal>) -> (Outcome, Vec<JobUpdate>) {
    let (sender, receiver) = mpsc::channel(64);
    let request = AdoptRequest { job: request.clone(), session: 0, began: false };
    tokio::join!(engine.adopt(request, journal, sender, CancellationToken::new()), collect(receiver))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_does_not_wait_for_a_start_that_hangs() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    let (sender, mut receiver) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    let hanging = proxy.stop_at("/containers/create", 1, Moment::BeforeTheAnswer);
    let running = world.engine.run_job(job(&["true"]), MemoryJournal::default().open(), sender, cancel.clone());
    let hangs = async {
        hanging.await;
        cancel.cancel();
        tokio::time::sleep(Duration::from_secs(60)).await;
    };
    // The updates end before the call does, which still hangs then.
    let drained = async { while receiver.recv().await.is_some() {} };
    let told = async { tokio::join!(running, drained).0 };
    let outcome = tokio::select! {
        outcome = told => outcome,
        () = hangs => panic!("the call hangs, and so does what waits for it"),
    };
    assert_eq!(outcome, Outcome::Canceled);
    proxy.cut();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_while_a_job_starts_leaves_no_container() {
    let world = World::new().await;
    // Nothing listens on that port: the log gets a note, and the local image is used.
    let image = format!("localhost:1/longshore-test/busybox:{}", world.instance);
    let (repo, tag) = image.rsplit_once(':').unwrap();
    world.docker.tag_image(BUSYBOX, Some(TagImageOptionsBuilder::new().repo(repo).tag(tag).build())).await.unwrap();
    let mut request = job(&["sleep 600"]);
    request.plan.image = image.clone().into();
    request.pull = PullPolicy::Always;
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, Box::new(Unwritable), sender, CancellationToken::new());
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, ()) = tokio::join!(running, drained);
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Internal, .. }), "{outcome:?}");
    world.docker.remove_image(&image, None::<RemoveImageOptions>, None).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_could_not_be_adopted_does_not_go_on_once_the_engine_is_back() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::new().await;
    let mut options = world.options(proxy.host());
    options.patience = Duration::ZERO;
    let adopter = connect(options).await.unwrap();
    let (request, journal) = (job(&["echo up; sleep 600"]), MemoryJournal::default());
    run_and_die(&world, &request, &journal, "up\n").await;
    proxy.refuse(true);
    let (outcome, _) = adopt(&adopter, &request, journal.open()).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::EngineGone, .. }), "{outcome:?}");
    proxy.refuse(false);
    adopter.settled().await;
    adopter.shutdown(true).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_told_to_run_by_whoever_adopts_it() {
    let world = World::new().await;
    let (request, journal) = (job(&["echo up; sleep 1"]), MemoryJournal::default());
    run_and_die(&world, &request, &journal, "up\n").await;
    let (outcome, told) = adopt(&world.engine, &request, journal.open()).await;
    assert_eq!(outcome, Outcome::Success);
    assert!(told.contains(&JobUpdate::Phase(Phase::Running)), "{told:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_started_a_second_time_finds_nothing_of_the_first() {
    let world = World::new().await;
    let request = job(&["ls; echo up; touch mark; sleep 600"]);
    let (first, second) = (MemoryJournal::default(), MemoryJournal::default());
    run_and_die(&world, &request, &first, "up\n").await;
    // This is what a database that is older than the run knows.
    let mut again = request.clone();
    again.plan.steps[0].run = Some("ls; echo up".into());
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(again, second.open(), sender, CancellationToken::new());
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, ()) = tokio::join!(running, drained);
    assert_eq!(outcome, Outcome::Success);
    assert_eq!(second.stdout_text(), "up\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trial_of_overlays_makes_goes_once_the_engine_is_back_that_went_away_in_the_middle() {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::new().await;
    world.engine.prepare().await.unwrap();
    let engine = DockerEngine::connect(world.options(proxy.host()).docker()).await.unwrap();
    let made = proxy.stop_at("/attach", 0, Moment::BeforeTheAnswer);
    let leaving = async {
        made.await;
        proxy.refuse(true);
        proxy.cut();
    };
    let (tried, ()) = tokio::join!(engine.has_overlays(), leaving);
    assert!(tried.as_ref().is_err_and(EngineError::is_away), "{tried:?}");
    let there = async || {
        let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
        let volumes = objects.volumes.iter().filter(|volume| volume.kind == Some(Kind::Volume)).count();
        (objects.containers.len(), volumes)
    };
    assert_eq!(there().await, (1, 3));
    proxy.refuse(false);
    eventually("all is gone", async || there().await == (0, 0)).await;
    world.end().await;
}
