//! The initial files of the workspace reach a job completely, even if connections or processes fail meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use longshore_core::{Outcome, Record};
use longshore_executor::{CheckoutSource, CheckoutStream, JobRequest, Journal};
use support::images::tar_of;
use support::proxy::Proxy;
use support::{MemoryJournal, World, adopt, container, eventually, job, let_go, run_until};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bytes of the tar before it stops: more than one frame takes.
const BEFORE_THE_STOP: u64 = 1 << 20;

/// A tar in memory.
#[derive(Clone)]
struct Tar {
    bytes: Arc<Vec<u8>>,
    number: u64,
    /// Set if the first stream stops in its middle; becomes true when it does.
    stopped: Option<Arc<AtomicBool>>,
}

impl Tar {
    fn of(files: &[(&str, &[u8])]) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let files: Vec<_> = files.iter().map(|(path, data)| (*path, *data, 0o644)).collect();
        Self { bytes: Arc::new(tar_of(&files)), number: MADE.fetch_add(1, Ordering::Relaxed), stopped: None }
    }

    fn stopping(self) -> Self {
        Self { stopped: Some(Arc::default()), ..self }
    }

    fn has_stopped(&self) -> bool {
        self.stopped.as_ref().is_some_and(|stopped| stopped.load(Ordering::Relaxed))
    }
}

impl CheckoutSource for Tar {
    fn open(&self) -> BoxFuture<'_, io::Result<CheckoutStream>> {
        let whole = io::Cursor::new(self.bytes.as_ref().clone());
        let bytes: Pin<Box<dyn AsyncRead + Send>> = match &self.stopped {
            Some(stopped) if !self.has_stopped() => {
                Box::pin(whole.take(BEFORE_THE_STOP).chain(Stop(Arc::clone(stopped))))
            }
            _ => Box::pin(whole),
        };
        Box::pin(async { Ok(CheckoutStream { tar: self.number, bytes }) })
    }
}

/// A stream that records that it was reached, and never continues.
struct Stop(Arc<AtomicBool>);

impl AsyncRead for Stop {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.store(true, Ordering::Relaxed);
        Poll::Pending
    }
}

/// Returns one tar after the other, and then none.
struct InTurn(Mutex<Vec<Tar>>);

impl CheckoutSource for InTurn {
    fn open(&self) -> BoxFuture<'_, io::Result<CheckoutStream>> {
        let next = self.0.lock().unwrap().pop();
        Box::pin(async { next.ok_or_else(|| io::Error::other("there is no more"))?.open().await })
    }
}

fn in_turn(tars: &[&Tar]) -> Option<Arc<dyn CheckoutSource>> {
    let tars = tars.iter().rev().map(|tar| (*tar).clone()).collect();
    Some(Arc::new(InTurn(Mutex::new(tars))))
}

/// A tar that is larger than the part of it that is sent, and another tar.
fn half_and_other() -> (Tar, Tar) {
    let half = Tar::of(&[("first", b"of the half\n"), ("large", &vec![7; 3 << 20])]).stopping();
    (half, Tar::of(&[("a/file", b"of the other\n")]))
}

const LIST: &str = "find . -type f; cat a/file";
const LISTED: &str = "./a/file\nof the other\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_checkout_is_there_before_the_first_step() {
    let world = World::new().await;
    let mut request = job(&["cat a/file; wc -c < big"]);
    request.checkout = in_turn(&[&Tar::of(&[("a/file", b"hello\n"), ("big", &vec![7; 3 << 20])])]);
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!(ran.journal.stdout_text(), "hello\n3145728\n");
    world.end().await;
}

/// Runs the job with its connections cut once `tar` has stopped.
async fn run_with_a_cut(request: JobRequest, tar: &Tar) -> (Outcome, MemoryJournal, Vec<String>) {
    let proxy = Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    let journal = MemoryJournal::default();
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let cutting = async {
        eventually("the checkout is under way", async || tar.has_stopped()).await;
        proxy.take_calls();
        proxy.cut();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, cutting, drained);
    let calls = proxy.take_calls();
    world.end().await;
    (outcome, journal, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_was_cut_off_goes_on_where_it_was() {
    let tar = Tar::of(&[("large", &vec![7; 3 << 20]), ("a/file", b"hello\n")]).stopping();
    let mut request = job(&["cat a/file; wc -c < large"]);
    request.checkout = in_turn(&[&tar, &tar]);
    let (outcome, journal, calls) = run_with_a_cut(request, &tar).await;
    assert_eq!(outcome, Outcome::Success, "{}", journal.notes());
    assert_eq!(journal.stdout_text(), "hello\n3145728\n");
    assert!(calls.iter().all(|call| !call.contains("/containers/create")), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_was_made_anew_in_its_middle_is_begun_again_with_nothing_left_of_the_first() {
    let (half, other) = half_and_other();
    let mut request = job(&[LIST]);
    // It is opened once more when its number turns out to be another.
    request.checkout = in_turn(&[&half, &other, &other]);
    let (outcome, journal, _) = run_with_a_cut(request, &half).await;
    assert_eq!(outcome, Outcome::Success, "{}", journal.notes());
    assert_eq!(journal.stdout_text(), LISTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_runner_died_in_the_middle_of_its_checkout_starts_over_with_the_whole_of_another() {
    let world = World::new().await;
    let (half, other) = half_and_other();
    let (mut request, journal) = (job(&[LIST]), MemoryJournal::default());
    request.checkout = in_turn(&[&half]);
    run_until(&world, &request, journal.open(), async || half.has_stopped()).await;
    request.checkout = in_turn(&[&other]);
    assert_eq!(adopt(&world, &request, &journal).await, Outcome::Success, "{}", journal.notes());
    assert_eq!(journal.stdout_text(), LISTED);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_steps_run_needs_no_checkout_though_nothing_of_them_is_in_its_log_yet() {
    let world = World::new().await;
    let mut request = job(&["until [ -e go ]; do sleep 1; done; cat a/file"]);
    request.checkout = in_turn(&[&Tar::of(&[("a/file", b"hello\n")])]);
    let (sender, receiver) = channel();
    let hung = Hung { journal: MemoryJournal::default().open(), until: receiver };
    run_until(&world, &request, Box::new(hung), async || is_in_its_step(&world, &request).await).await;
    drop(sender);
    let_go(&world, &request).await;
    let journal = MemoryJournal::default();
    assert_eq!(adopt(&world, &request, &journal).await, Outcome::Success, "{}", journal.notes());
    assert_eq!(journal.stdout_text(), "hello\n");
    world.end().await;
}

async fn is_in_its_step(world: &World, request: &JobRequest) -> bool {
    let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
    if !objects.containers.iter().any(|object| object.attempt == Some(request.attempt_id())) {
        return false;
    }
    // The container may be created but not started.
    let processes = world.docker.top_processes(&container(world, request).await, None).await;
    let processes = processes.ok().and_then(|top| top.processes).unwrap_or_default();
    processes.into_iter().flatten().any(|word| word.contains("sleep 1"))
}

/// A journal that never writes and never returns.
struct Hung {
    journal: Box<dyn Journal>,
    until: Receiver<()>,
}

impl Journal for Hung {
    fn last_seq(&self) -> u64 {
        self.journal.last_seq()
    }

    fn bytes(&self) -> u64 {
        self.journal.bytes()
    }

    fn milestones(&self) -> Vec<Record<'static>> {
        self.journal.milestones()
    }

    fn append(&mut self, _: &[Record<'_>]) -> io::Result<()> {
        let _ = self.until.recv();
        Err(io::Error::other("its process is dead"))
    }
}
