//! Why a request is refused: a named rule for the audit log, and a reason for the person who reads it.

use std::fmt;

/// What a client is told that asks the engine for BuildKit, whose requests do not show what it does.
pub const NO_BUILDKIT: &str = "this socket serves no BuildKit: use the job's own builder (`docker buildx build --load`), which an administrator allows with LONGSHORE_BUILDKIT_IMAGE and `longshore repo docker REPO --branch BRANCH --buildkit`, or set DOCKER_BUILDKIT=0";

/// What a job is told that loads an image and has no builder of its own.
pub(crate) const NO_LOAD: &str = "images are loaded only in jobs with a builder of their own, which an administrator allows with LONGSHORE_BUILDKIT_IMAGE and `longshore repo docker REPO --branch BRANCH --buildkit`: have that done, or build or pull the image";

/// The rules, each with a name for the audit log. A rule stands for a kind of fault, not for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The path, the query or a header is not in the plain form that every parser reads in the same way.
    Syntax,
    /// The body is not the JSON that the route expects: unknown or repeated keys, keys in another case, wrong types.
    Body,
    /// The body is of a kind that is not accepted: a form, a compressed archive, or no archive at all.
    MediaType,
    /// The API version is older or newer than those that the guard supports.
    Version,
    /// There is no such route, or the guard never allows it.
    Route,
    /// The object does not belong to this client.
    Foreign,
    /// The same for an id that never was this client's, or a name that no client may choose: it was not found by
    /// accident.
    Probe,
    /// Too many requests of this client were refused.
    Frozen,
    /// A name that is reserved, ambiguous, or not a name.
    Name,
    /// A size or a number exceeds a limit of the guard.
    Limit,
    /// The client's budget is used up.
    Budget,
    HostPath,
    Volume,
    Mount,
    Device,
    Privileged,
    Namespace,
    Capability,
    SecurityOption,
    MaskedPath,
    Runtime,
    Sysctl,
    Cgroup,
    Group,
    Storage,
    Network,
    Publish,
    Link,
    Hosts,
    Logging,
    Restart,
    Ulimit,
    Label,
    Image,
    Registry,
    Build,
    Archive,
    /// The server sends something that the executor never sends.
    Server,
}

impl Rule {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Body => "body",
            Self::MediaType => "media-type",
            Self::Version => "version",
            Self::Route => "route",
            Self::Foreign => "foreign",
            Self::Probe => "probe",
            Self::Frozen => "frozen",
            Self::Name => "name",
            Self::Limit => "limit",
            Self::Budget => "budget",
            Self::HostPath => "host-path",
            Self::Volume => "volume",
            Self::Mount => "mount",
            Self::Device => "device",
            Self::Privileged => "privileged",
            Self::Namespace => "namespace",
            Self::Capability => "capability",
            Self::SecurityOption => "security-option",
            Self::MaskedPath => "masked-path",
            Self::Runtime => "runtime",
            Self::Sysctl => "sysctl",
            Self::Cgroup => "cgroup",
            Self::Group => "group",
            Self::Storage => "storage",
            Self::Network => "network",
            Self::Publish => "publish",
            Self::Link => "link",
            Self::Hosts => "hosts",
            Self::Logging => "logging",
            Self::Restart => "restart",
            Self::Ulimit => "ulimit",
            Self::Label => "label",
            Self::Image => "image",
            Self::Registry => "registry",
            Self::Build => "build",
            Self::Archive => "archive",
            Self::Server => "server",
        }
    }

    /// Returns the HTTP status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Syntax | Self::Body | Self::Version => 400,
            // As for an object that does not exist, so that no client finds out what others have.
            Self::Foreign | Self::Probe => 404,
            Self::MediaType => 415,
            Self::Limit => 413,
            Self::Budget => 429,
            Self::Frozen
            | Self::Route
            | Self::Name
            | Self::HostPath
            | Self::Volume
            | Self::Mount
            | Self::Device
            | Self::Privileged
            | Self::Namespace
            | Self::Capability
            | Self::SecurityOption
            | Self::MaskedPath
            | Self::Runtime
            | Self::Sysctl
            | Self::Cgroup
            | Self::Group
            | Self::Storage
            | Self::Network
            | Self::Publish
            | Self::Link
            | Self::Hosts
            | Self::Logging
            | Self::Restart
            | Self::Ulimit
            | Self::Label
            | Self::Image
            | Self::Registry
            | Self::Build
            | Self::Archive
            | Self::Server => 403,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    pub rule: Rule,
    /// Says what is wrong and what to do. Contains no control characters and no part of a value that may be secret.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(rule: Rule, reason: impl Into<String>) -> Self {
        Self { rule, reason: printable(&reason.into()) }
    }

    /// Returns the body of the answer, in Docker's format.
    #[must_use]
    pub fn body(&self) -> String {
        let message = match self.rule {
            // Clients look for Docker's own wording.
            Rule::Foreign | Rule::Probe => self.reason.clone(),
            rule => format!("longshore guard: {} (rule {rule})", self.reason),
        };
        serde_json::json!({ "message": message }).to_string()
    }
}

/// The longest reason, in characters: quotes of a client's values are cut off there.
const LONGEST_REASON: usize = 600;

/// Replaces control characters and marks that change the direction of text, so that nobody can forge or reorder lines.
#[must_use]
pub fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() || is_direction(c) { '\u{fffd}' } else { c };
    text.chars().take(LONGEST_REASON).map(clean).collect()
}

/// Whether a character is one of Unicode's direction marks or line separators.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
}

pub(crate) type Judged<T> = Result<T, Refusal>;

/// Makes an `Err` of a rule and a formatted reason.
macro_rules! refuse {
    ($rule:ident, $($text:tt)*) => {
        Err($crate::refusal::Refusal::new($crate::refusal::Rule::$rule, format!($($text)*)))
    };
}
pub(crate) use refuse;
