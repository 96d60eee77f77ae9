//! What jobs leave on the engine for later jobs: caches and workspaces.

pub(crate) mod cache_upkeep;
pub(crate) mod caches;
pub(crate) mod job_caches;
pub(crate) mod workspaces;
