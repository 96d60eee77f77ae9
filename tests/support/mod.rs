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
pub mod engine;
pub mod git_host;
pub mod server;
pub mod world;

use std::time::{Duration, Instant};

/// Asks until the answer comes. For what gives no event; everything else waits for its event.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "waited a minute for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
