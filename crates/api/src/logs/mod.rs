//! Following a job's log: the formats of its events, and the tail that all followers of a log share. The routes are in
//! `routes/logs`.

pub(crate) mod ids;
pub(crate) mod line_events;
pub(crate) mod line_view;
pub(crate) mod tail;
pub(crate) mod text_events;
