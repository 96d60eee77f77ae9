//! `GET /api/v1/jobs/{job}/log/stream`: sends a log as it is written, to its end.
//!
//! Readers share new pieces (`logs/tail`). A slow reader only falls behind and costs one window of the journal. The end
//! is sent after the last byte, and only with a final status.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use longshore_core::JobId;
use longshore_files::logs::{LogEvents, StepHead};
use longshore_store::{jobs, logs};

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    live::{Live, Reader},
    logs::{
        ids::{self, Resumed},
        tail::{Follower, Tails},
        text_events::TextEvents,
    },
    lookup::find_job,
    params::{Path, Query},
    request_slots::{Costly, RequestSlots},
    sse::{self, ResumeQuery},
};

/// Streams a job's log as server-sent events
///
/// Sends `event: log` with `data: {"step", "number", "stream", "time", "text"}`, and after the job has finished and everything was
/// sent, `event: end` with `data: {"status"}`. If the job has not started, the stream waits for it. If it is retried, the stream ends
/// without `end`; a client that reconnects gets `event: reset` with `data: {"attempt"}`, then the new attempt's log from its start.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/stream", tag = "logs", security((), ("token" = ["read"])),
    params(
        ("job" = String, Path, description = "The job's ID"), ResumeQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Resume after the event with this ID"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
    ),
)]
pub(crate) async fn follow(
    State(live): State<Live>,
    State(tails): State<Arc<Tails<TextEvents>>>,
    State(slots): State<Arc<RequestSlots>>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<ResumeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    find_job(&live.store, &caller, id).await?;
    let slot = slots.take(&caller, Costly::Stream).await?;
    let plan = jobs::plan(&live.store, id).await?.ok_or_else(|| ApiError::not_found("job"))?;
    let last_id = query.last_id(&headers);
    let mut log = logs::follow(&live.store, id, 0).await?;
    let (_, attempt) = log.log();
    let no_id = || ApiError::bad_request("`Last-Event-ID` is not an event ID of this stream");
    let Resumed { place: seen, first } = ids::resume(last_id.as_deref(), attempt)?.ok_or_else(no_id)?;
    let (events, from) = LogEvents::resume(StepHead::from_plan(&plan), seen).ok_or_else(no_id)?;
    log.seek(from);
    let format = TextEvents { attempt, events };
    let follower = Follower::new(live, Reader::new(caller, &headers), &tails, id, log, format);
    Ok(sse::response(slot.held_while(sse::with_first(first, follower.events()))))
}
