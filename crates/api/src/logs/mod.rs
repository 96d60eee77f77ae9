//! Following a job's log: the ways to show it, and the tail that all followers of a log share. The routes are in
//! `routes/logs`.

pub(crate) mod event_show;
pub(crate) mod ids;
pub(crate) mod line_show;
pub(crate) mod line_view;
pub(crate) mod tail;
