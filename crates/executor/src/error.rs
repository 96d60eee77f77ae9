//! The errors of an engine, by what they mean for a job. The texts are for people and say what to do.
//!
//! An engine's crate reads its engine's answers and chooses the variant; nothing else interprets the texts.

use longshore_core::{ErrorKind, Outcome};

use crate::pulling::pull_failure::PullFailure;

/// A call to the engine that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The engine does not answer. It may come back.
    #[error("{0}")]
    Away(String),
    /// The engine answers other calls, and this one not in time. `what` completes "the call to …".
    #[error(
        "the Docker engine has not answered the call to {what} within two minutes, and answers others: something in the image can keep it from that, such as a pipe in place of /etc/passwd or /etc/group, until the engine is restarted"
    )]
    Unanswered { what: &'static str },
    /// The engine answers, but does not permit our calls.
    #[error("{0}")]
    NotPermitted(String),
    /// This engine cannot be used: the address is invalid, or it is too old or too new.
    #[error("{0}")]
    Unsupported(String),
    /// The answer does not fit the call. `what` names the call.
    #[error("the engine's answer cannot be understood ({what}): {reason}")]
    NotUnderstood { what: &'static str, reason: String },
    /// The engine's disk is full.
    #[error("{0}")]
    NoRoom(String),
    /// The engine has no address left for another network.
    #[error("{0}")]
    NoAddresses(String),
    /// The image is not here and no registry is asked for it, or its name is invalid.
    #[error("cannot get image `{image}`: {reason}; check its name")]
    ImageMissing { image: String, reason: String },
    /// The registry does not give the image, or does not answer.
    #[error("cannot get image `{image}`: {why}; {advice}", advice = .why.advice())]
    PullFailed { image: String, why: PullFailure },
    /// Jobs may not use an image of that name.
    #[error("image `{image}` is not allowed: {reason}")]
    ImageNotAllowed { image: String, reason: String },
    /// The attempt's container exists, and another instance follows it.
    #[error(
        "container {container} is another Longshore's (instance {instance}), which runs this job: it is left alone. The data folder of this server is a copy of that one's; `longshore restore --take-over` before its first start takes jobs over"
    )]
    Elsewhere { container: String, instance: String },
    /// The image was found earlier but does not exist any more.
    #[error("{0}")]
    ImageGone(String),
    /// A volume that was to be a layer does not exist any more.
    #[error("{0}")]
    VolumeGone(String),
    /// The sandbox has ended. Another one can be used.
    #[error("{0}")]
    SandboxGone(String),
    /// A container with this name exists already.
    #[error("{0}")]
    NameTaken(String),
    /// Something that the engine's crate had prepared for all jobs is gone. The next try prepares it again; if that
    /// does not help, the inner error is the result.
    #[error("{0}")]
    Stale(Box<Self>),
    /// Our own program does not run there.
    #[error("the Longshore agent could not start in a container: {0}; {hint}", hint = AGENT_HINT)]
    AgentFailed(String),
    /// The engine refuses, for a reason of its own. `what` completes "the engine refused to …".
    #[error("the Docker engine refused to {what} ({code}): {message}")]
    Refused { refusal: Refusal, what: &'static str, code: u16, message: String },
    /// An error on our side.
    #[error("{what}: {reason}")]
    Local { what: &'static str, reason: String },
}

/// The kind of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The object does not exist.
    NotFound,
    /// Something is in the way: a removal in progress, or a volume in use.
    Conflict,
    /// The engine failed: it is starting or stopping, or has a fault of its own.
    Failed,
    /// The engine never accepts this call.
    Invalid,
}

const AGENT_HINT: &str =
    "the program has to be of the engine's architecture, and the engine's data folder must not be mounted noexec";

impl EngineError {
    /// Returns whether the engine said that the thing does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { refusal: Refusal::NotFound, .. })
    }

    /// Returns whether something is in the way.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::NameTaken(_) | Self::Refused { refusal: Refusal::Conflict, .. })
    }

    /// Returns whether the Docker engine does not respond at all. It may come back.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Returns whether the engine answers other calls, and did not answer this one. Further ones for the same object
    /// would only wait for the first.
    #[must_use]
    pub const fn is_unanswered(&self) -> bool {
        matches!(self, Self::Unanswered { .. })
    }

    /// Returns whether jobs that should start have to wait until somebody has fixed something on the engine's host.
    #[must_use]
    pub const fn holds_starts(&self) -> bool {
        matches!(self, Self::Away(_) | Self::NoRoom(_) | Self::NoAddresses(_))
    }

    /// Returns whether the same call may soon have another result: the Docker engine does not respond, is starting or
    /// stopping, or the container is changing state.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.is_away() || self.is_conflict() || matches!(self, Self::Refused { refusal: Refusal::Failed, .. })
    }

    /// Returns the kind of error for the job that met it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Away(_)
            | Self::Unanswered { .. }
            | Self::NotPermitted(_)
            | Self::Unsupported(_)
            | Self::NotUnderstood { .. }
            | Self::NoAddresses(_)
            | Self::ImageGone(_)
            | Self::SandboxGone(_)
            | Self::NameTaken(_)
            | Self::Refused { .. } => ErrorKind::EngineGone,
            Self::NoRoom(_) => ErrorKind::DiskFull,
            Self::AgentFailed(_) => ErrorKind::AgentFailed,
            Self::PullFailed { why, .. } if !why.is_refusal() => ErrorKind::PullFailed,
            Self::ImageMissing { .. } | Self::PullFailed { .. } => ErrorKind::ImageMissing,
            Self::ImageNotAllowed { .. } => ErrorKind::ImageNotAllowed,
            Self::Elsewhere { .. } | Self::VolumeGone(_) => ErrorKind::Lost,
            Self::Stale(inner) => inner.kind(),
            Self::Local { .. } => ErrorKind::Internal,
        }
    }

    /// Returns the outcome of the job that met it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome::Error { kind: self.kind(), message: self.to_string() }
    }
}
