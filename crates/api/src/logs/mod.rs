//! A job's log: read as text, as raw bytes, as JSON lines; by its lines; followed live.

mod ids;
pub(crate) mod line_stream;
pub(crate) mod lines;
pub(crate) mod live;
mod range;
pub(crate) mod read;
mod tail;

pub(crate) use tail::Tails;
