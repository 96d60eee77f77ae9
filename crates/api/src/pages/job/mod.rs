//! `/jobs/{job}`: one job, its steps, and its log. The page contains one window of the log's lines, with links to the
//! others (`?from=`, `?before=`) and a search (`?q=`); `assets/log.js` makes one long list of it. For a job that was
//! tried again, it shows the newest attempt or that of `?attempt=`.
//!
//! A job that failed opens at the first error of its failing step, or at that step's last lines; a running job at the
//! newest line, any other at the beginning.

pub(crate) mod actions;
mod attempts;

use std::{collections::HashMap, fmt::Display, sync::Arc};

use askama::Template;
use axum::extract::State;
use longshore_core::{JobId, Record, Status, rules::needs::short_name};
use longshore_files::logs::{Border, Found, LineRange, Listed, LogLine, Outline, Search, StepHead};
use longshore_store::{
    Store, acts, artifacts,
    builds::{self, Build},
    jobs, logs, repos,
};
use serde::Deserialize;

use super::{
    artifact_list::{self, ArtifactRow},
    assets::ASSETS,
    escape::escaped_len,
    head::{Head, Place},
    html::Html,
    log_row::{self, Row},
    show::{self, address},
    site::Site,
    summary::{self, Summary},
    tail::{Failing, find_failing, first_error, is_failure},
    visitor::{AllowedActions, Visitor},
    waiting::{self, Room},
};
use crate::{
    auth::object_of,
    config::ApiConfig,
    error::ApiError,
    lookup::find_job,
    params::{Path, Query},
    request_slots::{Costly, RequestSlot, RequestSlots},
    views::{JobView, StepView},
};
use attempts::AttemptRow;

/// The bytes of the window's lines, of the list of steps and of their summaries together. A page has 60 KiB in all.
const SHARED_BYTES: usize = 50 << 10;
/// The bytes of a step in the list, without its name and its script.
const STEP_BYTES: usize = 205;
/// The most bytes of all names and scripts together.
const TEXTS_BYTES: usize = 14 << 10;
/// The bytes that the window has at least.
const MIN_WINDOW_BYTES: usize = 4 << 10;
/// The most bytes of all summaries together.
const SUMMARIES_BYTES: usize = 10 << 10;
/// Bytes of a step's name, of its script, and of what surrounds a script.
const STEP_NAME_BYTES: usize = 160;
const SCRIPT_BYTES: usize = 2_000;
const SCRIPT_MARKUP_BYTES: usize = 72;
/// Characters of a step's name before a line that stands among another step's; as many as in `assets/log_view.js`.
const STEP_NAME_CHARS: usize = 24;
/// Lines of a window.
const WINDOW_LINES: u64 = 300;
/// Lines of a window before the error that it opens at.
const BEFORE_ERROR: u64 = 20;
/// How many found lines are listed for readers without scripts, and about how many bytes their links take.
const MAX_FOUND_LINES: usize = 100;
const FOUND_LINKS_BYTES: usize = 4 << 10;

#[derive(Template)]
#[template(path = "job.html")]
pub(crate) struct JobPage {
    head: Head,
    job: JobView,
    /// Why it waits; empty if it does not.
    waits: String,
    build: Build,
    repo_name: String,
    attempts: Vec<AttemptRow>,
    steps: Vec<StepRow>,
    summaries: Vec<Summary>,
    more_summaries: usize,
    artifacts: Vec<ArtifactRow>,
    more_artifacts: usize,
    log: LogPart,
    may: AllowedActions,
    /// The build is over, so the job can be run once more.
    build_is_over: bool,
    csrf: String,
}

/// A step of the table.
#[derive(Debug)]
struct StepRow {
    view: StepView,
    /// It is a service.
    is_service: bool,
    name: String,
    /// Its script.
    run: String,
    /// Where its lines begin.
    address: String,
}

impl StepRow {
    /// Returns what the step used; `None` if it never began, or had no process that was measured, such as a service.
    fn used(&self, figure: &Option<u64>) -> Option<u64> {
        figure.filter(|_| self.view.started_at.is_some() && self.view.peak_memory_bytes != Some(0))
    }
}

/// The window.
#[derive(Debug)]
struct LogPart {
    total: u64,
    /// The numbers of the window's first and last line; 1 and 0 if it is empty.
    first: u64,
    last: u64,
    rows: Vec<Row>,
    /// The line that the script scrolls to first, and where in the view.
    open_at: Option<u64>,
    open_align: &'static str,
    query: String,
    hits: Option<Found>,
    /// The attempt's number, empty for the newest one.
    attempt: String,
    file_name: String,
}

impl LogPart {
    /// Returns the address of the window that begins with (`from`) or ends before (`before`) line `n`.
    fn window_address(&self, which: &str, n: impl Display) -> String {
        address("", &[("attempt", &self.attempt), (which, &n.to_string())])
    }

    /// Returns the address of the window around a found line. It keeps the search.
    fn found_address(&self, n: &u64) -> String {
        hit_address(*n, &self.attempt, &self.query)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogQuery {
    /// The window's first line.
    from: Option<u64>,
    /// The line behind the window's last one.
    before: Option<u64>,
    q: Option<String>,
    /// The log of this attempt, from 1; the newest if it is not given.
    attempt: Option<u32>,
}

pub(crate) async fn show(
    State(site): State<Site>,
    State(slots): State<Arc<RequestSlots>>,
    State(config): State<Arc<ApiConfig>>,
    visitor: Visitor,
    Path(id): Path<JobId>,
    Query(query): Query<LogQuery>,
) -> Result<Html<JobPage>, ApiError> {
    let mut head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let job = find_job(&site.store, &visitor.caller, id).await?;
    let build = builds::get(&site.store, job.build).await?.ok_or_else(|| ApiError::not_found("job"))?;
    let repo = repos::get(&site.store, job.repo).await?.ok_or_else(|| ApiError::not_found("job"))?;
    let plan = jobs::plan(&site.store, id).await?.ok_or_else(|| ApiError::not_found("job"))?;
    let outline = logs::outline(&site.store, id, query.attempt).await?;
    let scripts: HashMap<u32, String> =
        StepHead::from_plan(&plan).into_iter().map(|head| (u32::from(head.number) + 1, head.run)).collect();
    let acts = acts::of_builds(&site.store, &[build.id]).await?;
    let mut job = JobView::new(job, &acts);
    let attempts = attempts::list(&job);
    let earlier = query.attempt.and_then(|attempt| attempts::earlier(&job, attempt));
    let mut name = job.name.clone();
    if let Some(attempt) = earlier {
        job = attempts::as_left_by(job, attempt, &outline)?;
        name = format!("{name} (attempt {attempt})");
    }
    let attempt = earlier.map(|attempt| attempt.to_string()).unwrap_or_default();
    let count = job.steps.len() + job.services.len();
    let mut words = TEXTS_BYTES.saturating_sub(40 * count);
    let names = words / count.max(1);
    let steps = job.services.iter().chain(&job.steps).cloned().map(|view| StepRow {
        is_service: view.number > u32::from(Record::FIRST_SERVICE),
        address: step_address(&outline, view.number, &attempt),
        name: fit_text(&view.name, STEP_NAME_BYTES.min(names), &mut words),
        run: scripts.get(&view.number).cloned().unwrap_or_default(),
        view,
    });
    let mut steps: Vec<StepRow> = steps.collect();
    for step in &mut steps {
        words = words.saturating_sub(SCRIPT_MARKUP_BYTES);
        step.run = fit_text(&step.run, SCRIPT_BYTES, &mut words);
    }
    let bytes = SHARED_BYTES.saturating_sub(TEXTS_BYTES + STEP_BYTES * count);
    let of_summaries = SUMMARIES_BYTES.min(bytes.saturating_sub(MIN_WINDOW_BYTES));
    let (summaries, more_summaries) = summary::render_summaries(std::slice::from_ref(&job), of_summaries, of_summaries);
    let bytes = bytes.saturating_sub(summaries.iter().map(Summary::bytes).sum()).max(MIN_WINDOW_BYTES);
    let kept = artifacts::of_job(&site.store, id).await?;
    let (artifacts, more_artifacts) = artifact_list::rows(kept, |_| None);
    let slot = match &query.q {
        Some(_) => slots.take(&visitor.caller, Costly::Search).await?,
        None => RequestSlot::default(),
    };
    let log = load_window(&site, &job, &outline, query, attempt, bytes, slot).await?;
    head.more_scripts.push(&ASSETS.log_script);
    if !build.status.is_final() {
        head = head.follows_build(build.id, Some(id));
    }
    let room = Room { engine_is_away: config.engine.trouble().is_some(), capacity: config.capacity };
    let waits = why_it_waits(&site.store, &job, room).await?;
    let head = head.titled(format!("{}: {} · {}", job.status.word(), name, repo.name)).status(job.status);
    Ok(Html(JobPage {
        head,
        waits,
        job,
        build_is_over: build.status.is_final(),
        build,
        may: AllowedActions::with(&visitor.caller, object_of(&repo)),
        repo_name: repo.name,
        attempts,
        steps,
        summaries,
        more_summaries,
        artifacts,
        more_artifacts,
        log,
        csrf: visitor.csrf(),
    }))
}

/// Returns why a job waits; empty if it does not.
async fn why_it_waits(store: &Store, job: &JobView, room: Room) -> Result<String, ApiError> {
    let of_build = match (job.status, &job.reason) {
        (Status::Blocked, None) => jobs::of_build(store, job.build).await?,
        _ => Vec::new(),
    };
    let is_awaited = |other: &&jobs::Job| !other.status.is_final() && job.needs.contains(&other.key);
    let needs = of_build.iter().filter(is_awaited).map(|other| short_name(&job.pipeline, &other.key));
    Ok(waiting::why(job.status, job.reason.as_deref(), needs, room))
}

fn step_address(outline: &Outline, number: u32, attempt: &str) -> String {
    let begins = outline.borders.iter().find(|border| border.begins && u32::from(border.step) + 1 == number);
    begins.map_or_else(
        || "#log".to_owned(),
        |border| {
            let n = (border.lines + 1).to_string();
            format!("{}#L{n}", address("", &[("attempt", attempt), ("from", &n)]))
        },
    )
}

/// Returns the beginning of a text that takes at most `at_most` bytes of the page, and subtracts it from `left`.
fn fit_text(text: &str, at_most: usize, left: &mut usize) -> String {
    let mut bytes = 0;
    let at_most = at_most.min(*left);
    let fits = |c: &char| {
        bytes += escaped_len(*c);
        bytes <= at_most
    };
    let mut shown: String = text.chars().take_while(fits).collect();
    if shown.len() < text.len() && !shown.is_empty() {
        shown.pop();
        shown.push('…');
    }
    *left = left.saturating_sub(bytes.min(at_most));
    shown
}

async fn load_window(
    site: &Site,
    job: &JobView,
    outline: &Outline,
    query: LogQuery,
    attempt: String,
    bytes: usize,
    slot: RequestSlot,
) -> Result<LogPart, ApiError> {
    let total = outline.total;
    // The last line of the step that failed; the log's last line if no step failed and yet the job did.
    let failing = find_failing(job, outline);
    let error = failing.as_ref().filter(|_| is_failure(job.status)).and_then(|failing| first_error(failing, outline));
    let open_at = failing.as_ref().map(|failing| failing.last);
    let before = query.before.map(|before| before.min(total + 1));
    // The window's last line, if it is filled from its end.
    let end = match (query.from, before) {
        // A step that has printed nothing begins behind the last line.
        (Some(from), _) => (from > total).then_some(total),
        (None, Some(before)) => Some(before.saturating_sub(1)),
        (None, None) if !job.status.is_final() => Some(total),
        (None, None) if error.is_some() => None,
        (None, None) => open_at,
    };
    let wanted = match end {
        Some(end) => LineRange::From(end.saturating_sub(WINDOW_LINES - 1).max(1), end.min(WINDOW_LINES)),
        None => {
            let around_error = error.map(|error| error.n.saturating_sub(BEFORE_ERROR).max(1));
            LineRange::From(query.from.or(around_error).unwrap_or(1), WINDOW_LINES)
        }
    };
    let found = logs::window(&site.store, job.id, query.attempt, wanted).await?;
    let open = found.open.into_iter().filter(|_| end == Some(total));
    let row = |line: LogLine| Row {
        beside: other_step(job, outline, &line),
        line,
        elsewhere: None,
        shown: log_row::MAX_LINE_BYTES,
    };
    let mut rows: Vec<Row> = found.lines.into_iter().chain(open).map(row).collect();
    fit_rows(&mut rows, end.is_some(), bytes);
    let numbers = || rows.iter().map(|row| row.line.n).filter(|n| *n > 0);
    let (first, last) = (numbers().next().unwrap_or(1), numbers().next_back().unwrap_or(0));
    // The log's last line may belong to a step that ran at the same time.
    let its = |failing: &Failing<'_>| {
        let its_last = rows.iter().rev().find(|row| row.line.n <= failing.last && failing.is_its(row.line.step));
        its_last.map_or(failing.last, |row| row.line.n)
    };
    let open_at = error.map(|error| error.n).or(failing.as_ref().map(its));
    let open_align = if error.is_some() { "center" } else { "end" };
    let text = query.q.filter(|text| !text.is_empty() && text.len() <= 1000);
    let hits = match &text {
        Some(text) => {
            let limit = (FOUND_LINKS_BYTES / hit_address(1, &attempt, text).len()).clamp(1, MAX_FOUND_LINES);
            let search = Search { text: text.clone(), case_sensitive: false, listed: Listed::Skip(0), limit };
            let (store, id) = (site.store.clone(), job.id);
            Some(slot.held_for(async move { logs::search(&store, id, query.attempt, search).await }).await??)
        }
        None => None,
    };
    let query = text.unwrap_or_default();
    let file_name = if attempt.is_empty() { format!("{}.log", job.id) } else { format!("{}-{attempt}.log", job.id) };
    Ok(LogPart { total, first, last, rows, open_at, open_align, query, hits, attempt, file_name })
}

/// Returns the name of the step that printed a line, if the line stands among another step's lines.
fn other_step(job: &JobView, outline: &Outline, line: &LogLine) -> Option<String> {
    let before = |border: &&Border| border.begins && (line.n == 0 || border.lines < line.n);
    let among = u32::from(outline.borders.iter().rev().find(before)?.step) + 1;
    let step =
        job.steps.iter().chain(&job.services).find(|step| line.step == Some(step.number) && step.number != among)?;
    Some(show::cut(&step.name, STEP_NAME_CHARS).to_owned())
}

/// Removes the rows that would make the page too long, from the end that matters less.
fn fit_rows(rows: &mut Vec<Row>, keep_the_end: bool, at_most: usize) {
    let mut bytes = 0;
    let mut fits = |row: &Row| {
        bytes += row.to_string().len();
        bytes <= at_most
    };
    if keep_the_end {
        let kept = rows.iter().rev().take_while(|row| fits(row)).count();
        rows.drain(..rows.len() - kept.max(1).min(rows.len()));
    } else {
        let kept = rows.iter().take_while(|row| fits(row)).count();
        rows.truncate(kept.max(1));
    }
}

fn hit_address(n: u64, attempt: &str, text: &str) -> String {
    let from = n.saturating_sub(20).max(1).to_string();
    format!("{}#L{n}", address("", &[("attempt", attempt), ("from", &from), ("q", text)]))
}
