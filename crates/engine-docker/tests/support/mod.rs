//! The environment of these tests: a real engine, test images made without a registry, and an instance of their own
//! that must leave nothing behind.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod guard;
pub mod images;
#[path = "../../../executor/tests/policy/journal.rs"]
pub mod journal;
pub mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use longshore_core::plan::{Probe, Ready, Resources, ServicePlan, WORKSPACE};
use longshore_core::{BuildId, DeniedAddresses, JobId, JobPlan, Outcome, StepPlan};
use longshore_engine_docker::{DockerEngine, DockerOptions};
use longshore_executor::names::Instance;
use longshore_executor::objects::{ContainerObject, Kind};
use longshore_executor::{
    AdoptRequest, CleanScope, DockerAccess, EngineError, Executor, ExecutorOptions, ImageAccess, JobRequest, JobUpdate,
    Journal, Limits, OperatorEnv, PullPolicy,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[allow(unused_imports, reason = "each test file uses its part")]
pub use guard::Guard;
#[allow(unused_imports, reason = "each test file uses its part")]
pub use images::{BUSYBOX, BUSYBOX_USER, NO_SHELL};
pub use journal::MemoryJournal;

/// The engine under test.
pub fn docker_host() -> String {
    std::env::var("LONGSHORE_TEST_DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// The program that becomes the agent: `cargo build -p longshore` makes it.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("LONGSHORE_TEST_PROGRAM") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("longshore");
    assert!(program.exists(), "{} is not there: run `cargo build -p longshore` first", program.display());
    program
}

/// A test's own instance on the engine. Call [`World::end`] last; a test that panics is cleaned up after on drop.
pub struct World {
    pub engine: Executor,
    pub docker: Docker,
    pub instance: Instance,
    /// The last session that an adoption announced, which a server keeps for the next one.
    session: AtomicU32,
    ended: bool,
    /// Shared by all worlds; the last one, which gets it exclusively, removes the agent too.
    lock: File,
    guard: Option<Guard>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let docker = Docker::connect_with_unix(&docker_host(), 120, bollard::API_DEFAULT_VERSION).unwrap();
        let docker = docker.negotiate_version().await.unwrap();
        let lock = File::create(std::env::temp_dir().join("longshore-executor-tests.lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
        images::ensure(&docker).await;
        let instance = Instance::new(format!("test-{:08x}", rand::random::<u32>())).unwrap();
        let mut options = options(docker_host(), &instance);
        change(&mut options);
        // With LONGSHORE_TEST_GUARD, all of these tests are those of a server behind a guard.
        let guard = match std::env::var_os("LONGSHORE_TEST_GUARD") {
            Some(_) => Some(Guard::start(&options.docker_host, &instance, options.executable.clone()).await),
            None => None,
        };
        if let Some(guard) = &guard {
            options.docker_host = guard.host();
        }
        let engine = connect(options).await.unwrap();
        Self { engine, docker, instance, session: AtomicU32::new(0), ended: false, lock, guard }
    }

    /// Whether a guard stands before the engine.
    pub fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// Options for another connection to the same instance, through another socket.
    pub fn options(&self, docker_host: String) -> Options {
        options(docker_host, &self.instance)
    }

    /// Runs a job to its end and returns what it left.
    pub async fn run(&self, request: JobRequest) -> Ran {
        let (ran, _) = self.run_until(request, CancellationToken::new()).await;
        ran
    }

    pub async fn run_until(&self, request: JobRequest, cancel: CancellationToken) -> (Ran, Duration) {
        let journal = MemoryJournal::default();
        let (sender, receiver) = mpsc::channel(64);
        let began = Instant::now();
        let collected = tokio::spawn(collect(receiver));
        let outcome = self.engine.run_job(request, journal.open(), sender, cancel).await;
        let took = began.elapsed();
        (Ran { outcome, journal, updates: collected.await.unwrap() }, took)
    }

    /// Removes a container behind the executor's back. An engine under load may fail to at first, and keeps the rest of
    /// it.
    pub async fn take_away(&self, container: &str) {
        eventually("the container is gone", async || {
            let force = RemoveContainerOptionsBuilder::new().force(true).build();
            match self.docker.remove_container(container, Some(force)).await {
                Ok(()) => true,
                Err(bollard::errors::Error::DockerResponseServerError { status_code, .. }) => status_code == 404,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
    }

    /// Removes everything, and checks that nothing is left.
    pub async fn end(mut self) {
        self.engine.shutdown(true).await;
        let objects = self.engine.objects(Some(&self.instance)).await.unwrap();
        assert!(objects.volumes.iter().all(|volume| volume.kind == Some(Kind::Agent)), "left: {objects:?}");
        assert_eq!(objects.containers, [], "left");
        self.clean().await;
        for network in self.engine.objects(Some(&self.instance)).await.unwrap().networks {
            assert!(self.is_miscounted(network.name.as_str()).await, "left: {network:?}");
        }
        self.ended = true;
    }

    /// Whether the engine keeps a network for an endpoint that is not there, until it is restarted (moby/moby#42119).
    async fn is_miscounted(&self, network: &str) -> bool {
        let inspected = self.docker.inspect_network(network, None).await.unwrap();
        let refused = self.docker.remove_network(network).await.err().map(|error| error.to_string());
        inspected.containers.is_none_or(|containers| containers.is_empty())
            && refused.is_some_and(|why| why.contains("has active endpoints"))
    }

    async fn clean(&self) {
        let alone = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok();
        self.engine.clean(&CleanScope::Instance { agent: alone }).await.unwrap();
    }
}

/// The options of an executor on Docker: those of the executor, and those of the engine.
#[derive(Debug, Clone)]
pub struct Options {
    pub docker_host: String,
    pub instance: Instance,
    pub executable: PathBuf,
    pub sandbox_idle: Option<Duration>,
    pub denied: Vec<DeniedAddresses>,
    executor: ExecutorOptions,
}

fn options(docker_host: String, instance: &Instance) -> Options {
    Options {
        docker_host,
        instance: instance.clone(),
        executable: program(),
        sandbox_idle: None,
        denied: Vec::new(),
        executor: ExecutorOptions {
            sandboxes_ready: 0,
            // No registry will come back, so do not wait for one.
            pull_patience: Duration::ZERO,
            ..ExecutorOptions::default()
        },
    }
}

impl std::ops::Deref for Options {
    type Target = ExecutorOptions;

    fn deref(&self) -> &ExecutorOptions {
        &self.executor
    }
}

impl std::ops::DerefMut for Options {
    fn deref_mut(&mut self) -> &mut ExecutorOptions {
        &mut self.executor
    }
}

impl Options {
    pub fn docker(&self) -> DockerOptions {
        DockerOptions {
            executable: self.executable.clone(),
            sandbox_idle: self.sandbox_idle,
            denied: self.denied.clone(),
            runtime_dir: self.runtime_dir.clone(),
            ..DockerOptions::new(self.docker_host.clone(), self.instance.clone())
        }
    }
}

/// An executor on the engine.
pub async fn connect(options: Options) -> Result<Executor, EngineError> {
    let engine = DockerEngine::connect(options.docker()).await?;
    Ok(Executor::new(Arc::new(engine), options.executor))
}

impl Drop for World {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The test failed; clean up the engine anyway.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(self.clean());
            });
        });
    }
}

/// The result of a job.
pub struct Ran {
    pub outcome: Outcome,
    pub journal: MemoryJournal,
    pub updates: Vec<JobUpdate>,
}

/// Collects a job's updates until its end.
pub async fn collect(mut receiver: mpsc::Receiver<JobUpdate>) -> Vec<JobUpdate> {
    let mut all = Vec::new();
    while let Some(update) = receiver.recv().await {
        // A job that starts over waits until this one is dropped, as a server drops it once it is stored.
        if !matches!(update, JobUpdate::StartsOver(_)) {
            all.push(update);
        }
    }
    all
}

/// A job of these scripts on busybox.
pub fn job(scripts: &[&str]) -> JobRequest {
    JobRequest {
        build: BuildId::new(),
        job: JobId::new(),
        attempt: 1,
        scope: "example/repo trusted".to_owned(),
        plan: plan(scripts),
        operator: OperatorEnv::default(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        secret_files: BTreeMap::new(),
        known: BTreeMap::new(),
        masks: Vec::new(),
        checkout: None,
        artifacts: None,
        limits: Limits { grace: Duration::from_secs(30), ..Limits::default() },
        pull: PullPolicy::Missing,
        images: ImageAccess::default(),
        docker: DockerAccess::None,
        caches: longshore_executor::JobCaches::default(),
        workspace: longshore_executor::Workspace::default(),
    }
}

pub fn plan(scripts: &[&str]) -> JobPlan {
    JobPlan {
        key: "ci/test".to_owned(),
        pipeline: "ci".to_owned(),
        name: "test".to_owned(),
        job: "test".to_owned(),
        image: BUSYBOX.into(),
        steps: scripts.iter().enumerate().map(|(at, run)| step(&format!("step {at}"), run)).collect(),
        timeout_ms: 600_000,
        ..JobPlan::default()
    }
}

pub fn step(name: &str, run: &str) -> StepPlan {
    StepPlan { name: name.to_owned(), run: Some(run.into()), shell: "sh".to_owned(), ..StepPlan::default() }
}

/// Waits until `condition` is true; panics after five minutes, which a busy machine may need.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(300);
    while !condition().await {
        assert!(Instant::now() < give_up, "{what}: not within 300 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs the job until it prints "up", then kills its container from outside, as somebody on the host would.
pub async fn run_and_kill(world: &World, request: JobRequest) -> (Outcome, MemoryJournal) {
    let name = request.attempt_id().container_name().to_string();
    let journal = MemoryJournal::default();
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let killing = async {
        eventually("the step is up", async || journal.stdout_text() == "up\n").await;
        let options = bollard::query_parameters::KillContainerOptionsBuilder::new().signal("KILL").build();
        world.docker.kill_container(&name, Some(options)).await.unwrap();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, killing, drained);
    (outcome, journal)
}

/// Runs the job until the log contains `until`, then drops the future, like a dying server.
pub async fn run_and_die(world: &World, request: &JobRequest, journal: &MemoryJournal, until: &str) {
    run_until(world, request, journal.open(), async || journal.stdout_text().contains(until)).await;
}

/// Like [`run_and_die`], until a condition is true.
pub async fn run_until(
    world: &World,
    request: &JobRequest,
    journal: Box<dyn Journal>,
    condition: impl AsyncFnMut() -> bool,
) {
    let (sender, _updates) = mpsc::channel(64);
    let running = world.engine.run_job(request.clone(), journal, sender, CancellationToken::new());
    tokio::select! {
        outcome = running => panic!("it should have run on: {outcome:?}"),
        () = eventually("the job is under way", condition) => {}
    }
}

/// Adopts the job as a server does at its start, with nothing known but the request, the log and the last session.
pub async fn adopt(world: &World, request: &JobRequest, journal: &MemoryJournal) -> Outcome {
    world.engine.sweep(&BTreeSet::from([request.attempt_id()])).await.unwrap();
    let (sender, mut receiver) = mpsc::channel(64);
    let session = world.session.load(Ordering::Relaxed);
    let request = AdoptRequest { job: request.clone(), session, began: false };
    let adopting = world.engine.adopt(request, journal.open(), sender, CancellationToken::new());
    let drained = async {
        while let Some(update) = receiver.recv().await {
            if let JobUpdate::Session(number) = update {
                world.session.store(number, Ordering::Relaxed);
            }
        }
    };
    tokio::join!(adopting, drained).0
}

/// Puts a file `go` into the job's workspace, for which its steps wait.
pub async fn let_go(world: &World, request: &JobRequest) {
    let options = UploadToContainerOptionsBuilder::new().path(WORKSPACE).build();
    let go = bollard::body_full(images::tar_of(&[("go", b"", 0o644)]).into());
    let name = request.attempt_id().container_name();
    world.docker.upload_to_container(name.as_str(), Some(options), go).await.unwrap();
}

/// The id of the request's container.
pub async fn container(world: &World, request: &JobRequest) -> String {
    let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
    let of_job = |object: &&ContainerObject| object.kind == Kind::Job && object.attempt == Some(request.attempt_id());
    objects.containers.iter().find(of_job).expect("the job's container").id.to_string()
}

pub fn service(name: &str, image: &str, command: &[&str]) -> ServicePlan {
    ServicePlan {
        name: name.to_owned(),
        image: image.into(),
        pull: None,
        env: BTreeMap::new(),
        entrypoint: Vec::new(),
        command: command.iter().map(|&word| word.into()).collect(),
        ready: None,
        user: None,
        resources: Resources::default(),
    }
}

pub fn shell_service(name: &str, script: &str, probe: Probe, timeout_ms: u64) -> ServicePlan {
    let ready = Some(Ready { probe, timeout_ms });
    ServicePlan { ready, ..service(name, BUSYBOX, &["sh", "-c", script]) }
}
