//! Plans a working tree: the event that the user simulates, the pipelines and jobs that they choose, and the files that
//! the jobs get.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::Write as _,
    path::Path,
};

use longshore_core::{BuildPlan, Event, EventName, Severity, event::PullRequest};
use longshore_git::{Git, TarSource, Worktree, WorktreeFacts};
use longshore_pipeline::{Checked, Planned, RepoFacts, report};

use super::caches::cache_dir;
use crate::{
    args::{Run, RunEvent},
    ca_certificates::CaCertificates,
    commands::{ExitError, is_called, lint, print_note},
};

/// The plan of a run.
pub(super) struct PlannedRun {
    pub(super) event: Event,
    pub(super) plan: BuildPlan,
    /// The files, with as many generations of history as jobs ask for.
    pub(super) files: BTreeMap<u32, TarSource>,
}

/// Plans the working tree.
pub(super) async fn plan_worktree(args: &Run) -> anyhow::Result<PlannedRun> {
    if !args.dir.is_dir() {
        return Err(ExitError::new(2, format!("{} is not a folder", args.dir.display())).into());
    }
    let checked = lint::check(&args.dir, args.limits.max_jobs)?;
    if !checked.diagnostics.is_empty() {
        std::io::stderr().write_all(report::human(&checked.diagnostics).as_bytes())?;
    }
    if checked.diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(ExitError::new(2, "the pipeline has errors").into());
    }
    let git = match &args.ca_file {
        Some(file) => {
            match CaCertificates::read(Some(file)).map_err(|error| ExitError::new(2, format!("{error:#}")))? {
                Some(ca_certificates) => Git::default().with_tls(ca_certificates.tls()?),
                None => Git::default(),
            }
        }
        None => Git::default(),
    };
    let worktree = Worktree::open(&git, &args.dir).await.map_err(|e| ExitError::new(2, e.to_string()))?;
    let facts = worktree.facts();
    let event = simulate(args, &worktree, &facts).await?;
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
            let pipeline = args.pipeline.as_deref().map(|given| pipeline_called(&checked, &args.dir, given));
            let chosen = choose(plan, pipeline.as_deref(), &args.jobs)?;
            approve_or_leave_out(chosen, args.approve)?
        }
        Planned::Broken(diagnostics) => {
            std::io::stderr().write_all(report::human(&diagnostics).as_bytes())?;
            return Err(ExitError::new(2, "the pipeline has errors").into());
        }
        Planned::Nothing(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            return Err(ExitError::new(2, format!("no pipeline runs for this event: {}", reasons.join("; "))).into());
        }
        Planned::Refused(reason) => return Err(ExitError::new(2, reason).into()),
    };
    let depths: BTreeSet<u32> = plan.jobs.iter().filter_map(|job| Some(job.checkout.as_ref()?.depth)).collect();
    let depths = if depths.is_empty() { BTreeSet::from([1]) } else { depths };
    let wants_lfs = plan.jobs.iter().any(|job| job.checkout.as_ref().is_some_and(|checkout| checkout.lfs));
    let lfs = wants_lfs.then(|| cache_dir().unwrap_or_else(std::env::temp_dir).join("lfs"));
    let (files, notes) =
        worktree.tars(&depths, lfs.as_deref()).await.map_err(|error| ExitError::new(3, error.to_string()))?;
    for note in notes {
        print_note(&note)?;
    }
    Ok(PlannedRun { event, plan, files })
}

/// The tag of `--event tag` where the commit has none.
const NO_TAG: &str = "v0.0.0-local";
/// The branch if none is checked out, and the default target of a pull request.
const NO_BRANCH: &str = "main";

/// Returns the event that the user simulates.
async fn simulate(args: &Run, worktree: &Worktree, facts: &WorktreeFacts) -> anyhow::Result<Event> {
    if args.base.is_some() && args.event != RunEvent::PullRequest {
        return Err(ExitError::new(2, "`--base` is a pull request's: write `--event pull-request` with it").into());
    }
    let branch = facts.git_ref.strip_prefix("refs/heads/");
    let (name, git_ref, pull_request) = match args.event {
        RunEvent::Tag => {
            let tag = worktree.tag().await.map_err(|error| ExitError::new(2, error.to_string()))?;
            if tag.is_none() {
                print_note(&format!("no tag points at this commit: the event's tag is {NO_TAG}"))?;
            }
            (EventName::Tag, format!("refs/tags/{}", tag.as_deref().unwrap_or(NO_TAG)), None)
        }
        RunEvent::Push => (EventName::Push, format!("refs/heads/{}", branch.unwrap_or(NO_BRANCH)), None),
        RunEvent::Manual => (EventName::Manual, format!("refs/heads/{}", branch.unwrap_or(NO_BRANCH)), None),
        RunEvent::PullRequest => {
            let base = args.base.as_deref().or(facts.default_branch.as_deref()).unwrap_or(NO_BRANCH);
            let pull_request = PullRequest {
                title: facts.facts.message.lines().next().unwrap_or_default().to_owned(),
                ..PullRequest::opened(1, branch.unwrap_or("HEAD"), base)
            };
            (EventName::PullRequest, "refs/pull/1/head".to_owned(), Some(pull_request))
        }
    };
    Ok(Event {
        message: facts.facts.message.clone(),
        author: facts.facts.author.clone(),
        author_email: facts.facts.email.clone(),
        sender: std::env::var("USER").unwrap_or_default(),
        default_branch: facts.default_branch.clone(),
        inputs: args.inputs.iter().cloned().collect(),
        pull_request,
        ..Event::new(name, git_ref, facts.commit.clone())
    })
}

fn folder_name(dir: &Path) -> String {
    let name = dir.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "local".to_owned())
}

/// Returns the name of the pipeline that is called this, or whose file this is: as seen from here, or from `dir`.
fn pipeline_called(checked: &Checked, dir: &Path, given: &str) -> String {
    let here = |path: &Path| path.canonicalize().ok();
    let is_file = |file: &str| {
        let file = here(Path::new(file));
        file.is_some() && [Path::new(given), &dir.join(given)].into_iter().any(|path| here(path) == file)
    };
    let pipelines = || checked.pipelines.iter();
    let found = pipelines().find(|of| of.name() == given).or_else(|| pipelines().find(|of| is_file(of.file())));
    found.map_or_else(|| given.to_owned(), |of| of.name().to_owned())
}

/// Keeps only the jobs that were asked for, with everything that they need.
fn choose(mut plan: BuildPlan, pipeline: Option<&str>, names: &[String]) -> anyhow::Result<BuildPlan> {
    if let Some(name) = pipeline {
        let all: BTreeSet<String> = plan.jobs.iter().map(|job| job.pipeline.clone()).collect();
        plan.jobs.retain(|job| job.pipeline == name);
        if plan.jobs.is_empty() {
            let all = all.into_iter().collect::<Vec<_>>().join(", ");
            return Err(ExitError::new(2, format!("no pipeline `{name}` for this event; available: {all}")).into());
        }
    }
    if names.is_empty() {
        return Ok(plan);
    }
    let mut wanted: HashSet<String> = HashSet::new();
    for name in names {
        let called = plan.jobs.iter().filter(|job| is_called(&job.name, name) || is_called(&job.key, name));
        let called: Vec<String> = called.map(|job| job.key.clone()).collect();
        if called.is_empty() {
            let several = plan.jobs.iter().any(|job| job.pipeline != plan.jobs[0].pipeline);
            let shown = plan.jobs.iter().map(|job| if several { job.key.as_str() } else { job.name.as_str() });
            let all = shown.collect::<Vec<_>>().join(", ");
            return Err(ExitError::new(2, format!("no job `{name}`; available: {all}")).into());
        }
        wanted.extend(called);
    }
    let mut before = 0;
    while wanted.len() > before {
        before = wanted.len();
        let needs = plan.jobs.iter().filter(|job| wanted.contains(&job.key)).flat_map(|job| &job.needs);
        let needs: Vec<String> = needs.map(|need| need.key.clone()).collect();
        wanted.extend(needs);
    }
    plan.jobs.retain(|job| wanted.contains(&job.key));
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
        return Err(ExitError::new(2, format!("all remaining jobs are {message}")).into());
    }
    print_note(&format!("skipped, with the jobs that need them: {message}"))?;
    Ok(plan)
}
