//! What jobs leave on the engine for later jobs: caches, workspaces, successes for later jobs, images.

pub mod caches;
pub mod engine_room;
pub mod reuse;
pub mod workspaces;
