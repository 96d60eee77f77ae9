//! Reads a log by its lines: any window, an outline of steps and marks, and a search, whatever the log's size.

use std::sync::Arc;

use axum::{Json, extract::State};
use longshore_core::{JobId, Timestamp};
use longshore_files::logs::{Listed, MAX_LINES, MAX_MARKS, Search, Wanted};
use longshore_store::{Store, logs};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    logs::line_view::LineView,
    lookup::find_job,
    params::{Path, Query},
    places::{Costly, Places},
};

/// Lines of a window if the query does not say.
const USUAL_LINES: u64 = 500;
/// The longest text to search for, in bytes.
const MAX_SEARCH: usize = 1000;
/// Line numbers in one page of a search's result.
const MAX_FOUND: usize = 1000;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WindowView {
    /// The number of the first of `items`, or of the line to come where there are none.
    first: u64,
    /// Lines that have ended.
    total: u64,
    items: Vec<LineView>,
    /// What has begun and not ended.
    open: Vec<LineView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WindowQuery {
    /// The first line's number; 1 where neither it nor `tail` is given
    from: Option<u64>,
    /// So many lines, never more than 2,000 or about 1 MiB of them; 500 where it is not given
    count: Option<u64>,
    /// The last so many lines
    tail: Option<u64>,
    /// Of this try, from 1, of a job that was tried again; the newest where it is not given
    attempt: Option<u32>,
}

/// Lines of a job's log by their numbers
///
/// A line is what one stream of one step wrote up to a line feed, and gets its number when it ends: numbers never change. A
/// line of more than 16 KiB is several.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/lines", tag = "logs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's id"), WindowQuery),
    responses((status = 200, body = WindowView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn window(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<WindowQuery>,
) -> Result<Json<WindowView>, ApiError> {
    find_job(&store, &caller, id).await?;
    let wanted = match (query.tail, query.from, query.count) {
        (Some(tail), None, None) => Wanted::Tail(tail.min(MAX_LINES)),
        (Some(_), ..) => return Err(ApiError::bad_request("give either `tail` or `from` and `count`")),
        (None, from, count) => Wanted::From(from.unwrap_or(1).max(1), count.unwrap_or(USUAL_LINES).min(MAX_LINES)),
    };
    let window = logs::window(&store, id, query.attempt, wanted).await?;
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
    /// Of this try, from 1, of a job that was tried again; the newest where it is not given
    attempt: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OutlineView {
    /// Lines that have ended.
    total: u64,
    /// In the order in which they began and ended.
    steps: Vec<BorderView>,
    /// Lines that mean something, in their order.
    marks: Vec<MarkView>,
    /// There are more marks than are kept of one log.
    truncated: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BorderView {
    /// The step's, from 1.
    number: u32,
    /// It begins here; else it ends.
    begins: bool,
    /// Lines that had ended before.
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
    /// What a group is called, what an error says; cut where it is long.
    text: String,
}

/// Where a job's log has its steps, groups, errors and warnings
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/outline", tag = "logs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's id"), OutlineQuery),
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
    /// What lines have to show: 1 to 1,000 characters
    q: String,
    /// Whether capital letters differ from small ones; ASCII's do not, where it is not given
    #[serde(default)]
    case_sensitive: bool,
    /// Lists the lines that have it from this number on
    from: Option<u64>,
    /// Lists them without the first so many: `next` of the page before
    skip: Option<u64>,
    /// Numbers in a page; 1,000 where it is not given, and never more
    limit: Option<usize>,
    /// In this try's log, from 1, of a job that was tried again; the newest where it is not given
    attempt: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundView {
    /// Lines that have ended.
    total: u64,
    /// Lines that have it.
    count: u64,
    /// How many of them are before the first of `lines`.
    skipped: u64,
    /// Their numbers.
    lines: Vec<u64>,
    /// The `skip` of the next page.
    next: Option<u64>,
}

/// The lines of a job's log that show a text
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/search", tag = "logs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's id"), SearchQuery),
    responses((status = 200, body = FoundView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn search(
    State(store): State<Store>,
    State(places): State<Arc<Places>>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<FoundView>, ApiError> {
    find_job(&store, &caller, id).await?;
    if query.q.is_empty() || query.q.len() > MAX_SEARCH {
        return Err(ApiError::bad_request("`q` has to have 1 to 1,000 characters"));
    }
    let listed = match (query.from, query.skip) {
        (Some(_), Some(_)) => return Err(ApiError::bad_request("give either `from` or `skip`")),
        (Some(from), None) => Listed::FromLine(from),
        (None, skip) => Listed::Skip(skip.unwrap_or(0)),
    };
    let limit = query.limit.unwrap_or(MAX_FOUND).min(MAX_FOUND);
    let _place = places.take(&caller, Costly::Search)?;
    let search = Search { text: query.q, case_sensitive: query.case_sensitive, listed, limit };
    let found = logs::search(&store, id, query.attempt, search).await?;
    let next = found.skipped + found.lines.len() as u64;
    Ok(Json(FoundView {
        total: found.total,
        count: found.count,
        skipped: found.skipped,
        lines: found.lines,
        next: (next < found.count).then_some(next),
    }))
}
