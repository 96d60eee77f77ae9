//! One line of a log, as the API shows it.

use longshore_core::Timestamp;
use longshore_files::logs::LogLine;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineView {
    /// From 1, and for ever; 0 of a line that has not ended.
    pub(crate) n: u64,
    /// The step's number, from 1; nothing for a note that belongs to none.
    pub(crate) step: Option<u32>,
    /// `stdout`, `stderr`, or `system` for what Longshore itself says.
    #[schema(value_type = String, example = "stdout")]
    pub(crate) stream: &'static str,
    /// When its first piece was written.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) time: Timestamp,
    /// Without its end; of what redraws itself the last state; with its colours. Of `::error file=a.c::broken` what it says.
    pub(crate) text: String,
    /// `error`, `warning`, `notice`, `group`, `end-group`.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<&'static str>,
}

impl From<LogLine> for LineView {
    fn from(line: LogLine) -> Self {
        let LogLine { n, step, stream, time, text, mark } = line;
        Self { n, step, stream, time, text, mark: mark.map(|mark| mark.as_str()) }
    }
}
