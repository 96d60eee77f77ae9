//! `/builds/{build}`: is it green, and if not, which line says why?

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use askama::Template;
use axum::{extract::State, response::Response};
use longshore_core::{
    BuildId, JobId, Status,
    access::{Action, Object},
    rules::needs::short_name,
};
use longshore_scheduler::Scheduler;
use longshore_store::{Store, artifacts, builds};
use serde::Deserialize;

use super::{
    artifact_list::{self, ArtifactRow},
    diagnostic::DiagnosticView,
    head::{Head, Place},
    html::Html,
    pauses::Pauses,
    post::{NoFields, Post, see_other},
    reports::section::Section,
    show,
    site::Site,
    standing::{Standing, only_says_canceled},
    summary::{self, Summary},
    tail::{self, FirstError, Tail, is_failure},
    timeline::Timeline,
    visitor::{AllowedActions, Visitor},
    waiting::{self, Room},
};
use crate::{
    approvals::approve_build,
    auth::object_of,
    build_views::view_build,
    config::ApiConfig,
    error::ApiError,
    late_notices::late_notices,
    late_statuses::late_statuses,
    lookup::{find_build, find_build_to},
    params::{Path, Query},
    views::{BuildView, JobView, RepoRef},
};

/// How many jobs a page lists. If there are more, those that failed come first, then those that ask for approval.
const MAX_JOBS: usize = 50;
/// How many bytes the ends of logs, the summaries and the timeline's segments take together, approximately. A page has
/// 60 KiB in all.
const DETAILS_BYTES: usize = 23 << 10;
/// How many of these bytes all summaries take, and how many a single one.
const SUMMARIES_BYTES: usize = 8 << 10;
const SUMMARY_BYTES: usize = 3 << 10;
/// How many jobs name their first error in the box of a failed build.
const FIRST_ERRORS: usize = 8;
/// How many errors, and how many warnings, of the pipeline are shown.
const MAX_DIAGNOSTICS: usize = 20;

#[derive(Template)]
#[template(path = "build.html")]
pub(crate) struct BuildPage {
    head: Head,
    build: BuildView,
    /// The forge's page of the pull request or of the commit, if the event has an address.
    url: Option<String>,
    commit_url: Option<String>,
    /// The build that this one reruns; without a number if it was deleted.
    earlier: Option<(BuildId, Option<u64>)>,
    standing: Standing,
    errors: Vec<DiagnosticView>,
    warnings: Vec<DiagnosticView>,
    more_errors: usize,
    more_warnings: usize,
    timeline: Timeline,
    reports: Section,
    jobs: Vec<Row>,
    jobs_pages: JobsPages,
    /// The first error of each job that failed.
    first_errors: Vec<FirstError>,
    summaries: Vec<Summary>,
    more_summaries: usize,
    artifacts: Vec<ArtifactRow>,
    more_artifacts: usize,
    has_failed: bool,
    /// Whether one approval answers for several jobs.
    approves_all: bool,
    canceling: bool,
    may: AllowedActions,
    csrf: String,
}

/// Which part of the jobs a page lists.
#[derive(Debug)]
struct JobsPages {
    /// The numbers of the first and the last one listed, from 1.
    first: usize,
    last: usize,
    all: usize,
    previous: Option<String>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuildQuery {
    /// The page of the list of jobs, from 1.
    page: Option<usize>,
}

struct Row {
    job: JobView,
    /// A note beside the job's status.
    word: String,
    /// The end of the log, if the job failed.
    tail: Option<Tail>,
}

pub(crate) async fn show(
    State(site): State<Site>,
    State(config): State<Arc<ApiConfig>>,
    visitor: Visitor,
    Path(id): Path<BuildId>,
    Query(query): Query<BuildQuery>,
) -> Result<Html<BuildPage>, ApiError> {
    let mut head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let (mut build, may) = load(&site, &visitor, id).await?;
    if !build.status.is_final() {
        head = head.follows_build(id, None);
    }
    let mut listed = std::mem::take(&mut build.jobs);
    // Names include the pipeline's if there are several pipelines.
    if listed.iter().any(|job| job.pipeline != listed[0].pipeline) {
        listed.iter_mut().for_each(|job| job.name.clone_from(&job.key));
    }
    let pauses = Pauses::new(&build, &listed, head.now);
    let standing = Standing::new(&build, &listed, &pauses);
    let title = format!("{}: {} #{}", standing.status.word(), build.repo.name, build.number);
    let usual = builds::usual_ms(&site.store, build.repo.id).await?;
    let (mut tails, mut first_errors) = tail::load_tails(&site, &listed).await?;
    let reports = Section::load(&site, id).await?;
    let of_summaries = SUMMARIES_BYTES.saturating_sub(reports.bytes() / 2);
    let (summaries, more_summaries) = summary::render_summaries(&listed, SUMMARY_BYTES, of_summaries);
    let taken = tails.values().map(Tail::bytes).chain(summaries.iter().map(Summary::bytes));
    let rest = DETAILS_BYTES.saturating_sub(taken.sum::<usize>() + reports.bytes());
    let timeline = Timeline::new(&build, &listed, usual, standing.status == Status::Blocked, &pauses, head.now, rest);
    let kept = artifacts::of_build(&site.store, id).await?;
    let name_of = |one: &artifacts::Artifact| listed.iter().find(|job| job.id == one.job).map(|job| job.name.clone());
    let (artifacts, more_artifacts) = artifact_list::rows(kept, name_of);
    let has_failed = listed.iter().any(tail::has_failed);
    first_errors.truncate(FIRST_ERRORS);
    let approves_all = approves_all(&build, &listed);
    let room = Room { engine_is_away: config.engine.trouble().is_some(), capacity: config.capacity };
    let jobs_pages = JobsPages::new(id, query.page.unwrap_or(1), listed.len());
    let jobs = rows(listed, &jobs_pages, &mut tails, &standing, room);
    let (mut errors, mut warnings): (Vec<DiagnosticView>, Vec<DiagnosticView>) =
        build.diagnostics.iter().map(DiagnosticView::from).partition(DiagnosticView::is_error);
    let (more_errors, more_warnings) = (truncate(&mut errors), truncate(&mut warnings));
    let url = build.url.clone().filter(|url| url.starts_with("https://") || url.starts_with("http://"));
    Ok(Html(BuildPage {
        head: head.titled(title).status(standing.status),
        commit_url: url.clone().filter(|_| build.pull_request.is_none()),
        url,
        earlier: earlier(&site.store, build.rerun_of).await?,
        standing,
        errors,
        warnings,
        more_errors,
        more_warnings,
        timeline,
        reports,
        jobs,
        jobs_pages,
        first_errors,
        summaries,
        more_summaries,
        artifacts,
        more_artifacts,
        has_failed,
        approves_all,
        canceling: build.status == Status::Canceling,
        may,
        csrf: visitor.csrf(),
        build,
    }))
}

/// Loads the build without what only the page needs, and what the visitor may do with it.
async fn load(site: &Site, visitor: &Visitor, id: BuildId) -> Result<(BuildView, AllowedActions), ApiError> {
    let (build, repo) = find_build(&site.store, &visitor.caller, id).await?;
    // A public repository can be seen by everybody, and acted on only by those with rights.
    let may = AllowedActions::with(&visitor.caller, Object::Repo { id: repo.id, public: false });
    let mut build = view_build(&site.store, build, RepoRef::from(&repo)).await?;
    build.late_statuses = late_statuses(&site.store, &visitor.caller, object_of(&repo), id).await?;
    build.late_notifications = late_notices(&site.store, &visitor.caller, object_of(&repo), id).await?;
    Ok((build, may))
}

/// Returns the build that this one reruns, with its number if it still exists.
async fn earlier(store: &Store, rerun_of: Option<BuildId>) -> Result<Option<(BuildId, Option<u64>)>, ApiError> {
    let Some(id) = rerun_of else { return Ok(None) };
    Ok(Some((id, builds::get(store, id).await?.map(|earlier| earlier.number))))
}

/// Whether one approval answers for several jobs.
fn approves_all(build: &BuildView, jobs: &[JobView]) -> bool {
    let asking = jobs.iter().filter(|job| job.asks.is_some()).count();
    let of_fork = build.pull_request.as_ref().is_some_and(|pull_request| pull_request.fork);
    asking > 1 || (asking == 1 && of_fork && jobs.len() > 1)
}

/// Returns the jobs that a page lists.
fn rows(
    mut jobs: Vec<JobView>,
    pages: &JobsPages,
    tails: &mut HashMap<JobId, Tail>,
    standing: &Standing,
    room: Room,
) -> Vec<Row> {
    let unfinished: HashSet<String> =
        jobs.iter().filter(|job| !job.status.is_final()).map(|job| job.key.clone()).collect();
    if !pages.is_all() {
        jobs.sort_by_key(|job| (!tail::has_failed(job), job.asks.is_none()));
    }
    jobs.drain(pages.first - 1..pages.last)
        .map(|job| Row { word: job_note(&job, standing, &unfinished, room), tail: tails.remove(&job.id), job })
        .collect()
}

impl JobsPages {
    fn new(build: BuildId, page: usize, all: usize) -> Self {
        let pages = all.div_ceil(MAX_JOBS).max(1);
        let page = page.clamp(1, pages);
        let address =
            |page: usize| show::address(&format!("/builds/{build}"), &[("page", &page.to_string())]) + "#jobs";
        Self {
            first: (page - 1) * MAX_JOBS + 1,
            last: (page * MAX_JOBS).min(all),
            all,
            previous: (page > 1).then(|| address(page - 1)),
            next: (page < pages).then(|| address(page + 1)),
        }
    }

    fn is_all(&self) -> bool {
        self.all <= MAX_JOBS
    }
}

/// Returns why the job has its status, or what it does now. A reason that all jobs wait for is shown once, for the
/// build.
fn job_note(job: &JobView, standing: &Standing, unfinished: &HashSet<String>, room: Room) -> String {
    let shown_above = standing.waits.as_ref().filter(|_| job.asks.is_none()).map(|waits| &waits.reason);
    let running = job.steps.iter().filter(|step| step.status == Status::Running).map(|step| step.name.as_str()).next();
    let attempts = match job.attempts.len() {
        0 | 1 if job.status.is_final() => String::new(),
        0 => String::new(),
        count if job.status.is_final() => format!(" ({count} attempts)"),
        count => format!(" (attempt {})", count + 1),
    };
    let word = match (&job.reason, running) {
        (Some(reason), _) if job.status == Status::Canceled && only_says_canceled(reason) => stopped_at(job),
        (Some(reason), _) if Some(reason) == shown_above => String::new(),
        (Some(reason), _) if is_failure(job.status) && job.continue_on_error => format!("allowed to fail: {reason}"),
        (Some(reason), _) => reason.clone(),
        (None, Some(step)) => step.to_owned(),
        (None, None) if job.status == Status::Running => job.preparing().to_owned(),
        (None, None) if job.carried_over.is_some() => "carried over from an earlier build".to_owned(),
        (None, None) => {
            let needs = job.needs.iter().filter(|key| unfinished.contains(*key));
            waiting::why(job.status, None, needs.map(|key| short_name(&job.pipeline, key)), room)
        }
    };
    format!("{word}{attempts}")
}

/// Returns how far a canceled job came.
fn stopped_at(job: &JobView) -> String {
    let step = job.steps.iter().find(|step| step.status == Status::Canceled && step.started_at.is_some());
    match (step, job.claimed_at) {
        (Some(step), _) => format!("in step `{}`", step.name),
        (None, Some(_)) => "while starting".to_owned(),
        (None, None) => "before starting".to_owned(),
    }
}

/// Cuts the list to what a page can take. Returns how many were cut.
fn truncate(diagnostics: &mut Vec<DiagnosticView>) -> usize {
    let more = diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
    diagnostics.truncate(MAX_DIAGNOSTICS);
    more
}

pub(crate) async fn cancel(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<BuildId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    find_build_to(&site.store, &visitor.caller, Action::Cancel, id).await?;
    scheduler.cancel_build(id, visitor.caller.actor()).await?;
    Ok(see_other(&format!("/builds/{id}")))
}

pub(crate) async fn approve(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<BuildId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    approve_build(&site.store, &scheduler, &visitor.caller, id).await?;
    Ok(see_other(&format!("/builds/{id}")))
}

#[derive(Debug, Deserialize)]
pub(crate) struct RerunForm {
    failed_only: Option<String>,
}

pub(crate) async fn rerun(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<BuildId>,
    Post { visitor, form }: Post<RerunForm>,
) -> Result<Response, ApiError> {
    find_build_to(&site.store, &visitor.caller, Action::Rerun, id).await?;
    let new = scheduler.rerun_build(id, form.failed_only.is_some(), &visitor.caller.actor()).await?;
    Ok(see_other(&format!("/builds/{new}")))
}
