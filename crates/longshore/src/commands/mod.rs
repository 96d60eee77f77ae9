//! One module a command. Each reads its arguments, does its work and says how it ended.

use std::{io::Write as _, process::ExitCode};

pub(crate) mod approve;
pub(crate) mod backup;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod clean;
pub(crate) mod convert;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod lint;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod repo;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod table;
pub(crate) mod token;

/// How a command ends.
pub(crate) type Result = anyhow::Result<ExitCode>;

/// A command's end with a message and its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Ended {
    code: u8,
    message: String,
}

impl Ended {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The exit code that an error means: its own, or 2 where it has none.
pub(crate) fn exit_code_of(error: &anyhow::Error) -> u8 {
    if is_closed_pipe(error) {
        return 0;
    }
    error.downcast_ref::<Ended>().map_or(2, |ended| ended.code)
}

/// Tells people what went wrong, with its causes.
pub(crate) fn say_error(error: &anyhow::Error) {
    if !is_closed_pipe(error) {
        let _ = writeln!(std::io::stderr(), "longshore: {error:#}");
    }
}

/// Whoever read our output has seen enough (`longshore build list | head`): no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints a value as JSON, indented.
pub(crate) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{value:#}")?;
    Ok(())
}

/// A runtime for the commands that need one.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Whether a job is meant by a name: `test` means all jobs of its matrix.
fn is_called(job: &str, name: &str) -> bool {
    job == name || job.strip_prefix(name).is_some_and(|rest| rest.starts_with(" ("))
}
