//! The log of a job's guard, with the job's requests to its Docker API: read and reported before the guard is removed.

use futures_util::future::BoxFuture;

use crate::attempt::AttemptId;

/// A guard's log, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardLog {
    pub requests: u64,
    /// Requests that were refused, without those for objects that do not exist.
    pub refusals: u64,
    /// The first of them.
    pub refused: Vec<RefusedCall>,
    /// Requests for objects that do not exist, or belong to others.
    pub not_there: u64,
    /// Ids of others that it tried, if it did so more often than by accident.
    pub probes: Vec<String>,
    /// The registries that it has pulled images from.
    pub registries: Vec<String>,
    /// Why everything was refused in the end, if it was.
    pub frozen: Option<String>,
    /// The hash of the log's last line.
    pub hash: String,
}

/// A request that a guard refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCall {
    /// The method and the route.
    pub call: String,
    pub rule: String,
    pub reason: String,
}

/// Keeps what guards have recorded. A log may be told again after a kill.
pub trait GuardReports: Send + Sync {
    fn report(&self, attempt: AttemptId, log: GuardLog) -> BoxFuture<'_, ()>;

    /// A guard refuses its job everything from now on. Told at once, and the log says it once more.
    fn frozen(&self, attempt: AttemptId, reason: String) -> BoxFuture<'_, ()>;

    /// Something of a job is still on the engine, although everything was done to remove it.
    fn outlived(&self, attempt: AttemptId, objects: Vec<String>) -> BoxFuture<'_, ()>;
}
