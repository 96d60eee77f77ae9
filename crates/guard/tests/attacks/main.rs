//! The policy, asked as a client asks it: every attack is refused by its rule, and its legitimate twin is let through.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod clients;
mod everything_let_through;
mod job;
mod server;
mod world;
