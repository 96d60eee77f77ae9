//! `GET /api/v1/jobs/{job}/log/lines/stream`: a log's lines as they end. An event's id is the last line's number, and all that resuming takes.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use longshore_core::{JobId, RecordKind, Status, Timestamp};
use longshore_files::logs::{Batch, LineCut, LogLine};
use longshore_store::logs;
use serde::Serialize;

use super::{
    ids::{self, Resumed},
    lines::LineView,
    tail::{Follower, Show},
};
use crate::{
    ApiError,
    auth::{Caller, Reader},
    builds::find_job,
    error::ErrorBody,
    params::{Path, Query},
    places::Dear,
    server::Server,
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
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<ResumeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    find_job(&server, &caller, id).await?;
    let place = server.places.take(&caller, Dear::Stream)?;
    let last_id = query.last_id(&headers);
    let mut reader = logs::follow(&server.store, id, 0).await?;
    let (_, attempt) = reader.log();
    let no_id = || ApiError::bad_request("`Last-Event-ID` is no line's number");
    let Resumed { place: seen, mut first } = ids::resume(last_id.as_deref(), attempt)?.ok_or_else(no_id)?;
    let from = logs::place_of(&server.store, id, attempt, seen.parse().map_err(|_| no_id())?).await?;
    reader.seek(from.offset);
    let mut show = LineShow { attempt, cut: from.cut };
    first.push_str(&show.event(from.lines, Vec::new())?);
    let follower =
        Follower::new(Arc::clone(&server), Reader::new(caller, &headers), &server.line_tails, id, reader, show);
    Ok(sse::response(place.held_by(sse::behind(first, follower.events()))))
}

/// Lines, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LineShow {
    attempt: u32,
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
        sse::write_event(
            &mut out,
            "lines",
            &ids::id(self.attempt, &total.to_string()),
            &Lines { lines, open, steps, total },
        )?;
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
        sse::write_event(&mut out, "end", &ids::id(self.attempt, &total.to_string()), &End { status, total })?;
        Ok(out)
    }
}
