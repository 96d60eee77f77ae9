//! The outcomes of jobs whose agents did not report their ends, in words for people. `follow` asks.

use std::fmt;

use longshore_core::{ErrorKind, Outcome};

use crate::engine::End;
use crate::following::artifacts::Failed;
use crate::following::clock::Stuck;
use crate::following::link::StderrText;
use crate::following::log_recorder::{LogRecorder, journal_outcome};
use crate::following::session::Followed;
use crate::following::spool::Unreadable;

impl Followed<'_> {
    /// Returns the outcome if the spool could not be read, unless the container's end says more.
    pub(crate) fn unreadable(&self, read: Result<(), Unreadable>) -> Option<Outcome> {
        match read {
            Ok(()) => None,
            Err(Unreadable::Journal(error)) => Some(journal_outcome(&error)),
            Err(Unreadable::Spool(reason) | Unreadable::NoSpool(reason)) => {
                tracing::warn!(container = %self.pod.container, reason, "a spool could not be read");
                None
            }
            Err(Unreadable::Passing(error)) => {
                tracing::warn!(container = %self.pod.container, %error, "a spool could not be read");
                None
            }
        }
    }

    /// Returns the outcome of a job whose container ended without reporting the job's end. It depends on what ended the
    /// container.
    pub(crate) fn outcome_of_end(
        &self,
        recorder: &mut LogRecorder,
        end: End,
        stuck: Option<Stuck>,
        stderr: Option<StderrText>,
    ) -> Outcome {
        let code = end.code;
        if end.out_of_memory {
            // The whole container exceeded its limit and the kernel chose the agent: the job caused it.
            recorder.note(&out_of_memory(self.request.limits.memory));
            let step = "the job".to_owned();
            return Outcome::Failure { exit_code: 137, step, out_of_memory: true };
        }
        if let Some(stuck) = stuck {
            return self.outcome_of_stuck(recorder, stuck);
        }
        if self.cancel.is_cancelled() {
            return Outcome::Canceled;
        }
        let (kind, message) = match (code, end.message.or(stderr.map(|stderr| stderr.text))) {
            (137 | 143, None) => (
                ErrorKind::Lost,
                "the job's container was killed from outside (docker kill, a restart of the engine); rerun the job"
                    .to_owned(),
            ),
            (_, Some(text)) => {
                (ErrorKind::AgentFailed, format!("the agent exited with code {code} before the job finished: {text}"))
            }
            (_, None) => (ErrorKind::AgentFailed, format!("the agent exited with code {code} before the job finished")),
        };
        Outcome::Error { kind, message }
    }

    /// Returns the outcome of a job whose agent misbehaved and reported no end.
    pub(crate) fn outcome_of_stuck(&self, recorder: &mut LogRecorder, stuck: Stuck) -> Outcome {
        match stuck {
            Stuck::NoAnswer => Outcome::Error {
                kind: ErrorKind::AgentFailed,
                message: "the agent did not respond within a minute; check the host's load, and rerun the job"
                    .to_owned(),
            },
            Stuck::IgnoresCancel => {
                recorder
                    .note("the agent did not stop the job in time after the cancellation: its container was killed");
                Outcome::Canceled
            }
            Stuck::LogTooLong => Outcome::Error {
                kind: ErrorKind::LogTooLong,
                message: format!(
                    "the job printed more than {} MiB, the log limit: its container was killed; print less, or raise `job_log_mib` in the server's settings",
                    self.request.limits.log >> 20
                ),
            },
            Stuck::OverTime => {
                recorder.note("the agent did not enforce the job's timeout: its container was killed");
                Outcome::TimedOut { limit_ms: self.request.timeout_ms() }
            }
        }
    }
}

/// Returns what the log says when the kernel ended the whole container.
fn out_of_memory(limit: Option<u64>) -> String {
    let limit = limit.map_or_else(String::new, |limit| {
        format!(": this job may use {} MiB (request more with `resources: {{ memory: ... }}`)", limit >> 20)
    });
    format!("out of memory, and the kernel ended the whole job{limit}")
}

/// Returns the outcome of a job whose agent speaks another version of the protocol.
pub(crate) fn other_version(version: u32) -> Outcome {
    let message = format!(
        "the agent in the container speaks version {version} of the protocol, this Longshore {}: the job cannot continue across this upgrade; rerun it",
        longshore_agent_protocol::VERSION
    );
    Outcome::Error { kind: ErrorKind::AgentFailed, message }
}

/// Returns the outcome of a job whose files cannot be stored.
pub(crate) fn artifacts_failed(failed: Failed) -> Outcome {
    let Failed { kind, message } = failed;
    if kind == std::io::ErrorKind::InvalidData {
        let message = format!("the job's files are not what its agent may send: {message}");
        return Outcome::Error { kind: ErrorKind::Lost, message };
    }
    let full = kind == std::io::ErrorKind::StorageFull;
    let kind = if full { ErrorKind::DiskFull } else { ErrorKind::Internal };
    let message =
        format!("the job's artifacts could not be stored: {message}; free some space in Longshore's data folder");
    Outcome::Error { kind, message }
}

pub(crate) fn checkout_failed(why: impl fmt::Display) -> Outcome {
    let message = format!("the source could not be copied into the job's container: {why}");
    Outcome::Error { kind: ErrorKind::CheckoutFailed, message }
}
