//! A job's log: read as text, as raw bytes, as JSON lines; followed live.

pub(crate) mod live;
mod range;
pub(crate) mod read;
