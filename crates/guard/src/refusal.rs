//! Why a request is refused: a rule by name, for the audit, and a reason, for the person who reads it.

use std::fmt;

/// The rules, by the name that the audit log shows. A rule is a kind of fault, not a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The path, the query or a header is not in the plain form that every reader understands in the same way.
    Syntax,
    /// The body is not the JSON that the route takes: unknown, repeated or differently written keys, wrong types.
    Body,
    /// The body is of a kind that is not taken: a form, a compressed archive, something that is not an archive.
    MediaType,
    /// The version of the API is older or newer than those that the guard knows.
    Version,
    /// No such route, or one that the guard never opens.
    Route,
    /// The object is not one of this client's own.
    Foreign,
    /// A name that is reserved, ambiguous, or not a name.
    Name,
    /// A limit of the guard on sizes or numbers.
    Limit,
    /// The budget of this client is used up.
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
    /// The server asks for something that the executor never asks for.
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

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Syntax | Self::Body | Self::Version => 400,
            // The same as for an object that is not there, so that nobody finds out what others have.
            Self::Foreign => 404,
            Self::MediaType => 415,
            Self::Limit => 413,
            Self::Budget => 429,
            Self::Route
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

/// A request that goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    pub rule: Rule,
    /// Says what is wrong and what to do. Contains no control characters, and nothing of a value that may be secret.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(rule: Rule, reason: impl Into<String>) -> Self {
        Self { rule, reason: printable(&reason.into()) }
    }

    /// The object is not there, or not this client's: the same words for both.
    pub(crate) fn absent(kind: &str, reference: &str) -> Self {
        Self::new(Rule::Foreign, format!("No such {kind}: {reference}"))
    }

    /// The answer's body, in Docker's form.
    #[must_use]
    pub fn body(&self) -> String {
        let message = match self.rule {
            // Clients look for Docker's own words.
            Rule::Foreign => self.reason.clone(),
            rule => format!("longshore guard: {} (rule {rule})", self.reason),
        };
        serde_json::json!({ "message": message }).to_string()
    }
}

/// The longest reason, in characters: what a client sends comes back cut.
const LONGEST_REASON: usize = 600;

/// Text without what could forge a line or turn the direction of another one.
#[must_use]
pub fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() || is_direction(c) { '\u{fffd}' } else { c };
    text.chars().take(LONGEST_REASON).map(clean).collect()
}

/// Unicode's marks of direction and its line separators.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
}

pub(crate) type Judged<T> = Result<T, Refusal>;

/// `Err` with a rule and a formatted reason.
macro_rules! refuse {
    ($rule:ident, $($text:tt)*) => {
        Err($crate::refusal::Refusal::new($crate::refusal::Rule::$rule, format!($($text)*)))
    };
}
pub(crate) use refuse;
