//! `GET /api/v1/jobs/{job}/log/stream`: a log as it is written, to its end.
//!
//! Readers share what comes (`tail`); a slow one is behind, costs a window of the journal, and nothing else. The end is sent after the
//! last byte, and only with a final status.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use longshore_core::{JobId, Status};
use longshore_files::logs::{Batch, LogEvent, LogEvents, StepHead};
use longshore_store::{jobs, logs};
use serde::Serialize;

use super::{
    ids::{self, Resumed},
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

/// Records of one step and stream come together up to so many bytes of text; a longer record comes alone.
const EVENT_LEN: usize = 64 << 10;

/// A job's log as server-sent events
///
/// `event: log` with `data: {"step", "number", "stream", "time", "text"}`, and when the job is over and everything has been
/// sent `event: end` with `data: {"status"}`. A job that has not begun is waited for. Where it is tried again the answer ends
/// without that; who comes back is told `event: reset` with `data: {"attempt"}`, and gets the new attempt's log from its beginning.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}/log/stream", tag = "logs", security((), ("token" = ["read"])),
    params(
        ("job" = String, Path, description = "The job's id"), ResumeQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Goes on behind the event of this id"),
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
    let plan = jobs::plan(&server.store, id).await?.ok_or_else(|| ApiError::no_such("job"))?;
    let last_id = query.last_id(&headers);
    let mut reader = logs::follow(&server.store, id, 0).await?;
    let (_, attempt) = reader.log();
    let no_id = || ApiError::bad_request("`Last-Event-ID` is no id of this stream's events");
    let Resumed { place: seen, first } = ids::resume(last_id.as_deref(), attempt)?.ok_or_else(no_id)?;
    let (events, from) = LogEvents::resume(StepHead::of(&plan), seen).ok_or_else(no_id)?;
    reader.seek(from);
    let show = EventShow { attempt, events };
    let follower =
        Follower::new(Arc::clone(&server), Reader::new(caller, &headers), &server.event_tails, id, reader, show);
    Ok(sse::response(place.held_by(sse::behind(first, follower.events()))))
}

/// Records as events.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventShow {
    attempt: u32,
    events: LogEvents,
}

#[derive(Serialize)]
struct End {
    status: Status,
}

impl Show for EventShow {
    /// The batch as events, neighbours of one step and stream together.
    fn write(&mut self, batch: &Batch) -> Result<String, ApiError> {
        let mut out = String::new();
        let mut open: Option<Open> = None;
        for (end, record) in batch.records() {
            let Some(event) = self.events.event(&record) else { continue };
            match &mut open {
                Some(open) if open.takes(&event) => open.text.push_str(&event.text),
                Some(_) | None => {
                    let next = Open::new(&event);
                    if let Some(done) = open.replace(next) {
                        done.write(&mut out)?;
                    }
                }
            }
            if let Some(open) = &mut open {
                open.id = ids::id(self.attempt, &self.events.cursor(end));
            }
        }
        if let Some(done) = open {
            done.write(&mut out)?;
        }
        Ok(out)
    }

    fn end(&mut self, offset: u64, status: Status) -> Result<String, ApiError> {
        let mut out = String::new();
        sse::write_event(&mut out, "end", &ids::id(self.attempt, &self.events.cursor(offset)), &End { status })?;
        Ok(out)
    }
}

/// An event that may still grow.
struct Open {
    step: Option<String>,
    number: Option<u32>,
    stream: &'static str,
    time: longshore_core::Timestamp,
    text: String,
    id: String,
}

impl Open {
    fn new(event: &LogEvent<'_>) -> Self {
        Self {
            step: event.step.map(str::to_owned),
            number: event.number,
            stream: event.stream,
            time: event.time,
            text: event.text.clone().into_owned(),
            id: String::new(),
        }
    }

    fn takes(&self, event: &LogEvent<'_>) -> bool {
        self.number == event.number && self.stream == event.stream && self.text.len() + event.text.len() <= EVENT_LEN
    }

    fn write(self, out: &mut String) -> Result<(), ApiError> {
        let event = LogEvent {
            step: self.step.as_deref(),
            number: self.number,
            stream: self.stream,
            time: self.time,
            text: self.text.into(),
        };
        sse::write_event(out, "log", &self.id, &event)
    }
}
