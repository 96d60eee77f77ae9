//! A summary of the log of a job's guard, which has all requests of the job to its Docker API. It is read and reported
//! before the guard is removed.

use futures_util::future::BoxFuture;

use crate::attempt::AttemptId;

/// A summary of a guard's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardLog {
    pub requests: u64,
    /// Requests that were refused, without those for objects that do not exist.
    pub refusals: u64,
    /// The first of the refused requests.
    pub refused: Vec<RefusedCall>,
    /// Requests for objects that do not exist, or belong to others.
    pub not_there: u64,
    /// Ids of others' objects that the job tried, if it did so too often for an accident.
    pub probes: Vec<String>,
    /// The registries from which the job has pulled images.
    pub registries: Vec<String>,
    /// Why the guard refused everything in the end, if it did.
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

/// Records what guards report. After a crash, a log may be reported again.
pub trait GuardReports: Send + Sync {
    fn report(&self, attempt: AttemptId, log: GuardLog) -> BoxFuture<'_, ()>;

    /// Called at once when a guard begins to refuse its job everything. The log contains it too.
    fn frozen(&self, attempt: AttemptId, reason: String) -> BoxFuture<'_, ()>;

    /// Called when objects of a job remain on the engine although their removal was tried repeatedly.
    fn outlived(&self, attempt: AttemptId, objects: Vec<String>) -> BoxFuture<'_, ()>;
}
