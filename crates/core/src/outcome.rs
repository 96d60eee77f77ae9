//! The outcomes of jobs. The only place that distinguishes a failure (the user's fault) from an error
//! (Longshore's or the engine's).

use serde::{Deserialize, Serialize};

use crate::Status;

/// How one attempt of a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Success,
    /// A step failed: its exit code (128 + n for signal n), its name, and whether it exceeded the memory limit.
    Failure {
        exit_code: i32,
        step: String,
        out_of_memory: bool,
    },
    /// The job or a step exceeded its timeout.
    TimedOut {
        limit_ms: u64,
    },
    /// Somebody canceled the job.
    Canceled,
    /// Longshore or the engine failed; the message says what happened and what to do.
    Error {
        kind: ErrorKind,
        message: String,
    },
}

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The registry does not have the image, or the image is not on the engine and nothing can be pulled.
    ImageMissing,
    /// The pull itself failed: registry down, unknown or not trusted.
    PullFailed,
    /// The server's settings do not allow an image of that name.
    ImageNotAllowed,
    /// The container was created, but the agent could not run in it (wrong architecture, no exec on the volume).
    AgentFailed,
    /// The image lacks what a step needs (`/bin/sh`, `bash`).
    ImageUnusable,
    /// The engine does not answer, or refused the request for its own reasons.
    EngineGone,
    /// The source could not be fetched or transferred into the container.
    CheckoutFailed,
    /// The container vanished or the stream could not be understood.
    Lost,
    /// No space is left on the engine's or the server's disk.
    DiskFull,
    /// What the job's containers write takes more of the engine's disk than they may.
    DiskLimit,
    /// The job printed more than the limit of a log.
    LogTooLong,
    /// The job used a part of the language that an earlier version could plan but not run.
    NotSupported,
    /// A secret that the job names does not exist, or cannot be decrypted.
    SecretMissing,
    /// The job is a stranger's, and nobody has approved it.
    NotApproved,
    /// The job asks for Docker, which is not granted to it.
    DockerNotGranted,
    /// The job asks for capabilities that the server's settings do not allow it.
    CapabilityNotGranted,
    /// An expression of the job has no value.
    Expression,
    /// A service of the job ended early, could not be started, or was not ready in time.
    ServiceFailed,
    /// The container of a step with its own image could not be started, or ended before its step did.
    ContainerFailed,
    /// What the job was to leave cannot be kept: it exceeds a limit, or nobody took it.
    ArtifactsFailed,
    /// An artifact that the job needs is missing.
    ArtifactMissing,
    /// A bug in Longshore.
    Internal,
}

impl ErrorKind {
    /// Returns whether another attempt of the same job may end differently.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            Self::PullFailed
            | Self::AgentFailed
            | Self::EngineGone
            | Self::CheckoutFailed
            | Self::Lost
            | Self::DiskFull
            | Self::ServiceFailed
            | Self::ContainerFailed
            | Self::Internal => true,
            Self::ImageMissing
            | Self::ImageNotAllowed
            | Self::ImageUnusable
            | Self::DiskLimit
            | Self::LogTooLong
            | Self::NotSupported
            | Self::SecretMissing
            | Self::NotApproved
            | Self::DockerNotGranted
            | Self::CapabilityNotGranted
            | Self::Expression
            | Self::ArtifactsFailed
            | Self::ArtifactMissing => false,
        }
    }
}

impl Outcome {
    /// Returns the final status for this outcome.
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

    /// Returns 0 for a success and the failed step's exit code for a failure; other outcomes have none.
    #[must_use]
    pub const fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Success => Some(0),
            Self::Failure { exit_code, .. } => Some(*exit_code),
            Self::TimedOut { .. } | Self::Canceled | Self::Error { .. } => None,
        }
    }

    /// Explains the outcome to people in one line; `None` for a success.
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
            Self::TimedOut { limit_ms } => Some(format!("timed out after {}", human_duration(*limit_ms))),
            Self::Canceled => Some("canceled".to_owned()),
            Self::Error { message, .. } => Some(message.clone()),
        }
    }
}

/// Formats a number of bytes as `12.3 GiB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(4) as usize;
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    match unit {
        0 => format!("{bytes} bytes"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, units[unit]),
    }
}

/// Formats `90000` as `1 min 30 s`, and less than a second in milliseconds.
#[must_use]
pub fn human_duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{ms} ms"),
        (0, 0, s) if ms < 10_000 => format!("{s}.{} s", ms % 1000 / 100),
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// Formats an age as one figure and its unit, which is enough for a list: `5 min ago`.
#[must_use]
pub fn rough_age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..=9 => "now".to_owned(),
        10..=59 => format!("{seconds} s ago"),
        60..=3_599 => format!("{} min ago", seconds / 60),
        3_600..=86_399 => format!("{} h ago", seconds / 3_600),
        86_400..=2_591_999 => format!("{} d ago", seconds / 86_400),
        2_592_000..=31_535_999 => format!("{} mo ago", seconds / 2_592_000),
        _ => format!("{} y ago", seconds / 31_536_000),
    }
}
