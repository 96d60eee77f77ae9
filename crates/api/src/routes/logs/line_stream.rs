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
        line_events::LineEvents,
        tail::{Follower, Tails},
    },
    lookup::find_job,
    params::{Path, Query},
    request_slots::{Costly, RequestSlots},
    sse::{self, ResumeQuery},
};

/// Streams a job's log line by line as server-sent events
///
/// Sends `event: lines` with `data: {"lines", "open", "steps", "total"}`: the lines that have ended since, the unfinished lines (without
/// numbers, replaced with every event), and the steps that started or ended. `id` is the last line's number; a client that resumes continues after it.
/// After the job has finished and everything was sent, `event: end` with `data: {"status", "total"}`. If the job is retried, IDs start
/// with the attempt (`2:120`), and a client that reconnects gets `event: reset` with `data: {"attempt"}`: line numbers then start again.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/lines/stream", tag = "logs", security((), ("token" = ["read"])),
    params(
        ("job" = String, Path, description = "The job's ID"), ResumeQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Resume after the line with this number"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    ),
)]
pub(crate) async fn follow(
    State(live): State<Live>,
    State(tails): State<Arc<Tails<LineEvents>>>,
    State(slots): State<Arc<RequestSlots>>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<ResumeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    find_job(&live.store, &caller, id).await?;
    let slot = slots.take(&caller, Costly::Stream).await?;
    let last_id = query.last_id(&headers);
    let mut log = logs::follow(&live.store, id, 0).await?;
    let (_, attempt) = log.log();
    let no_id = || ApiError::bad_request("`Last-Event-ID` must be a line number");
    let Resumed { place: seen, mut first } = ids::resume(last_id.as_deref(), attempt)?.ok_or_else(no_id)?;
    let from = logs::place_of(&live.store, id, attempt, seen.parse().map_err(|_| no_id())?).await?;
    log.seek(from.offset);
    let mut format = LineEvents { attempt, cut: from.cut };
    first.push_str(&format.event(from.lines, Vec::new())?);
    let follower = Follower::new(live, Reader::new(caller, &headers), &tails, id, log, format);
    Ok(sse::response(slot.held_while(sse::with_first(first, follower.events()))))
}
