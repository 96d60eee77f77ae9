//! How a job ended, and whose fault it was. The one place that tells failure (the user's) from error (ours).

use serde::{Deserialize, Serialize};

use crate::Status;

/// How one attempt of a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Success,
    /// A step failed: its exit code (128 + n for signal n), its name, whether the memory limit did it.
    Failure {
        exit_code: i32,
        step: String,
        out_of_memory: bool,
    },
    /// The job's or a step's time was over.
    TimedOut {
        limit_ms: u64,
    },
    /// Somebody asked for it.
    Canceled,
    /// Ours or the engine's; the message says what happened and what to do.
    Error {
        kind: ErrorKind,
        message: String,
    },
}

/// What of ours went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The registry does not have the image, or it is not here and nothing can be pulled.
    ImageMissing,
    /// The pull itself failed: registry down, denied, disk.
    PullFailed,
    /// The container was made but our agent in it could not run (wrong architecture, no exec on the volume).
    AgentFailed,
    /// The image lacks what a step needs (`/bin/sh`, `bash`).
    ImageUnusable,
    /// The engine does not answer, or refused for a reason of its own.
    EngineGone,
    /// The source could not be fetched or carried over.
    CheckoutFailed,
    /// The container vanished or the stream could not be understood.
    Lost,
    /// No space left, on the engine's side or ours.
    DiskFull,
    /// The job printed more than a log may have.
    LogTooLong,
    /// The job asks for a part of the language that this version plans and cannot run.
    NotSupported,
    /// A secret that the job names is not there, or cannot be opened.
    SecretMissing,
    /// It is a stranger's, and nobody has approved it.
    NotApproved,
    /// What an expression of the job asks for has no value.
    Expression,
    /// A fault of Longshore.
    Internal,
}

impl ErrorKind {
    /// Whether another try of the same job may end in another way.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            Self::PullFailed
            | Self::AgentFailed
            | Self::EngineGone
            | Self::CheckoutFailed
            | Self::Lost
            | Self::DiskFull
            | Self::Internal => true,
            Self::ImageMissing
            | Self::ImageUnusable
            | Self::LogTooLong
            | Self::NotSupported
            | Self::SecretMissing
            | Self::NotApproved
            | Self::Expression => false,
        }
    }
}

impl Outcome {
    /// The final status that this outcome means.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Success => Status::Success,
            Self::Failure { .. } => Status::Failure,
            Self::TimedOut { .. } => Status::TimedOut,
            Self::Canceled => Status::Canceled,
            Self::Error { .. } => Status::Error,
        }
    }

    /// 0 of a success, the failed step's of a failure; other ends have none.
    #[must_use]
    pub const fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Success => Some(0),
            Self::Failure { exit_code, .. } => Some(*exit_code),
            Self::TimedOut { .. } | Self::Canceled | Self::Error { .. } => None,
        }
    }

    /// One line for people: why it is so. Nothing for a success.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Success => None,
            Self::Failure { exit_code, step, out_of_memory: true } => {
                Some(format!("step `{step}` ran out of memory (exit code {exit_code})"))
            }
            Self::Failure { exit_code, step, out_of_memory: false } => {
                Some(format!("step `{step}` failed with exit code {exit_code}"))
            }
            Self::TimedOut { limit_ms } => Some(format!("ran longer than its limit of {}", human_duration(*limit_ms))),
            Self::Canceled => Some("canceled".to_owned()),
            Self::Error { message, .. } => Some(message.clone()),
        }
    }
}

/// `90000` as `1m 30s`; below a second in milliseconds.
#[must_use]
pub fn human_duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{ms} ms"),
        (0, 0, s) if ms < 10_000 => format!("{s}.{}s", ms % 1000 / 100),
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}
