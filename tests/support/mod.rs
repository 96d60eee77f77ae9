//! A whole Longshore for tests: the real program as a process of its own, the real engine, a real git host, a real API.
//!
//! Nothing is left behind: what a world made is removed when it is dropped, and its leftovers are an error before that.
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
pub mod git_host;
pub mod nginx;
pub mod registry;
pub mod server;
pub mod world;

use std::time::{Duration, Instant};

/// Asks until the answer comes. For what gives no event; everything else waits for its event.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(Duration::from_secs(60), what, ask)
}

/// The same for what may take longer on a machine that is busy.
pub fn until_within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {} s for: {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    longshore_core::Timestamp::now().as_millis()
}

/// The same of a time of the API's.
pub fn millis(time: &serde_json::Value) -> i64 {
    serde_json::from_value::<longshore_core::Timestamp>(time.clone()).expect("a time").as_millis()
}

/// What names the agent of a program on the engine.
pub fn agent_hash(program: &std::path::Path) -> String {
    use sha2::Digest as _;
    hex::encode(&sha2::Sha256::digest(std::fs::read(program).expect("read"))[..6])
}
