//! `longshore run`: runs a working tree's pipelines on the local engine, with the scheduler and executor of a server.
//!
//! Database and logs are in a temporary folder. Only a sandbox stays behind, for the next run.

use std::{
    collections::{BTreeMap, HashSet},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use longshore_core::{
    BuildId, BuildPlan, Event, EventName, RepoId, Severity, Status, Timestamp,
    access::{Actor, Via},
    docker::DockerGrant,
    outcome::human_duration,
};
use longshore_engine_docker::{DockerEngine, DockerOptions};
use longshore_executor::{Executor, ExecutorOptions, names::Instance, runtime_dir};
use longshore_files::logs::{Mark, MarkKind, Renderer, StepHead};
use longshore_git::{Git, Mirrors, Worktree};
use longshore_pipeline::{Planned, RepoFacts, report};
use longshore_scheduler::{Pace, Planner, Scheduler};
use longshore_store::{
    Store,
    builds::{self, NewBuild},
    jobs::{self, Job},
    logs,
    repos::{self, NewRepo},
    schedules,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Ended,
    failures::{self, FailedJob},
    lint,
    progress::Progress,
};
use crate::{
    args::{Run, RunEvent},
    authorities::Authorities,
    cache_upkeep::{Upkeep, end_old_uses},
    caches::Caches,
    checkouts::Sources,
    docker_access::{DOCKER_REGISTRIES, DockerSettings},
    job_env::JobEnv,
    proxies,
    runner::{Extras, Runner},
    workspaces::Workspaces,
};

/// The default instance name of runs on the engine; `LONGSHORE_INSTANCE` overrides it.
const INSTANCE: &str = "run";
/// A sandbox that no run has used for this long ends by itself.
const SANDBOX_IDLE: Duration = Duration::from_secs(15 * 60);
/// A run that began this long ago is over, whatever the records say.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// The most bytes that the caches of all runs of a user take on one engine.
const BUDGET: u64 = 20 << 30;

pub(crate) fn run(args: Run) -> super::Result {
    let runtime = super::runtime()?;
    let ended = runtime.block_on(run_tree(args));
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn run_tree(args: Run) -> super::Result {
    let again = command_again(&args);
    let instance = std::env::var("LONGSHORE_INSTANCE").unwrap_or_else(|_| INSTANCE.to_owned());
    let instance = Instance::new(instance).map_err(|error| Ended::new(2, format!("LONGSHORE_INSTANCE: {error}")))?;
    let name = instance.clone();
    let docker = DockerOptions {
        sandbox_idle: Some(SANDBOX_IDLE),
        runtime_dir: Some(runs_dir()),
        ..DockerOptions::new(args.engine.docker_host.clone(), instance)
    };
    let options = ExecutorOptions { sandboxes_ready: 0, runtime_dir: Some(runs_dir()), ..ExecutorOptions::default() };
    // Connects to the engine and plans the working tree at the same time.
    let (engine, planned) = tokio::join!(DockerEngine::connect(docker), plan_worktree(&args));
    let (event, plan, source) = planned?;
    let hands_on_workspaces = plan.jobs.iter().any(|job| job.workspace_of.is_some());
    let uses_caches = plan.jobs.iter().any(|job| !job.cache.is_empty());
    let job_env = job_env(&args)?;
    let engine = engine.map_err(|error| Ended::new(3, error.to_string()))?;
    let executor = Executor::new(Arc::new(engine), options);

    let folder = tempfile::Builder::new().prefix("longshore-run-").tempdir().context("no folder for the run")?;
    let store = Store::open_ephemeral(folder.path()).await.map_err(|error| Ended::new(3, error.to_string()))?;
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let (order, orders) = mpsc::channel(256);
    let (reports_in, reports) = mpsc::channel(1024);
    let capacity =
        args.capacity.or_else(|| std::thread::available_parallelism().ok()).map_or(1, std::num::NonZero::get);
    let mirrors = Arc::new(Mirrors::new(Git::default(), folder.path().join("mirrors")));
    let planner = Planner { mirrors, most_jobs: args.limits.max_jobs, forges: longshore_forge_client::Http::default() };
    let scheduler = Scheduler::start(
        store.clone(),
        planner,
        Pace { capacity, look_every: None },
        order,
        reports,
        &tasks,
        &shutdown,
    );
    let caches = match uses_caches {
        true => kept_caches(&args, &name).await,
        false => None,
    };
    let keeps = caches.is_some();
    let caches = caches.unwrap_or_else(|| Caches::new(store.clone(), None));
    let runner = Runner {
        executor: executor.clone(),
        store: store.clone(),
        sources: Sources::Worktree(source),
        extras: Arc::new(Extras {
            job_env,
            env: args.env,
            secrets: args.secrets,
            scope: Some(own_scope()),
            // It is the user's own engine.
            docker: DockerSettings {
                registries: DOCKER_REGISTRIES.iter().map(|&host| host.to_owned()).collect(),
                local_images: true,
                grant: Some(DockerGrant::Raw),
            },
            ..Extras::default()
        }),
        caches: caches.clone(),
        workspaces: Workspaces::new(store.clone()),
        reports: reports_in,
    };
    tasks.spawn(runner.run(orders, shutdown.clone()));

    let build = create(&store, event, plan).await.map_err(|error| Ended::new(3, format!("{error:#}")))?;
    let ended = follow(&store, &scheduler, build, args.engine.json, &again).await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    executor.settled().await;
    if hands_on_workspaces {
        Workspaces::new(store.clone()).remove(&executor, build, ABANDONED).await?;
    }
    if keeps {
        look_after_caches(&executor, caches).await;
    }
    executor.shutdown(true).await;
    store.close().await;
    ended
}

/// Opens the records of what runs keep for each other, and finds this folder's. Without them a run is one without caches.
async fn kept_caches(args: &Run, instance: &Instance) -> Option<Caches> {
    let opened = async {
        let folder = cache_dir().context("neither XDG_CACHE_HOME nor HOME is set")?;
        let host = hex::encode(&Sha256::digest(args.engine.docker_host.as_bytes())[..4]);
        let store = Store::open_shared(&folder.join(format!("caches-{instance}-{host}"))).await?;
        end_old_uses(&store, ABANDONED).await?;
        let folder = args.dir.canonicalize()?;
        let name = format!("local/{}", hex::encode(&Sha256::digest(folder.as_os_str().as_encoded_bytes())[..16]));
        let repo = match repos::by_name(&store, &name).await? {
            Some(repo) => repo.id,
            None => create_repo(&store, &name).await?,
        };
        anyhow::Ok(Caches::new(store, Some(repo)))
    };
    match opened.await {
        Ok(caches) => Some(caches),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "longshore: nothing is kept between runs: {error:#}");
            None
        }
    }
}

async fn create_repo(store: &Store, name: &str) -> anyhow::Result<RepoId> {
    let mut tx = store.write().await?;
    let repo = repos::create(&mut tx, &local(name), Timestamp::now()).await;
    match repo {
        Ok(repo) => {
            tx.commit().await?;
            Ok(repo.id)
        }
        Err(error) => {
            drop(tx);
            // Another run of this folder was first.
            repos::by_name(store, name).await?.map(|repo| repo.id).ok_or_else(|| error.into())
        }
    }
}

/// Measures what was saved, and lets go of what is over the budget. One run at a time.
async fn look_after_caches(executor: &Executor, caches: Caches) {
    let _lock = runtime_dir::lock(Some(&runs_dir()), "caches").await;
    let store = caches.store().clone();
    let upkeep = Upkeep { executor: executor.clone(), caches, budget: BUDGET };
    if let Err(error) = upkeep.pass().await {
        let _ = writeln!(std::io::stderr(), "longshore: the caches are looked after by the next run: {error}");
    }
    store.close().await;
}

/// Returns the folder where this user's programs keep what they can make again.
fn cache_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    base.map(|base| base.join("longshore"))
}

/// Returns what jobs need of this machine's proxies and authorities. The proxies that the Docker client gives its
/// containers win.
fn job_env(args: &Run) -> anyhow::Result<JobEnv> {
    let (mut proxies, mut notes) = proxies::of_environment();
    match proxies::of_docker_client(&args.engine.docker_host) {
        Ok(of_client) => proxies.extend(of_client),
        Err(error) => notes.push(format!("jobs get no proxies of the Docker client: {error:#}")),
    }
    for note in notes {
        writeln!(std::io::stderr(), "longshore: {note}")?;
    }
    let authorities = match &args.ca_file {
        Some(file) => Authorities::read(Some(file)).map_err(|error| Ended::new(2, format!("{error:#}")))?,
        None => None,
    };
    let authorities = authorities.map(|authorities| authorities.for_jobs().to_owned()).unwrap_or_default();
    Ok(JobEnv::new(proxies, BTreeMap::new(), authorities))
}

/// Returns the folder where all runs of this user find and lock sandboxes.
fn runs_dir() -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join(format!("longshore-{}", rustix::process::getuid().as_raw()))
}

/// Plans the working tree. Returns the event, its plan, and the files.
async fn plan_worktree(args: &Run) -> anyhow::Result<(Event, BuildPlan, longshore_git::TarSource)> {
    if !args.dir.is_dir() {
        return Err(Ended::new(2, format!("{} is not a folder", args.dir.display())).into());
    }
    let checked = lint::check(&args.dir, args.limits.max_jobs)?;
    if !checked.diagnostics.is_empty() {
        std::io::stderr().write_all(report::human(&checked.diagnostics).as_bytes())?;
    }
    if checked.diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(Ended::new(2, "the pipeline has errors").into());
    }
    let git = match &args.ca_file {
        Some(file) => match Authorities::read(Some(file)).map_err(|error| Ended::new(2, format!("{error:#}")))? {
            Some(authorities) => Git::default().with_tls(authorities.tls()?),
            None => Git::default(),
        },
        None => Git::default(),
    };
    let worktree = Worktree::open(&git, &args.dir).await.map_err(|e| Ended::new(2, e.to_string()))?;
    let facts = worktree.facts();
    let name = match args.event {
        RunEvent::Push => EventName::Push,
        RunEvent::Tag => EventName::Tag,
        RunEvent::Manual => EventName::Manual,
    };
    let git_ref = match args.event {
        RunEvent::Tag => "refs/tags/v0.0.0-local".to_owned(),
        RunEvent::Push | RunEvent::Manual if facts.git_ref == "HEAD" => "refs/heads/main".to_owned(),
        RunEvent::Push | RunEvent::Manual => facts.git_ref,
    };
    let event = Event {
        message: facts.facts.message,
        author: facts.facts.author,
        author_email: facts.facts.email,
        sender: std::env::var("USER").unwrap_or_default(),
        default_branch: facts.default_branch.clone(),
        inputs: args.inputs.iter().cloned().collect(),
        ..Event::new(name, git_ref, facts.commit)
    };
    let repo = RepoFacts {
        name: folder_name(&args.dir),
        clone_url: facts.origin.unwrap_or_default(),
        forge: "git".to_owned(),
        default_branch: facts.default_branch,
        // Path filters do not apply: the user wants the pipeline to run.
        changed_files: None,
    };
    let plan = match checked.plan(&event, &repo) {
        Planned::Build(plan) => {
            let chosen = choose(plan, args.pipeline.as_deref(), args.job.as_deref())?;
            approve_or_leave_out(chosen, args.approve)?
        }
        Planned::Broken(diagnostics) => {
            std::io::stderr().write_all(report::human(&diagnostics).as_bytes())?;
            return Err(Ended::new(2, "the pipeline has errors").into());
        }
        Planned::Nothing(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            return Err(Ended::new(2, format!("no pipeline runs for this event: {}", reasons.join("; "))).into());
        }
        Planned::Refused(reason) => return Err(Ended::new(2, reason).into()),
    };
    let wants_lfs = plan.jobs.iter().any(|job| job.checkout.as_ref().is_some_and(|checkout| checkout.lfs));
    let lfs = wants_lfs.then(|| cache_dir().unwrap_or_else(std::env::temp_dir).join("lfs"));
    let (tar, notes) = worktree.tar(lfs.as_deref()).await.map_err(|error| Ended::new(3, error.to_string()))?;
    for note in notes {
        writeln!(std::io::stderr(), "longshore: {note}")?;
    }
    Ok((event, plan, tar))
}

/// Returns the scope within which sandboxes are reused: all runs of this person, who trusts their own working trees.
fn own_scope() -> String {
    format!("user {}", rustix::process::getuid().as_raw())
}

fn folder_name(dir: &Path) -> String {
    let name = dir.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "local".to_owned())
}

/// Keeps only the jobs that were asked for, with everything that they need.
fn choose(mut plan: BuildPlan, pipeline: Option<&str>, job: Option<&str>) -> anyhow::Result<BuildPlan> {
    if let Some(name) = pipeline {
        let all: HashSet<String> = plan.jobs.iter().map(|job| job.pipeline.clone()).collect();
        plan.jobs.retain(|job| job.pipeline == name);
        if plan.jobs.is_empty() {
            let all = all.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Ended::new(2, format!("no pipeline `{name}` for this event; available: {all}")).into());
        }
    }
    if let Some(name) = job {
        let mut wanted: HashSet<String> =
            plan.jobs.iter().filter(|job| super::is_called(&job.name, name)).map(|job| job.key.clone()).collect();
        if wanted.is_empty() {
            let all: Vec<&str> = plan.jobs.iter().map(|job| job.name.as_str()).collect();
            return Err(Ended::new(2, format!("no job `{name}`; available: {}", all.join(", "))).into());
        }
        let mut before = 0;
        while wanted.len() > before {
            before = wanted.len();
            let needs = plan.jobs.iter().filter(|job| wanted.contains(&job.key)).flat_map(|job| &job.needs);
            let needs: Vec<String> = needs.map(|need| need.key.clone()).collect();
            wanted.extend(needs);
        }
        plan.jobs.retain(|job| wanted.contains(&job.key));
    }
    Ok(plan)
}

/// Approves the jobs that wait for approval, or else leaves them out together with the jobs that need them.
fn approve_or_leave_out(mut plan: BuildPlan, approve: bool) -> anyhow::Result<BuildPlan> {
    if approve {
        for job in &mut plan.jobs {
            job.approval = None;
        }
        return Ok(plan);
    }
    let asking: Vec<_> = plan.jobs.iter().filter(|job| job.approval.is_some()).map(|job| job.name.clone()).collect();
    if asking.is_empty() {
        return Ok(plan);
    }
    let mut left_out: HashSet<String> =
        plan.jobs.iter().filter(|job| job.approval.is_some()).map(|job| job.key.clone()).collect();
    let mut before = 0;
    while left_out.len() > before {
        before = left_out.len();
        let needy = plan.jobs.iter().filter(|job| job.needs.iter().any(|need| left_out.contains(&need.key)));
        let needy: Vec<String> = needy.map(|job| job.key.clone()).collect();
        left_out.extend(needy);
    }
    plan.jobs.retain(|job| !left_out.contains(&job.key));
    let message = format!("awaiting approval: {}; run them with `--approve`", asking.join(", "));
    if plan.jobs.is_empty() {
        return Err(Ended::new(2, format!("all remaining jobs are {message}")).into());
    }
    writeln!(std::io::stderr(), "longshore: skipped, with the jobs that need them: {message}")?;
    Ok(plan)
}

async fn create(store: &Store, event: Event, plan: BuildPlan) -> anyhow::Result<BuildId> {
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    let repo = repos::create(&mut tx, &local("local"), now).await?;
    // Otherwise the scheduler would ask its address for a default branch and its schedules.
    schedules::discovered(&mut tx, repo.id, &BTreeMap::new()).await?;
    let build = NewBuild {
        repo: repo.id,
        event,
        plan,
        diagnostics: Vec::new(),
        delivery: None,
        rerun_of: None,
        carried_over: Vec::new(),
    };
    let build = builds::create(&mut tx, &build, now).await?;
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

/// Prints the build's logs until it has ended. The first Ctrl-C cancels the build, the second exits at once.
async fn follow(store: &Store, scheduler: &Scheduler, build: BuildId, json: bool, again: &str) -> super::Result {
    let all = jobs::of_build(store, build).await?;
    let progress = Arc::new(Progress::new(all.iter().map(|job| job.name.as_str()), json));
    let mut printing = tokio::task::JoinSet::new();
    for (index, job) in all.into_iter().enumerate() {
        printing.spawn(print_log(store.clone(), job, index, Arc::clone(&progress)));
    }
    let watching = tokio::spawn(update_progress(store.clone(), build, Arc::clone(&progress)));
    loop {
        tokio::select! {
            printed = printing.join_next() => match printed {
                Some(printed) => printed??,
                None => break,
            },
            signal = tokio::signal::ctrl_c() => {
                signal?;
                if progress.cancel() {
                    return Err(Ended::new(130, "quitting; `longshore clean` removes what is left").into());
                }
                let by = Actor { name: "longshore run".to_owned(), via: Via::Token, token: None };
                scheduler.cancel_build(build, by).await?;
            }
        }
    }
    watching.abort();
    let jobs = jobs::of_build(store, build).await?;
    let status = builds::get(store, build).await?.map_or(Status::Error, |build| build.status);
    progress.finish();
    if json {
        super::print_json(&summary_json(status, &jobs))?;
    } else {
        print_summary(status, &jobs, &super::tests::summary(store, build).await?)?;
        failures::write(&mut std::io::stdout().lock(), &failed_jobs(store, &jobs, again).await?)?;
    }
    Ok(ExitCode::from(match status {
        Status::Success | Status::Skipped => 0,
        Status::Error => 3,
        Status::Failure | Status::Canceled | Status::TimedOut => 1,
        Status::Blocked | Status::Queued | Status::Running | Status::Canceling => 3,
    }))
}

async fn print_log(store: Store, job: Job, index: usize, progress: Arc<Progress>) -> anyhow::Result<()> {
    let plan = jobs::plan(&store, job.id).await?.context("the job has no plan")?;
    let mut lines = progress.lines(index, &job.name);
    let mut text = Vec::new();
    loop {
        let mut renderer = Renderer::text(StepHead::from_plan(&plan), None);
        let mut reader = logs::follow(&store, job.id, 0).await?;
        let (_, attempt) = reader.log();
        if attempt > 1 {
            lines.write(format!("-- attempt {attempt}\n").as_bytes())?;
        }
        while let Some(batch) = reader.next().await? {
            for (_, record) in batch.records() {
                renderer.render(&record, &mut text);
            }
            lines.write(&text)?;
            text.clear();
        }
        lines.finish()?;
        // Continues if another attempt has started meanwhile.
        if jobs::get(&store, job.id).await?.is_none_or(|job| job.log_of() == reader.log()) {
            return Ok(());
        }
    }
}

/// Updates the progress lines of running and waiting jobs on every change in the store.
async fn update_progress(store: Store, build: BuildId, progress: Arc<Progress>) {
    let mut changed = store.watch();
    loop {
        changed.borrow_and_update();
        if let Ok(jobs) = jobs::of_build(&store, build).await {
            for (index, job) in jobs.iter().enumerate() {
                let step = job.steps.iter().find(|step| step.status == Status::Running);
                progress.show(index, job.status, step.map(|step| step.name.as_str()).or(preparing(job)));
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Describes what a job does before its first step.
fn preparing(job: &Job) -> Option<&'static str> {
    match (job.status, job.started_at, job.starting_at, job.pulling_at) {
        (Status::Running, None, None, Some(_)) => Some("pulling the image"),
        (Status::Running, None, ..) => Some("starting"),
        _ => None,
    }
}

/// Returns the command that runs the same tree again, but for `--job`. Values of variables and secrets are not repeated.
fn command_again(args: &Run) -> String {
    let mut command = "longshore run".to_owned();
    if args.dir.as_path() != Path::new(".") {
        command = format!("{command} {}", failures::quoted(&args.dir.display().to_string()));
    }
    if let Some(pipeline) = &args.pipeline {
        command = format!("{command} --pipeline {}", failures::quoted(pipeline));
    }
    command
}

/// Returns the jobs that failed, with the first error of each.
async fn failed_jobs(store: &Store, jobs: &[Job], again: &str) -> anyhow::Result<Vec<FailedJob>> {
    let is_failed = |status: Status| matches!(status, Status::Failure | Status::Error | Status::TimedOut);
    let mut failed = Vec::new();
    for job in jobs.iter().filter(|job| is_failed(job.status) && !job.continue_on_error) {
        let outline = logs::outline(store, job.id, None).await?;
        let step = job.steps.iter().rev().find(|step| is_failed(step.status) && step.exit_code != Some(0));
        let is_its = |mark: &&Mark| step.is_none_or(|step| mark.step == step.position) && mark.kind == MarkKind::Error;
        failed.push(FailedJob {
            name: job.name.clone(),
            error: outline.marks.iter().find(is_its).map(|mark| (mark.n, mark.text.clone())),
            again: format!("{again} --job {}", failures::quoted(&job.name)),
        });
    }
    Ok(failed)
}

fn print_summary(status: Status, jobs: &[Job], tests: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out)?;
    let width = jobs.iter().map(|job| job.name.chars().count()).max().unwrap_or(0);
    for job in jobs {
        let time = job.claimed_at.zip(job.finished_at).map(|(start, end)| human_duration(end.since(start)));
        let reason = job.reason.as_deref().unwrap_or_default();
        writeln!(out, "{:<10} {:width$}  {:>8}  {reason}", job.status.word(), job.name, time.unwrap_or_default())?;
    }
    for line in tests {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{}", status.word())
}

fn summary_json(status: Status, jobs: &[Job]) -> serde_json::Value {
    let jobs: Vec<_> = jobs
        .iter()
        .map(|job| {
            serde_json::json!({
                "name": job.name, "status": job.status, "reason": job.reason, "exit_code": job.exit_code,
                "steps": job.steps.iter().map(|step| serde_json::json!({
                    "name": step.name, "status": step.status, "exit_code": step.exit_code, "wall_ms": step.wall_ms,
                    "cpu_ms": step.cpu_ms, "peak_memory_bytes": step.peak_memory_bytes,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    serde_json::json!({ "status": status, "jobs": jobs })
}
