//! Tests against real git: fetching from a host over HTTP, checkouts, working trees, their cost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod checkout;
mod cost;
mod hosts;
mod incoming;
mod lfs;
mod merge;
mod mirror;
mod size;
#[path = "../support/mod.rs"]
mod support;
