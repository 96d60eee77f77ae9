//! The reasons why an image could not be pulled, in our words. An engine's crate chooses among them; what a registry
//! answers is not quoted, because the author of a pipeline names the image, and so chooses the registry that answers.

use std::fmt;

/// Why a pull failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullFailure {
    /// Nothing answers at the registry's address.
    Unreachable,
    /// The registry does not answer in time.
    TimedOut,
    /// There is no host of that name.
    NoSuchHost,
    RateLimited,
    /// The registry's certificate is signed by nobody whom the engine trusts.
    NotTrusted,
    /// The registry speaks plain HTTP, which the engine does not use with it.
    NotEncrypted,
    /// The registry answers with an error, by its status where it is known.
    Failed(Option<u16>),
    /// The registry does not give the image to this job.
    Denied {
        with_credentials: bool,
    },
    /// The registry has no such image or tag.
    Absent,
    /// The image exists, but not for the engine's architecture.
    OtherPlatform,
    /// The engine does not accept the name.
    BadName,
}

impl PullFailure {
    /// Returns whether another try may soon have another result.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut | Self::RateLimited => true,
            // A registry that starts or is overloaded answers with these.
            Self::Failed(status) => match status {
                Some(status) => status >= 500,
                None => true,
            },
            Self::NoSuchHost
            | Self::NotTrusted
            | Self::NotEncrypted
            | Self::Denied { .. }
            | Self::Absent
            | Self::OtherPlatform
            | Self::BadName => false,
        }
    }

    /// Returns whether the registry answered that the job does not get this image.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::Denied { .. } | Self::Absent | Self::OtherPlatform | Self::BadName => true,
            Self::Unreachable
            | Self::TimedOut
            | Self::NoSuchHost
            | Self::RateLimited
            | Self::NotTrusted
            | Self::NotEncrypted
            | Self::Failed(_) => false,
        }
    }

    /// Returns what to do about it.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::Unreachable | Self::TimedOut => {
                "check that the Docker host can reach the registry, or `docker load` the image there"
            }
            Self::NoSuchHost => "check the registry's name, and the Docker host's DNS servers",
            Self::RateLimited => "try again later, or add an account with `longshore registry add`",
            Self::NotTrusted => {
                "give the engine the registry's authority (/etc/docker/certs.d/HOST/ca.crt on its host)"
            }
            Self::NotEncrypted => "use TLS, or name it under `insecure-registries` in the engine's settings",
            Self::Failed(_) => "check the registry's log",
            Self::Denied { with_credentials: false } => {
                "check its name; an image that is private takes credentials: `longshore registry add`"
            }
            Self::Denied { with_credentials: true } => {
                "check its name, and whether the user of `longshore registry list` may read it"
            }
            Self::Absent => "check its name and its tag",
            Self::OtherPlatform => "build it for this architecture as well",
            Self::BadName => "check its name",
        }
    }
}

impl fmt::Display for PullFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "its registry cannot be reached",
            Self::TimedOut => "its registry does not respond in time",
            Self::NoSuchHost => "its registry's name does not resolve",
            Self::RateLimited => "its registry limits the rate of pulls",
            Self::NotTrusted => "the engine does not trust its registry's certificate",
            Self::NotEncrypted => "its registry answers without TLS",
            Self::Failed(Some(status)) => return write!(f, "its registry answers with status {status}"),
            Self::Failed(None) => "its registry answers with an error",
            Self::Denied { with_credentials: false } => {
                "its registry requires credentials, and this job has none for it"
            }
            Self::Denied { with_credentials: true } => "its registry denies access with this job's credentials",
            Self::Absent => "its registry has no such image or tag",
            Self::OtherPlatform => "its registry does not have it for the engine's architecture",
            Self::BadName => "the Docker engine rejects its name",
        })
    }
}
