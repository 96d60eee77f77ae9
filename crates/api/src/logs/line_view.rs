//! One line of a log, as the API shows it.

use longshore_core::Timestamp;
use longshore_files::logs::LogLine;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineView {
    /// The line's permanent number, starting at 1; 0 for an unfinished line.
    pub(crate) n: u64,
    /// The step's number, starting at 1; `null` for a note that belongs to no step.
    pub(crate) step: Option<u32>,
    /// `stdout`, `stderr`, or `system` for Longshore's own notes.
    #[schema(value_type = String, example = "stdout")]
    pub(crate) stream: &'static str,
    /// When the line was started.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) time: Timestamp,
    /// The line without its line feed, with colors. Of progress bars the last state; of `::error file=a.c::broken` the
    /// message.
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
