//! A job's log: read as text, as raw bytes or as JSON lines; by its lines; followed live.

pub(crate) mod line_stream;
pub(crate) mod lines;
pub(crate) mod live;
pub(crate) mod read;
