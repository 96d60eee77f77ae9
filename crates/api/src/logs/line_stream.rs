//! `GET /api/v1/jobs/{job}/log/lines/stream`: a log's lines as they end. An event's id is the last line's number, and all that resuming takes.

use std::sync::Arc;

use axum::{body::Bytes, extract::State, http::HeaderMap, response::Response};
use futures_util::{StreamExt as _, stream};
use longshore_core::{JobId, RecordKind, Status, Timestamp};
use longshore_store::logs::{self, Batch, LineCut, LogLine};
use serde::Serialize;

use super::{
    lines::LineView,
    tail::{Follower, Show},
};
use crate::{
    ApiError,
    auth::Caller,
    builds::find_job,
    error::ErrorBody,
    params::{Path, Query},
    server::Server,
    sse::{self, ResumeQuery},
};

/// A job's log as server-sent events, a line at a time
///
/// `event: lines` with `data: {"lines", "open", "steps", "total"}`: lines that have ended since, what is open now (without numbers,
/// replaced with every event), steps that began or ended. `id` is the last line's number: whoever resumes goes on behind that line.
/// When the job is over and everything has been sent, `event: end` with `data: {"status", "total"}`.
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
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<ResumeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    find_job(&server, &caller, id).await?;
    let seen = query.last_id(&headers).map_or(Ok(0), |id| id.parse());
    let seen = seen.map_err(|_| ApiError::bad_request("`Last-Event-ID` is no line's number"))?;
    let place = logs::place_of(&server.store, id, seen).await?;
    let reader = logs::follow(&server.store, id, place.offset).await?;
    let mut show = LineShow { cut: place.cut };
    let first = show.event(place.lines, Vec::new())?;
    let follower = Follower::new(Arc::clone(&server), &server.line_tails, id, reader, show);
    Ok(sse::response(stream::once(async { Bytes::from(first) }).chain(follower.events())))
}

/// Lines, in order.
#[derive(Debug, Clone)]
pub(crate) struct LineShow {
    cut: LineCut,
}

#[derive(Serialize)]
struct Lines {
    lines: Vec<LineView>,
    open: Vec<LineView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepBorder>,
    total: u64,
}

/// A step begins or ends here.
#[derive(Serialize)]
struct StepBorder {
    number: u32,
    begins: bool,
    lines: u64,
    time: Timestamp,
    /// What the agent says of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct End {
    status: Status,
    total: u64,
}

impl LineShow {
    fn event(&mut self, lines: Vec<LogLine>, steps: Vec<StepBorder>) -> Result<String, ApiError> {
        let mut out = String::new();
        let lines = lines.into_iter().map(LineView::from).collect();
        let open = self.cut.open().iter().map(|open| LogLine::open(open).into()).collect();
        let total = self.cut.ended();
        sse::write_event(&mut out, "lines", &total.to_string(), &Lines { lines, open, steps, total })?;
        Ok(out)
    }
}

impl Show for LineShow {
    fn write(&mut self, batch: &Batch) -> Result<String, ApiError> {
        let (mut lines, mut steps) = (Vec::new(), Vec::new());
        for (_, record) in batch.records() {
            self.cut.feed(&record, |line| lines.push(LogLine::new(&line)));
            let begins = match record.kind {
                RecordKind::StepStarted => true,
                RecordKind::StepFinished => false,
                RecordKind::Output(_) | RecordKind::JobFinished => continue,
            };
            steps.push(StepBorder {
                number: u32::from(record.step) + 1,
                begins,
                lines: self.cut.ended(),
                time: record.time,
                result: if begins { None } else { serde_json::from_slice(&record.data).ok() },
            });
        }
        self.event(lines, steps)
    }

    fn end(&mut self, _offset: u64, status: Status) -> Result<String, ApiError> {
        let mut lines = Vec::new();
        self.cut.finish(|line| lines.push(LogLine::new(&line)));
        let mut out = if lines.is_empty() { String::new() } else { self.event(lines, Vec::new())? };
        let total = self.cut.ended();
        sse::write_event(&mut out, "end", &total.to_string(), &End { status, total })?;
        Ok(out)
    }
}
