//! Runs the agent as an ordinary process, for tests: `longshore-agent-alone ROOT SPOOL_LIMIT DISK_FULL_MS AFTERMATH_MS
//! PATIENCE_MS`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use longshore_agent::AgentOptions;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().unwrap_or_default());
    let mut number = || arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut options = AgentOptions::new([7; 16], root);
    options.spool_limit = number();
    options.disk_full_after = Duration::from_millis(number());
    options.always_limit = Duration::from_millis(number());
    let patience = Duration::from_millis(number());
    options.ack_timeouts = (patience, patience);
    longshore_agent::run(options)
}
