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

/// What a sandbox was called before, in labels and names; the engine may still hold some.
const BERTH: &str = "berth";
/// Before every label of ours.
const PREFIX: &str = "longshore.";

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
    fn parse(word: &str) -> Option<Self> {
        match word {
            BERTH => Some(Self::Sandbox),
            word => [Self::Job, Self::Sandbox, Self::Volume, Self::Network, Self::Agent]
                .into_iter()
                .find(|kind| kind.as_str() == word),
        }
    }

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

/// Sets every label of ours that an image hands down and a job's container does not set itself: it means nothing there.
pub(crate) fn override_images(labels: &mut HashMap<String, String>, of_image: &[String]) {
    for name in of_image {
        labels.entry(name.clone()).or_default();
    }
}

/// The names of an image's labels that look like ours.
pub(crate) fn like_ours<'a>(labels: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    labels.into_iter().filter(|name| name.starts_with(PREFIX)).cloned().collect()
}

/// What a container is, if it is ours.
///
/// Its labels alone do not say so: whoever starts a container of an image that carries them (one made of a job's by `docker commit`, or
/// one that is made to look so) has them too. What no image hands down is the name that we gave.
pub(crate) fn kind_of_container(name: &str, labels: &HashMap<String, String>) -> Option<Kind> {
    let instance = labels.get(INSTANCE)?;
    let kind = Kind::parse(labels.get(KIND)?)?;
    let ours = match kind {
        Kind::Job => attempt(labels).is_some_and(|attempt| attempt.container_name() == name),
        Kind::Sandbox => [Kind::Sandbox.as_str(), BERTH]
            .iter()
            .any(|word| name.strip_prefix(&format!("longshore-{word}-{instance}-")).is_some_and(is_random)),
        Kind::Agent => labels
            .get(AGENT)
            .is_some_and(|hash| name.strip_prefix(&format!("longshore-agent-{hash}-")).is_some_and(is_random)),
        Kind::Volume | Kind::Network => false,
    };
    ours.then_some(kind)
}

fn is_random(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The attempt that an object's labels name.
pub(crate) fn attempt(labels: &HashMap<String, String>) -> Option<AttemptId> {
    let job = labels.get(JOB)?.parse().ok()?;
    let attempt = labels.get(ATTEMPT)?.parse().ok()?;
    Some(AttemptId { job, attempt })
}

/// A list call's filter: every `key=value` has to hold.
pub(crate) fn filter(pairs: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let labels = pairs
        .iter()
        .map(|(key, value)| if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") })
        .collect();
    HashMap::from([("label".to_owned(), labels)])
}
