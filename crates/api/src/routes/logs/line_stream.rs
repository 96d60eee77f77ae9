//! `GET /api/v1/jobs/{job}/log/lines/stream`: sends a log's lines as they end. An event's id is the number of its last
//! line, and resuming needs nothing else.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use longshore_core::JobId;
use longshore_store::logs;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    live::{Live, Reader},
    logs::{
        ids::{self, Resumed},
        line_show::LineShow,
        tail::{Follower, Tails},
    },
    lookup::find_job,
    params::{Path, Query},
    places::{Costly, Places},
    sse::{self, ResumeQuery},
};

/// A job's log as server-sent events, a line at a time
///
/// `event: lines` with `data: {"lines", "open", "steps", "total"}`: lines that have ended since, what is open now (without numbers,
/// replaced with every event), steps that began or ended. `id` is the last line's number: whoever resumes goes on behind that line.
/// When the job is over and everything has been sent, `event: end` with `data: {"status", "total"}`. Where it is tried again, ids begin
/// with the attempt (`2:120`), and who comes back is told `event: reset` with `data: {"attempt"}`: lines count anew from there.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/lines/stream", tag = "logs", security((), ("token" = ["read"])),
    params(
        ("job" = String, Path, description = "The job's id"), ResumeQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Goes on behind the line of this number"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    ),
)]
pub(crate) async fn follow(
    State(live): State<Live>,
    State(tails): State<Arc<Tails<LineShow>>>,
    State(places): State<Arc<Places>>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<ResumeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    find_job(&live.store, &caller, id).await?;
    let place = places.take(&caller, Costly::Stream)?;
    let last_id = query.last_id(&headers);
    let mut log = logs::follow(&live.store, id, 0).await?;
    let (_, attempt) = log.log();
    let no_id = || ApiError::bad_request("`Last-Event-ID` is no line's number");
    let Resumed { place: seen, mut first } = ids::resume(last_id.as_deref(), attempt)?.ok_or_else(no_id)?;
    let from = logs::place_of(&live.store, id, attempt, seen.parse().map_err(|_| no_id())?).await?;
    log.seek(from.offset);
    let mut show = LineShow { attempt, cut: from.cut };
    first.push_str(&show.event(from.lines, Vec::new())?);
    let follower = Follower::new(live, Reader::new(caller, &headers), &tails, id, log, show);
    Ok(sse::response(place.held_while(sse::with_first(first, follower.events()))))
}
