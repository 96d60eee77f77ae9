//! What runs as PID 1 inside a job's container.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How the agent is started.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The job's nonce: sessions on standard input open with it.
    pub nonce: [u8; 16],
    /// Where spool, workspace and step scripts lie.
    pub root: PathBuf,
}

/// Runs the job that comes over standard input, to its end.
#[must_use]
pub fn run(options: AgentOptions) -> ExitCode {
    drop(options);
    ExitCode::FAILURE
}

/// Holds a network namespace until told to end, or until unused for `idle`.
#[must_use]
pub fn berth(idle: Option<Duration>) -> ExitCode {
    let _ = idle;
    ExitCode::FAILURE
}
