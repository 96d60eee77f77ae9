//! One module for each command. `run` executes it and returns its exit code.

use std::{io::Write as _, process::ExitCode};

use longshore_core::terminal::harmless_lines;

mod admin;
pub(crate) mod approve;
pub(crate) mod artifact;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod clean;
pub(crate) mod connection;
pub(crate) mod convert;
pub(crate) mod doctor;
mod failures;
pub(crate) mod guard;
pub(crate) mod health;
pub(crate) mod job_output;
pub(crate) mod lint;
pub(crate) mod notification;
pub(crate) mod progress;
pub(crate) mod registry;
pub(crate) mod repo;
pub(crate) mod restore;
mod rights;
pub(crate) mod run;
pub(crate) mod secret;
pub(crate) mod serve;
mod stdin;
pub(crate) mod table;
mod tests;
pub(crate) mod token;

/// The result of a command.
pub(crate) type Result = anyhow::Result<ExitCode>;

/// An error with its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ExitError {
    code: u8,
    message: String,
}

impl ExitError {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Returns the exit code of an error; 2 if it has none of its own, 0 for a closed pipe. `run` has its own code for
/// that.
pub(crate) fn exit_code_of(error: &anyhow::Error) -> u8 {
    if is_closed_pipe(error) {
        return 0;
    }
    error.downcast_ref::<ExitError>().map_or(2, |error| error.code)
}

/// Prints an error with its causes.
pub(crate) fn print_error(error: &anyhow::Error) {
    if !is_closed_pipe(error) {
        let _ = print_note(&format!("{error:#}"));
    }
}

/// Prints what people have to know besides the output. It may quote files, forges and the server.
pub(crate) fn print_note(note: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "longshore: {}", harmless_lines(note))
}

/// Returns whether the reader of the output has closed it (`longshore build list | head`), which is not an error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints a value as JSON, indented.
pub(crate) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{value:#}")?;
    Ok(())
}

/// Returns a number with its noun: `1 job`, `2 jobs`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Creates the runtime for commands that need one.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Returns whether a name refers to a job: `test` refers to all jobs of its matrix.
fn is_called(job: &str, name: &str) -> bool {
    job == name || job.strip_prefix(name).is_some_and(|rest| rest.starts_with(" ("))
}
