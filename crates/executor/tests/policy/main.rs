//! The policy of running jobs, on an engine in memory with a clock that costs no time. The tests of `engine-docker`
//! cover real engines.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(unreachable_pub, reason = "each file uses its part")]

mod adoption;
mod agent;
mod caches;
mod cancels;
mod engine;
#[allow(dead_code, reason = "shared with the tests on real engines")]
mod journal;
mod members;
mod outlived;
mod patience;
mod registries;
mod removals;
mod retries;
mod room;
mod sandboxes;
mod spools;
mod workspaces;
mod world;
