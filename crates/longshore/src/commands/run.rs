//! `longshore run`: runs a working tree's pipelines on the local engine, with the scheduler and executor of a server.
//!
//! Database and logs are in a temporary folder. A sandbox and caches stay behind for the next run.

pub(crate) mod caches;
mod follow;
mod interrupts;
mod plan;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use longshore_core::{
    BuildId, BuildPlan, Event, JobId, RegistryCredentials, RegistryHost, Timestamp, capability::GRANTABLE,
    docker::DockerGrant,
};
use longshore_engine_docker::{DockerEngine, DockerOptions};
use longshore_executor::{Executor, ExecutorOptions, Limits, names::Instance};
use longshore_git::{Git, Mirrors};
use longshore_scheduler::{Logins, Order, Pace, Planner, Report, Scheduler};
use longshore_store::{
    Store,
    builds::{self, NewBuild},
    jobs,
    repos::{self, NewRepo},
    schedules,
};
use tokio::sync::mpsc;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use self::{
    follow::{Followed, follow},
    interrupts::Interrupts,
    plan::{PlannedRun, plan_worktree},
    records::{Record, RunObjects},
};
use super::{ExitError, print_note};
use crate::{
    args::Run,
    ca_certificates::CaCertificates,
    caches::Caches,
    checkouts::Sources,
    docker_login,
    job_env::JobEnv,
    proxies,
    runner::{DOCKER_REGISTRIES, DockerSettings, JobDefaults, Runner},
    workspaces::Workspaces,
};

/// The default instance name of runs on the engine; `LONGSHORE_INSTANCE` overrides it.
const INSTANCE: &str = "run";
/// A sandbox that no run has used for this long ends by itself.
const SANDBOX_IDLE: Duration = Duration::from_secs(15 * 60);
/// A run that began this long ago is over, whatever the records say.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a run that is over waits until the engine has deleted its files. The engine goes on without it.
const DELETE_TIMEOUT: Duration = Duration::from_millis(800);
/// The exit code of a run that was quit by a second Ctrl-C.
const QUIT_EXIT_CODE: u8 = 130;
/// How long a run that was quit waits for its containers to be removed.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn run(args: Run) -> super::Result {
    let runtime = super::runtime()?;
    let ended = runtime.block_on(run_tree(args));
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn run_tree(args: Run) -> super::Result {
    let instance = instance()?;
    let docker = docker_options(&args, instance.clone());
    let options = ExecutorOptions { sandboxes_ready: 0, runtime_dir: Some(runs_dir()), ..ExecutorOptions::default() };
    // Connects to the engine and plans the working tree at the same time.
    let (engine, planned) = tokio::join!(DockerEngine::connect(docker), plan_worktree(&args));
    let PlannedRun { event, plan, files } = planned?;
    let hands_on_workspaces = plan.jobs.iter().any(|job| job.workspace_of.is_some());
    let uses_caches = plan.jobs.iter().any(|job| !job.cache.is_empty());
    let job_env = job_env(&args)?;
    let (registries, notes) = docker_login::credentials(&plan).await;
    for note in notes {
        print_note(&note)?;
    }
    let engine = engine.map_err(|error| ExitError::new(3, error.to_string()))?;
    let executor = Executor::new(Arc::new(engine), options);

    let (folder, store) = open_store().await?;
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let (order, orders) = mpsc::channel(256);
    let (reports_in, reports) = mpsc::channel(1024);
    let scheduler = start_scheduler(&args, &store, folder.path(), order, reports, &tasks, &shutdown);
    let caches = match uses_caches {
        true => caches::open(&args, &instance).await,
        false => None,
    };
    let keeps_caches = caches.is_some();
    let caches = caches.unwrap_or_else(|| Caches::new(store.clone(), None, Duration::ZERO));
    let workspaces = Workspaces::new(store.clone(), Arc::default());
    let runner = Runner {
        executor: executor.clone(),
        store: store.clone(),
        sources: Sources::Worktree(files),
        job_defaults: Arc::new(job_defaults(&args, job_env, registries)?),
        caches: caches.clone(),
        workspaces: workspaces.clone(),
        reports: reports_in,
    };
    tasks.spawn(runner.run(orders, shutdown.clone()));

    let mut interrupts = Interrupts::new()?;
    let build = create(&store, event, plan).await.map_err(|error| ExitError::new(3, format!("{error:#}")))?;
    let made = RunObjects {
        docker_host: args.engine.docker_host.clone(),
        instance: instance.to_string(),
        jobs: jobs::of_build(&store, build).await?.into_iter().map(|job| job.id).collect(),
        folder: folder.path().to_owned(),
    };
    let record = Record::write(&runs_dir(), build, &made);
    if let Err(error) = &record {
        tracing::warn!(%error, "if this run is killed, the next one does not remove what it leaves");
    }
    let mut sweeping = AbortOnDropHandle::new(tokio::spawn(records::sweep(executor.clone(), runs_dir(), made.clone())));
    let followed = follow(&store, &scheduler, build, &args, &mut interrupts).await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    let ended = match followed {
        Ok(Followed::Quit) => return Err(quit(&executor, &made.jobs).await.into()),
        Ok(Followed::Over(code)) => Ok(code),
        Err(error) => Err(error),
    };
    let mut nothing_is_left = executor.settled_or_deleting(DELETE_TIMEOUT).await;
    if hands_on_workspaces {
        workspaces.remove_later(&executor, build, ABANDONED_AFTER).await?;
        nothing_is_left = executor.settled_or_deleting(DELETE_TIMEOUT).await;
    }
    if keeps_caches {
        caches::leave(&args.engine.docker_host, &instance, &caches).await;
    }
    let _ = tokio::time::timeout(DELETE_TIMEOUT, &mut sweeping).await;
    executor.shutdown(nothing_is_left).await;
    store.close().await;
    if let (true, Ok(record)) = (nothing_is_left, record) {
        record.remove();
    }
    ended
}

/// Returns the name of the instance whose objects on the engine are the runs'.
fn instance() -> Result<Instance, ExitError> {
    let name = std::env::var("LONGSHORE_INSTANCE").unwrap_or_else(|_| INSTANCE.to_owned());
    Instance::new(name).map_err(|error| ExitError::new(2, format!("LONGSHORE_INSTANCE: {error}")))
}

/// Opens the store of a run, in a folder that is removed when it is dropped.
async fn open_store() -> anyhow::Result<(tempfile::TempDir, Store)> {
    let folder = tempfile::Builder::new()
        .prefix(records::FOLDER)
        .tempdir()
        .context("cannot create a temporary folder for the run")?;
    let store = Store::open_ephemeral(folder.path()).await.map_err(|error| ExitError::new(3, error.to_string()))?;
    Ok((folder, store))
}

fn docker_options(args: &Run, instance: Instance) -> DockerOptions {
    DockerOptions {
        sandbox_idle: Some(SANDBOX_IDLE),
        runtime_dir: Some(runs_dir()),
        ..DockerOptions::new(args.engine.docker_host.clone(), instance)
    }
}

/// Starts the scheduler of the run, whose mirrors lie in the run's folder.
fn start_scheduler(
    args: &Run,
    store: &Store,
    folder: &Path,
    orders: mpsc::Sender<Order>,
    reports: mpsc::Receiver<Report>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Scheduler {
    let available = || std::thread::available_parallelism().ok();
    let capacity = args.capacity.or_else(available).map_or(1, std::num::NonZero::get);
    let mirrors = Arc::new(Mirrors::new(Git::default(), folder.join("mirrors")));
    let logins = Logins { store: store.clone(), http: longshore_forge_client::Http::default() };
    let planner = Planner { mirrors, most_jobs: args.limits.max_jobs, logins };
    let pace = Pace { capacity, check_every: None };
    Scheduler::start(store.clone(), planner, pace, orders, reports, tasks, shutdown)
}

/// Returns what all jobs of the run get. It is the user's own engine: jobs get the capabilities that they ask for, and
/// its socket.
fn job_defaults(
    args: &Run,
    job_env: JobEnv,
    registries: BTreeMap<RegistryHost, RegistryCredentials>,
) -> anyhow::Result<JobDefaults> {
    Ok(JobDefaults {
        job_env,
        env: args.variables()?,
        secrets: args.all_secrets()?,
        scope: Some(own_scope()),
        registries: Some(registries),
        limits: Limits { capabilities: GRANTABLE.iter().map(|&name| name.to_owned()).collect(), ..Limits::default() },
        docker: DockerSettings {
            registries: DOCKER_REGISTRIES.iter().map(|&host| host.to_owned()).collect(),
            local_images: true,
            image_bytes: Some(u64::MAX),
            disk_bytes: Some(u64::MAX),
            builder: None,
            grant: Some(DockerGrant::Raw),
        },
        ..JobDefaults::default()
    })
}

/// Removes the running jobs, as far as that goes quickly.
async fn quit(executor: &Executor, jobs: &BTreeSet<JobId>) -> ExitError {
    let removed = tokio::time::timeout(QUIT_TIMEOUT, executor.remove_jobs(jobs)).await;
    match removed {
        Ok(Ok(_)) => ExitError::new(QUIT_EXIT_CODE, "quit"),
        Ok(Err(_)) | Err(_) => ExitError::new(QUIT_EXIT_CODE, "quit; the next run removes what is left"),
    }
}

/// Returns what jobs need of this machine's proxies and certificate authorities. The proxies that the Docker client
/// gives its containers take precedence.
fn job_env(args: &Run) -> anyhow::Result<JobEnv> {
    let (mut proxies, mut notes) = proxies::of_environment();
    match proxies::of_docker_client(&args.engine.docker_host) {
        Ok(of_client) => proxies.extend(of_client),
        Err(error) => notes.push(format!("jobs get no proxies of the Docker client: {error:#}")),
    }
    for note in notes {
        print_note(&note)?;
    }
    let ca_certificates = match &args.ca_file {
        Some(file) => CaCertificates::read(Some(file)).map_err(|error| ExitError::new(2, format!("{error:#}")))?,
        None => None,
    };
    let ca_certificates =
        ca_certificates.map(|ca_certificates| ca_certificates.for_jobs().to_owned()).unwrap_or_default();
    Ok(JobEnv::new(proxies, BTreeMap::new(), ca_certificates))
}

/// Returns the folder where all runs of this user find and lock sandboxes.
fn runs_dir() -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join(format!("longshore-{}", rustix::process::getuid().as_raw()))
}

/// Returns the scope within which sandboxes are reused: all runs of this person, who trusts their own working trees.
fn own_scope() -> String {
    format!("user {}", rustix::process::getuid().as_raw())
}

async fn create(store: &Store, event: Event, plan: BuildPlan) -> anyhow::Result<BuildId> {
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    let repo = repos::create(&mut tx, &local("local"), now).await?;
    // Otherwise the scheduler would ask its address for a default branch and its schedules.
    schedules::discovered(&mut tx, repo.id, &BTreeMap::new()).await?;
    let build = builds::create(&mut tx, &NewBuild::new(repo.id, event, plan, Vec::new()), now).await?;
    tx.commit().await?;
    Ok(build.id)
}

/// The repository that stands for a folder.
fn local(name: &str) -> NewRepo {
    NewRepo {
        name: name.to_owned(),
        forge: "git".to_owned(),
        clone_url: "https://localhost/local.git".to_owned(),
        public: false,
        default_branch: None,
    }
}
