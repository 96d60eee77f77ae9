//! Formats a log as server-sent events of text (`GET /api/v1/jobs/{job}/log/stream`): records of one step and stream,
//! joined as far as they fit.

use longshore_core::{Status, Timestamp};
use longshore_files::logs::{Batch, LogEvent, LogEvents};
use serde::Serialize;

use super::{ids, tail::EventFormat};
use crate::{error::ApiError, sse};

/// Joins records of one step and stream up to this many bytes of text; a longer record is an event of its own.
const EVENT_LEN: usize = 64 << 10;

/// Joins records of one step and stream to events.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TextEvents {
    pub(crate) attempt: u32,
    pub(crate) events: LogEvents,
}

#[derive(Serialize)]
struct End {
    status: Status,
}

impl EventFormat for TextEvents {
    /// Returns the batch as events, with neighbouring records of one step and stream joined.
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
                open.id = ids::event_id(self.attempt, &self.events.cursor(end));
            }
        }
        if let Some(done) = open {
            done.write(&mut out)?;
        }
        Ok(out)
    }

    fn end(&mut self, offset: u64, status: Status) -> Result<String, ApiError> {
        let mut out = String::new();
        sse::write_event(&mut out, "end", &ids::event_id(self.attempt, &self.events.cursor(offset)), &End { status })?;
        Ok(out)
    }
}

/// An event that the next record may still extend.
struct Open {
    step: Option<String>,
    number: Option<u32>,
    stream: &'static str,
    time: Timestamp,
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
