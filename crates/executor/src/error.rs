//! What can go wrong between us and an engine, by what it means for a job. The texts are for people and say what to do.
//!
//! An engine's crate reads its engine's answers and chooses the variant; nobody else looks into the texts.

use longshore_core::{ErrorKind, Outcome};

/// A call to the engine that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers: the engine may come back.
    #[error("{0}")]
    Away(String),
    /// The engine is there, and we may not use it until somebody changes that.
    #[error("{0}")]
    NotPermitted(String),
    /// This engine cannot be used: no address of one, too old, too new.
    #[error("{0}")]
    Unsupported(String),
    /// What came is no answer to the question. `what` is what was asked for.
    #[error("the engine's answer cannot be understood ({what}): {reason}")]
    NotUnderstood { what: &'static str, reason: String },
    /// The engine's disk is full.
    #[error("{0}")]
    NoRoom(String),
    /// The engine has no address left for another network.
    #[error("{0}")]
    NoAddresses(String),
    /// The registry does not have the image, or it may not be pulled.
    #[error(
        "image `{image}` cannot be had: {reason}; check its name, or `docker login` on the engine's host for a private registry"
    )]
    ImageMissing { image: String, reason: String },
    /// The registry does not answer, or not now.
    #[error(
        "image `{image}` is not on this engine and could not be pulled: {reason}; check that the engine's host reaches the registry, or `docker load` the image there"
    )]
    PullFailed { image: String, reason: String },
    /// The attempt's container is there, and another instance follows it.
    #[error(
        "container {container} is another Longshore's (instance {instance}), which runs this job: it is left alone. The data folder of this server is a copy of that one's; `longshore restore --take-over` before its first start takes jobs over"
    )]
    Elsewhere { container: String, instance: String },
    /// The image was looked up before, and is not there any more.
    #[error("{0}")]
    ImageGone(String),
    /// The sandbox has ended: another one will do.
    #[error("{0}")]
    SandboxGone(String),
    /// A container of this name is there already.
    #[error("{0}")]
    NameTaken(String),
    /// Something that the engine's crate had made ready for all jobs is gone. The next try makes it again; if that does not
    /// help, the error is what is inside.
    #[error("{0}")]
    Stale(Box<Self>),
    /// Our own program does not run there.
    #[error("Longshore's own program could not be started in a container: {0}; {hint}", hint = AGENT_HINT)]
    AgentFailed(String),
    /// The engine says no, for a reason of its own. `what` completes "the engine refused to …".
    #[error("the engine refused to {what} ({code}): {message}")]
    Refused { refusal: Refusal, what: &'static str, code: u16, message: String },
    /// Something of ours, on this side.
    #[error("{what}: {reason}")]
    Local { what: &'static str, reason: String },
}

/// What an engine's no means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing.
    NotFound,
    /// Something is in the way: a removal that is under way, a volume in use.
    Conflict,
    /// The engine failed: it starts or ends, or has a fault of its own.
    Failed,
    /// It never does this.
    Invalid,
}

const AGENT_HINT: &str =
    "the program has to be of the engine's architecture, and the engine's data folder must not be mounted noexec";

impl EngineError {
    /// Whether the engine said that the thing does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { refusal: Refusal::NotFound, .. })
    }

    /// Whether something is in the way.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::NameTaken(_) | Self::Refused { refusal: Refusal::Conflict, .. })
    }

    /// Whether nobody answers at all: the engine may come back.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Whether a job that should start waits until it is over: somebody has to do something on the engine's host.
    #[must_use]
    pub const fn holds_starts(&self) -> bool {
        matches!(self, Self::Away(_) | Self::NoRoom(_))
    }

    /// Whether the same question may have another answer soon: nobody is there, the engine is just starting or ending, or
    /// a container is just changing.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        self.is_away() || self.is_conflict() || matches!(self, Self::Refused { refusal: Refusal::Failed, .. })
    }

    /// Whose fault it was, for the job that met it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Away(_)
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
            Self::ImageMissing { .. } => ErrorKind::ImageMissing,
            Self::PullFailed { .. } => ErrorKind::PullFailed,
            Self::Elsewhere { .. } => ErrorKind::Lost,
            Self::Stale(inner) => inner.kind(),
            Self::Local { .. } => ErrorKind::Internal,
        }
    }

    /// The outcome of a job that met it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome::Error { kind: self.kind(), message: self.to_string() }
    }
}
