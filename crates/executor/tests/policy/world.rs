//! One engine in memory with several executors on it, each like a process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::{BuildId, JobId, JobPlan, Outcome, StepPlan};
use longshore_executor::{
    AdoptRequest, DockerAccess, Executor, ExecutorOptions, ImageAccess, JobCaches, JobRequest, JobUpdate, Limits,
    OperatorEnv, PullPolicy, Workspace,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::MemoryEngine;
use crate::journal::MemoryJournal;

/// How long these executors wait for an engine that is away.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long an agent may take to answer.
pub const AGENT_PATIENCE: Duration = Duration::from_secs(10);
pub const GRACE: Duration = Duration::from_secs(2);

pub struct World {
    pub engine: MemoryEngine,
    pub executor: Executor,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ExecutorOptions)) -> Self {
        let engine = MemoryEngine::new();
        let mut options = options();
        change(&mut options);
        Self { executor: Executor::new(Arc::new(engine.clone()), options), engine }
    }

    /// An executor of the next process.
    pub fn next_process(&self) -> Executor {
        Executor::new(Arc::new(self.engine.clone()), options())
    }

    pub async fn run(&self, request: JobRequest) -> (Outcome, MemoryJournal) {
        let journal = MemoryJournal::default();
        let outcome = run(&self.executor, request, &journal, CancellationToken::new()).await;
        (outcome, journal)
    }

    /// Starts a job and lets its process die once its log says `up`.
    pub async fn run_and_die(&self, request: &JobRequest) -> MemoryJournal {
        let journal = MemoryJournal::default();
        tokio::select! {
            outcome = run(&self.executor, request.clone(), &journal, CancellationToken::new()) => panic!("{outcome:?}"),
            () = logged(&journal, "up\n") => {}
        }
        journal
    }

    /// Adopts as the next process would, with nothing known but request and log.
    pub async fn adopt(&self, request: &JobRequest, journal: &MemoryJournal) -> Outcome {
        adopt(&self.next_process(), request, journal, CancellationToken::new()).await
    }

    /// Shuts down, and checks that everything of jobs is removed, whoever ran them.
    pub async fn end(self) {
        self.executor.shutdown(true).await;
        self.swept().await;
    }

    /// Like [`World::end`], for a process that died: sweeps what it had idle.
    pub async fn swept(self) {
        let next = self.next_process();
        next.settled().await;
        for _ in 0..2 {
            next.sweep(&std::collections::BTreeSet::new()).await.unwrap();
        }
        assert_eq!(self.engine.left(), [] as [String; 0], "left on the engine");
    }
}

fn options() -> ExecutorOptions {
    ExecutorOptions {
        sandboxes_ready: 0,
        patience: PATIENCE,
        agent_patience: AGENT_PATIENCE,
        pull_patience: Duration::from_secs(20),
        ..ExecutorOptions::default()
    }
}

pub async fn run(
    executor: &Executor,
    request: JobRequest,
    journal: &MemoryJournal,
    cancel: CancellationToken,
) -> Outcome {
    let (updates, mut told) = mpsc::channel(64);
    let running = executor.run_job(request, journal.open(), updates, cancel);
    let read = async { while told.recv().await.is_some() {} };
    ends(async { tokio::join!(running, read).0 }).await
}

pub async fn adopt(
    executor: &Executor,
    request: &JobRequest,
    journal: &MemoryJournal,
    cancel: CancellationToken,
) -> Outcome {
    adopt_until(executor, request, journal, cancel).await.0
}

/// Adopts, and returns the updates too.
pub async fn adopt_and_hear(
    executor: &Executor,
    request: &JobRequest,
    journal: &MemoryJournal,
) -> (Outcome, Vec<JobUpdate>) {
    adopt_until(executor, request, journal, CancellationToken::new()).await
}

async fn adopt_until(
    executor: &Executor,
    request: &JobRequest,
    journal: &MemoryJournal,
    cancel: CancellationToken,
) -> (Outcome, Vec<JobUpdate>) {
    let (updates, mut told) = mpsc::channel::<JobUpdate>(64);
    let request = AdoptRequest { job: request.clone(), session: 0, began: false };
    let adopting = executor.adopt(request, journal.open(), updates, cancel);
    let read = async {
        let mut heard = Vec::new();
        while let Some(update) = told.recv().await {
            // Its receiver says that it is stored.
            if !matches!(update, JobUpdate::StartsOver(_)) {
                heard.push(update);
            }
        }
        heard
    };
    ends(async { tokio::join!(adopting, read) }).await
}

/// Fails the test if a job takes longer than an hour of the tests' clock.
async fn ends<T>(job: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), job).await.expect("the job ends within an hour")
}

/// Waits until the job's output has this text.
pub async fn logged(journal: &MemoryJournal, text: &str) {
    until(text, || journal.stdout_text().contains(text)).await;
}

/// Waits until a note in the log has this text.
pub async fn noted(journal: &MemoryJournal, text: &str) {
    until(text, || journal.notes().contains(text)).await;
}

/// Waits for a condition, at most for an hour of the tests' clock.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3_600_000 / 5 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: not within an hour");
}

/// A job of one step.
pub fn job() -> JobRequest {
    let step =
        StepPlan { name: "step".to_owned(), run: Some("true".into()), shell: "sh".to_owned(), ..StepPlan::default() };
    JobRequest {
        build: BuildId::new(),
        job: JobId::new(),
        attempt: 1,
        scope: "repository".to_owned(),
        plan: JobPlan {
            key: "ci/test".to_owned(),
            pipeline: "ci".to_owned(),
            name: "test".to_owned(),
            job: "test".to_owned(),
            image: "busybox".into(),
            steps: vec![step],
            timeout_ms: 600_000,
            ..JobPlan::default()
        },
        operator: OperatorEnv::default(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        secret_files: BTreeMap::new(),
        known: BTreeMap::new(),
        masks: Vec::new(),
        checkout: None,
        artifacts: None,
        limits: Limits { grace: GRACE, ..Limits::default() },
        pull: PullPolicy::Missing,
        images: ImageAccess::default(),
        docker: DockerAccess::None,
        caches: JobCaches::default(),
        workspace: Workspace::default(),
    }
}
