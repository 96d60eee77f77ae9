//! The labels and names of everything we create on the engine. People and tests find our things by these.
//!
//! Names are for reading: two things are the same only if their ids are.

use std::collections::HashMap;

use longshore_core::{BuildId, JobId};

pub const INSTANCE: &str = "longshore.instance";
pub const KIND: &str = "longshore.kind";
pub const BUILD: &str = "longshore.build";
pub const JOB: &str = "longshore.job";
pub const ATTEMPT: &str = "longshore.attempt";
/// The image's USER, on a job's container: its own is root.
pub const USER: &str = "longshore.user";
/// Hash of the executable in an agent image or volume, or behind a sandbox.
pub const AGENT: &str = "longshore.agent";
/// Hash of the scope that a sandbox has served from its start.
pub const SCOPE: &str = "longshore.scope";

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Job,
    Sandbox,
    Volume,
    Network,
    Agent,
}

impl Kind {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Sandbox => "sandbox",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Agent => "agent",
        }
    }
}

/// Which try of which job an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub job: JobId,
    pub attempt: u32,
}

impl AttemptId {
    /// Name of the container; never an identity.
    #[must_use]
    pub fn container_name(&self) -> String {
        format!("longshore-{}-{}", self.job.short(), self.attempt)
    }

    /// Name of the volume with workspace and spool.
    #[must_use]
    pub fn volume_name(&self) -> String {
        format!("longshore-job-{}-{}", self.job.short(), self.attempt)
    }
}

pub(crate) fn of(instance: &str, kind: Kind) -> HashMap<String, String> {
    HashMap::from([(INSTANCE.to_owned(), instance.to_owned()), (KIND.to_owned(), kind.as_str().to_owned())])
}

pub(crate) fn of_attempt(instance: &str, kind: Kind, build: BuildId, attempt: AttemptId) -> HashMap<String, String> {
    let mut labels = of(instance, kind);
    labels.insert(BUILD.to_owned(), build.to_string());
    labels.insert(JOB.to_owned(), attempt.job.to_string());
    labels.insert(ATTEMPT.to_owned(), attempt.attempt.to_string());
    labels
}

/// A list call's filter: every `key=value` has to hold.
pub(crate) fn filter(pairs: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let labels = pairs
        .iter()
        .map(|(key, value)| if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") })
        .collect();
    HashMap::from([("label".to_owned(), labels)])
}
