//! What a job's request says about its caches, and the records that are kept of them.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use longshore_agent_protocol::CacheSpec;
use longshore_core::CachePath;
use longshore_core::plan::CacheSave;

use crate::names::VolumeName;

/// Limit for the layers of an entry. An overlay's options have to fit into 4096 bytes.
pub const MAX_LAYERS: usize = 16;

/// The caches of a job.
#[derive(Clone, Default)]
pub struct JobCaches {
    pub wanted: Vec<JobCache>,
    /// `None` without caches.
    pub records: Option<Arc<dyn CacheRecords>>,
}

/// One cache of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCache {
    pub key: String,
    pub paths: Vec<CachePath>,
    /// The entry that it begins with.
    pub found: Option<FoundCache>,
    /// The entry is one folder that all jobs write into.
    pub shared: bool,
    pub save: CacheSave,
    /// Whether the job may save anything at all.
    pub may_save: bool,
}

/// An entry that a job begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCache {
    pub key: String,
    /// For each path its volumes, the topmost layer first.
    pub layers: Vec<Vec<VolumeName>>,
    /// The number of the user whose files these are.
    pub owner: u32,
    pub bytes: Option<u64>,
}

/// The records of the caches of one attempt. Each call may be repeated.
pub trait CacheRecords: Send + Sync {
    /// Notes which user the attempt's job runs as.
    fn owner(&self, uid: u32) -> BoxFuture<'_, ()>;

    /// Notes that the volumes of the entry that this cache was to begin with are gone.
    fn lost(&self, cache: usize) -> BoxFuture<'_, ()>;

    /// The attempt has ended, and its caches are about to be kept or not: a job that wants one of their keys waits
    /// until [`ended`](Self::ended).
    fn ending(&self);

    /// Saves this cache, which is complete with these layers now that the job is done.
    fn save(&self, cache: usize, layers: Vec<Vec<VolumeName>>) -> BoxFuture<'_, ()>;

    /// Notes that the attempt uses no cache any more. Returns which of these volumes, its own, no entry has kept.
    /// `None` if that is not known now; then they stay for the next sweep.
    fn ended(&self, own: Vec<VolumeName>) -> BoxFuture<'_, Option<Vec<VolumeName>>>;
}

impl fmt::Debug for JobCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobCaches").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl JobCache {
    /// Returns what the job's agent has to know about it.
    pub(crate) fn specs(&self) -> impl Iterator<Item = CacheSpec> + '_ {
        // The files of a shared one belong to the user that wrote them.
        let owner = self.found.as_ref().filter(|_| !self.shared).map(|found| found.owner);
        self.paths.iter().map(move |path| CacheSpec { path: path.to_string(), owner })
    }
}
