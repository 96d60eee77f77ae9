//! Formats a log as server-sent events of numbered lines (`GET /api/v1/jobs/{job}/log/lines/stream`).

use longshore_core::{RecordKind, Status, Timestamp};
use longshore_files::logs::{Batch, LineCut, LogLine};
use serde::Serialize;

use super::{ids, line_view::LineView, tail::EventFormat};
use crate::{error::ApiError, sse};

/// Cuts the records into numbered lines, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LineEvents {
    pub(crate) attempt: u32,
    pub(crate) cut: LineCut,
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
pub(crate) struct StepBorder {
    number: u32,
    begins: bool,
    lines: u64,
    time: Timestamp,
    /// The end of the step, as the agent reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct End {
    status: Status,
    total: u64,
}

impl LineEvents {
    pub(crate) fn event(&mut self, lines: Vec<LogLine>, steps: Vec<StepBorder>) -> Result<String, ApiError> {
        let mut out = String::new();
        let lines = lines.into_iter().map(LineView::from).collect();
        let open = self.cut.open().iter().map(|open| LogLine::open(open).into()).collect();
        let total = self.cut.ended();
        sse::write_event(
            &mut out,
            "lines",
            &ids::event_id(self.attempt, &total.to_string()),
            &Lines { lines, open, steps, total },
        )?;
        Ok(out)
    }
}

impl EventFormat for LineEvents {
    fn write(&mut self, batch: &Batch) -> Result<String, ApiError> {
        let (mut lines, mut steps) = (Vec::new(), Vec::new());
        for (_, record) in batch.records() {
            self.cut.feed(&record, |line| lines.push(LogLine::new(&line)));
            let begins = match record.kind {
                RecordKind::StepStarted => true,
                RecordKind::StepFinished => false,
                RecordKind::Output(_)
                | RecordKind::JobFinished
                | RecordKind::RunContainer
                | RecordKind::ServiceReady
                | RecordKind::AttemptEnded => continue,
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
        sse::write_event(&mut out, "end", &ids::event_id(self.attempt, &total.to_string()), &End { status, total })?;
        Ok(out)
    }
}
