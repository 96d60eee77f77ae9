//! Follows a job's agent: opens its link, runs sessions, writes its messages to the journal, passes files to and from
//! it.

pub(crate) mod agent;
pub(crate) mod artifacts;
pub(crate) mod checkout;
pub(crate) mod clock;
pub(crate) mod follow;
pub(crate) mod journal;
pub(crate) mod link;
pub(crate) mod log_recorder;
pub(crate) mod planned;
pub(crate) mod session;
pub(crate) mod spool;
