//! Tests against real git: fetching from a host over HTTP, checkouts, working trees.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod changes;
mod checkout;
mod facts;
mod files;
mod hosts;
mod incoming;
mod lfs;
mod merge;
mod mirror;
mod refs;
mod size;
mod submodules;
#[path = "../support/mod.rs"]
mod support;
mod worktree;
