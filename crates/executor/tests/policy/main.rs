//! The policy of running jobs, on an engine in memory whose clock costs no time. The same on real engines: `engine-docker`'s tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(unreachable_pub, reason = "each file uses its part")]

mod adoption;
mod agent;
mod cancels;
mod engine;
#[allow(dead_code, reason = "shared with the tests on real engines")]
mod journal;
mod patience;
mod retries;
mod sandboxes;
mod world;
