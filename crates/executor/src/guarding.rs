//! Docker in jobs: the access that a job has, its guard, and the guard's log.

pub(crate) mod docker;
pub(crate) mod guard_log;
pub(crate) mod guards;
