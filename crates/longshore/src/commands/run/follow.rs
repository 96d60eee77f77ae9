//! Prints a run's logs until it is over, and says how it ended.

use std::{io::Write as _, path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use longshore_core::{
    BuildId, Status,
    access::{Actor, Via},
    outcome::human_duration,
};
use longshore_files::logs::{Mark, MarkKind, Renderer, StepHead};
use longshore_scheduler::Scheduler;
use longshore_store::{
    Store, StoreError, builds,
    jobs::{self, Job},
    logs,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::interrupts::Interrupts;
use crate::{
    args::{Run, RunEvent},
    commands::{
        failures::{self, FailedJob},
        print_json,
        progress::Progress,
        table::one_line,
        tests,
    },
};

/// The exit code of a run whose output was closed. It may not count as success: nobody has seen how it ended.
const OUTPUT_CLOSED: u8 = 1;

/// How following a run ended.
pub(super) enum Followed {
    Over(ExitCode),
    /// The user does not wait until the canceled jobs have ended.
    Quit,
}

/// Prints the build's logs until it has ended. Ctrl-C, TERM, HUP and a closed output cancel it; a second signal does
/// not wait for that.
pub(super) async fn follow(
    store: &Store,
    scheduler: &Scheduler,
    build: BuildId,
    args: &Run,
    interrupts: &mut Interrupts,
) -> anyhow::Result<Followed> {
    let json = args.engine.json;
    let all = jobs::of_build(store, build).await?;
    let names = shown_names(&all);
    let progress = Arc::new(Progress::new(names.iter().map(String::as_str), json));
    let mut printing = tokio::task::JoinSet::new();
    for (index, (job, name)) in all.into_iter().zip(names).enumerate() {
        printing.spawn(print_log(store.clone(), job, name, index, Arc::clone(&progress)));
    }
    let watching = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(update_progress(
        store.clone(),
        build,
        Arc::clone(&progress),
    )));
    let mut over = std::pin::pin!(wait_until_over(store, build));
    let mut failed = None;
    let cancel =
        || scheduler.cancel_build(build, Actor { name: "longshore run".to_owned(), via: Via::Token, token: None });
    loop {
        tokio::select! {
            printed = printing.join_next(), if failed.is_none() => match printed {
                None => break,
                Some(printed) => if let Err(error) = printed? {
                    // Nobody reads the rest, and jobs that nobody follows would run on.
                    printing.abort_all();
                    cancel().await?;
                    failed = Some(error);
                }
            },
            // A job that prints nothing would not find out.
            () = output_closes(), if failed.is_none() => {
                printing.abort_all();
                cancel().await?;
                failed = Some(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
            }
            ended = &mut over, if failed.is_some() => {
                ended?;
                break;
            }
            () = interrupts.next() => {
                if progress.cancel() {
                    return Ok(Followed::Quit);
                }
                cancel().await?;
            }
        }
    }
    drop(watching);
    progress.finish();
    match failed {
        None => {}
        Some(error) if error.is::<std::io::Error>() => return Ok(output_closed()),
        Some(error) => return Err(error),
    }
    let jobs = jobs::of_build(store, build).await?;
    let status = builds::get(store, build).await?.map_or(Status::Error, |build| build.status);
    match print_end(store, build, status, &jobs, args).await {
        Ok(()) => {}
        Err(error) if error.is::<std::io::Error>() => return Ok(output_closed()),
        Err(error) => return Err(error),
    }
    Ok(Followed::Over(ExitCode::from(match status {
        Status::Success | Status::Skipped => 0,
        Status::Error => 3,
        Status::Failure | Status::Canceled | Status::TimedOut => 1,
        Status::Blocked | Status::Queued | Status::Running | Status::Canceling => 3,
    })))
}

/// Waits until the reader of the output has closed it: forever if it is a file.
async fn output_closes() {
    #[expect(deprecated, reason = "standard output is open as long as this process runs")]
    let watched = AsyncFd::with_interest(std::io::stdout(), Interest::ERROR);
    let Ok(output) = watched else { return std::future::pending().await };
    loop {
        match output.ready(Interest::ERROR).await {
            Ok(ready) if ready.ready().is_error() => return,
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return std::future::pending().await,
        }
    }
}

fn output_closed() -> Followed {
    let _ = writeln!(std::io::stderr(), "longshore: the output was closed before the run's end");
    Followed::Over(ExitCode::from(OUTPUT_CLOSED))
}

/// Waits until the build is over.
async fn wait_until_over(store: &Store, build: BuildId) -> Result<(), StoreError> {
    let mut changed = store.watch();
    loop {
        changed.borrow_and_update();
        if builds::get(store, build).await?.is_none_or(|build| build.status.is_final())
            || changed.changed().await.is_err()
        {
            return Ok(());
        }
    }
}

/// Returns the names of jobs as people see them: with their pipelines' names if there are several pipelines.
fn shown_names(jobs: &[Job]) -> Vec<String> {
    let several = jobs.iter().any(|job| job.pipeline != jobs[0].pipeline);
    jobs.iter().map(|job| if several { job.key.clone() } else { job.name.clone() }).collect()
}

async fn print_log(store: Store, job: Job, name: String, index: usize, progress: Arc<Progress>) -> anyhow::Result<()> {
    let plan = jobs::plan(&store, job.id).await?.context("the job has no plan")?;
    let mut lines = progress.lines(index, &name);
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

/// Returns the command that runs the same tree again, without `--job`. Variables and secrets are not repeated.
fn command_again(args: &Run) -> String {
    let mut command = "longshore run".to_owned();
    if args.dir.as_path() != Path::new(".") {
        command = format!("{command} {}", failures::quoted(&args.dir.display().to_string()));
    }
    if let Some(pipeline) = &args.pipeline {
        command = format!("{command} --pipeline {}", failures::quoted(pipeline));
    }
    match args.event {
        RunEvent::Push => {}
        RunEvent::Tag => command.push_str(" --event tag"),
        RunEvent::PullRequest => command.push_str(" --event pull-request"),
        RunEvent::Manual => command.push_str(" --event manual"),
    }
    if let Some(base) = &args.base {
        command = format!("{command} --base {}", failures::quoted(base));
    }
    for (key, value) in &args.inputs {
        command = format!("{command} --input {}", failures::quoted(&format!("{key}={value}")));
    }
    if args.approve {
        command.push_str(" --approve");
    }
    command
}

/// Returns the jobs that failed, with the first error of each.
async fn failed_jobs(store: &Store, jobs: &[Job], rerun: &str) -> anyhow::Result<Vec<FailedJob>> {
    let is_failed = |status: Status| matches!(status, Status::Failure | Status::Error | Status::TimedOut);
    let mut failed = Vec::new();
    for (job, name) in jobs.iter().zip(shown_names(jobs)) {
        if !is_failed(job.status) || job.continue_on_error {
            continue;
        }
        let outline = logs::outline(store, job.id, None).await?;
        let step = job.steps.iter().rev().find(|step| is_failed(step.status) && step.exit_code != Some(0));
        let is_its = |mark: &&Mark| step.is_none_or(|step| mark.step == step.position) && mark.kind == MarkKind::Error;
        failed.push(FailedJob {
            error: outline.marks.iter().find(is_its).map(|mark| (mark.n, mark.text.clone())),
            rerun: format!("{rerun} --job {}", failures::quoted(&name)),
            name,
        });
    }
    Ok(failed)
}

async fn print_end(store: &Store, build: BuildId, status: Status, jobs: &[Job], args: &Run) -> anyhow::Result<()> {
    if args.engine.json {
        return print_json(&summary_json(status, jobs));
    }
    let tests = tests::summary(store, build).await?;
    let failed = failed_jobs(store, jobs, &command_again(args)).await?;
    print_summary(status, jobs, &tests)?;
    failures::write(&mut std::io::stdout().lock(), &failed)?;
    Ok(())
}

fn print_summary(status: Status, jobs: &[Job], tests: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out)?;
    let names: Vec<String> = shown_names(jobs).iter().map(|name| one_line(name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (job, name) in jobs.iter().zip(names) {
        let time = job.claimed_at.zip(job.finished_at).map(|(start, end)| human_duration(end.since(start)));
        let reason = one_line(job.reason.as_deref().unwrap_or_default());
        writeln!(out, "{:<10} {name:width$}  {:>8}  {reason}", job.status.word(), time.unwrap_or_default())?;
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
                "name": job.name, "pipeline": job.pipeline, "key": job.key,
                "status": job.status, "reason": job.reason, "exit_code": job.exit_code,
                "steps": job.steps.iter().map(|step| serde_json::json!({
                    "name": step.name, "status": step.status, "exit_code": step.exit_code, "wall_ms": step.wall_ms,
                    "cpu_ms": step.cpu_ms, "peak_memory_bytes": step.peak_memory_bytes,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    serde_json::json!({ "status": status, "jobs": jobs })
}
