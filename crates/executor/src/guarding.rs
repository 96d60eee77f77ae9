//! Docker in jobs: the access that a job has, its guard, the guard's log, and its builder.

pub(crate) mod builders;
pub(crate) mod docker;
pub(crate) mod guard_log;
pub(crate) mod guards;
