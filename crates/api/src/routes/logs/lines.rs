//! Reads a log by its lines: any window, an outline of steps and marks, and a search, whatever the log's size.

use std::sync::Arc;

use axum::{Json, extract::State};
use longshore_core::{JobId, Timestamp};
use longshore_files::logs::{LineRange, Listed, MAX_LINES, MAX_MARKS, Search};
use longshore_store::{Store, logs};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    logs::line_view::LineView,
    lookup::find_job,
    params::{Path, Query},
    request_slots::{Costly, RequestSlots},
};

/// Lines of a window if the query does not say.
const USUAL_LINES: u64 = 500;
/// The longest text to search for, in bytes.
const MAX_SEARCH: usize = 1000;
/// Line numbers in one page of a search's result.
const MAX_FOUND: usize = 1000;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WindowView {
    /// The number of the first item, or of the next line if there are none.
    first: u64,
    /// Number of complete lines.
    total: u64,
    items: Vec<LineView>,
    /// Unfinished lines.
    open: Vec<LineView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WindowQuery {
    /// Number of the first line to return; 1 by default
    from: Option<u64>,
    /// Maximum number of lines to return: 500 by default, at most 2,000 or about 1 MiB
    count: Option<u64>,
    /// Return this many of the last lines
    tail: Option<u64>,
    /// The attempt, starting at 1; the latest by default
    attempt: Option<u32>,
}

/// Returns lines of a job's log by number
///
/// A line is what one stream of one step wrote up to a line feed. It is numbered when it ends, and its number never changes. A
/// line longer than 16 KiB counts as several.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/lines", tag = "logs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's ID"), WindowQuery),
    responses((status = 200, body = WindowView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn window(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<WindowQuery>,
) -> Result<Json<WindowView>, ApiError> {
    find_job(&store, &caller, id).await?;
    let range = match (query.tail, query.from, query.count) {
        (Some(tail), None, None) => LineRange::Tail(tail.min(MAX_LINES)),
        (Some(_), ..) => return Err(ApiError::bad_request("use either `tail` or `from` and `count`")),
        (None, from, count) => LineRange::From(from.unwrap_or(1).max(1), count.unwrap_or(USUAL_LINES).min(MAX_LINES)),
    };
    let window = logs::window(&store, id, query.attempt, range).await?;
    Ok(Json(WindowView {
        first: window.lines.first().map_or(window.total + 1, |line| line.n),
        total: window.total,
        items: window.lines.into_iter().map(LineView::from).collect(),
        open: window.open.into_iter().map(LineView::from).collect(),
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OutlineQuery {
    /// The attempt, starting at 1; the latest by default
    attempt: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OutlineView {
    /// Number of complete lines.
    total: u64,
    /// Starts and ends of steps in order.
    steps: Vec<BorderView>,
    /// Groups, errors, warnings and notices in order.
    marks: Vec<MarkView>,
    /// Whether the log has more marks than are kept.
    truncated: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BorderView {
    /// The step's number, starting at 1.
    number: u32,
    /// Whether the step starts here; otherwise it ends.
    begins: bool,
    /// Number of lines before this point.
    lines: u64,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MarkView {
    n: u64,
    /// `error`, `warning`, `notice`, `group`, `end-group`
    #[schema(value_type = String, example = "error")]
    kind: &'static str,
    /// The group's name or the error's message; may be shortened.
    text: String,
}

/// Returns where the steps, groups, errors and warnings are in a job's log
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/outline", tag = "logs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's ID"), OutlineQuery),
    responses((status = 200, body = OutlineView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn outline(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<OutlineQuery>,
) -> Result<Json<OutlineView>, ApiError> {
    find_job(&store, &caller, id).await?;
    let outline = logs::outline(&store, id, query.attempt).await?;
    let steps = outline.borders.into_iter().map(|border| BorderView {
        number: u32::from(border.step) + 1,
        begins: border.begins,
        lines: border.lines,
        time: border.time,
    });
    let truncated = outline.marks.len() >= MAX_MARKS;
    let marks = outline.marks.into_iter().map(|mark| MarkView { n: mark.n, kind: mark.kind.as_str(), text: mark.text });
    Ok(Json(OutlineView { total: outline.total, steps: steps.collect(), marks: marks.collect(), truncated }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// The text to search for, 1 to 1,000 characters
    q: String,
    /// Whether the search is case-sensitive; by default it ignores the case of ASCII letters
    #[serde(default)]
    case_sensitive: bool,
    /// Return matches from this line number on
    from: Option<u64>,
    /// Number of matches to skip: the `next` of the previous page
    skip: Option<u64>,
    /// Maximum number of matches to return: 1,000 by default and at most
    limit: Option<usize>,
    /// The attempt, starting at 1; the latest by default
    attempt: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundView {
    /// Number of complete lines.
    total: u64,
    /// Number of matching lines.
    count: u64,
    /// Number of matches before the first of `lines`.
    skipped: u64,
    /// The numbers of the matching lines.
    lines: Vec<u64>,
    /// Pass this as `skip` to get the next page.
    next: Option<u64>,
}

/// Searches a job's log
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/search", tag = "logs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's ID"), SearchQuery),
    responses((status = 200, body = FoundView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn search(
    State(store): State<Store>,
    State(slots): State<Arc<RequestSlots>>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<FoundView>, ApiError> {
    find_job(&store, &caller, id).await?;
    if query.q.is_empty() || query.q.len() > MAX_SEARCH {
        return Err(ApiError::bad_request("`q` must have 1 to 1,000 characters"));
    }
    let listed = match (query.from, query.skip) {
        (Some(_), Some(_)) => return Err(ApiError::bad_request("use either `from` or `skip`")),
        (Some(from), None) => Listed::FromLine(from),
        (None, skip) => Listed::Skip(skip.unwrap_or(0)),
    };
    let limit = query.limit.unwrap_or(MAX_FOUND).min(MAX_FOUND);
    let slot = slots.take(&caller, Costly::Search).await?;
    let search = Search { text: query.q, case_sensitive: query.case_sensitive, listed, limit };
    let found = slot.held_for(async move { logs::search(&store, id, query.attempt, search).await }).await??;
    let next = found.skipped + found.lines.len() as u64;
    Ok(Json(FoundView {
        total: found.total,
        count: found.count,
        skipped: found.skipped,
        lines: found.lines,
        next: (next < found.count).then_some(next),
    }))
}
