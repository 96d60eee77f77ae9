//! The outbox on a real store, against forges and receivers that keep what they are told and refuse what real ones
//! refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod anomalies;
mod check_runs;
mod comments;
#[path = "../../../../tests/support/forge.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod forge;
mod killable;
mod notices;
#[path = "../../../../tests/support/receiver.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod receiver;
mod statuses;
mod world;
