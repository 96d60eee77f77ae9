//! A whole Longshore for tests: the real program in its own process, the real engine, a real git host, the real API.
//!
//! A world removes everything that it made when it is dropped, and leftovers of its jobs are an error before that.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "each test uses its part; a test may panic"
)]

pub mod api;
pub mod browser;
pub mod engine;
pub mod events;
pub mod executable;
pub mod forge;
pub mod forge_world;
pub mod git_host;
pub mod nginx;
pub mod receiver;
pub mod registry;
pub mod s3;
pub mod server;
pub mod smtp;
pub mod sshd;
pub mod tree;
pub mod world;

use std::time::{Duration, Instant};

/// How long a test waits for what has to happen: much longer than it takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Polls until there is an answer. Only for things without events; everything else waits for its event.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, ask)
}

/// Like [`until`], for things that may take longer on a busy machine.
pub fn until_within<T>(limit: Duration, what: &str, ask: impl FnMut() -> Option<T>) -> T {
    polled(limit, ask).unwrap_or_else(|| panic!("waited {} s for: {what}", limit.as_secs()))
}

/// Polls until there is an answer, or none within the limit.
pub fn polled<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        let waited = start.elapsed();
        if waited >= limit {
            return None;
        }
        // Asking takes time from what is waited for.
        std::thread::sleep((waited / 4).clamp(Duration::from_millis(5), Duration::from_millis(50)));
    }
}

/// Returns the current time in milliseconds since 1970.
pub fn now_ms() -> i64 {
    longshore_core::Timestamp::now().as_millis()
}

/// Converts a time of the API to milliseconds since 1970.
pub fn millis(time: &serde_json::Value) -> i64 {
    serde_json::from_value::<longshore_core::Timestamp>(time.clone()).expect("a time").as_millis()
}

/// Returns the part of the names on the engine that identifies the agent of a program.
pub fn agent_hash(program: &std::path::Path) -> String {
    use sha2::Digest as _;
    hex::encode(&sha2::Sha256::digest(std::fs::read(program).expect("read"))[..6])
}
