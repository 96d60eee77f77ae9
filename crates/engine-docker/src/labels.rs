//! The labels of everything that we create on the engine. People and tests find our things by these.

use std::collections::HashMap;

use longshore_core::BuildId;
use longshore_executor::AttemptId;
use longshore_executor::names::Instance;
use longshore_executor::objects::Kind;

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

pub(crate) fn of(instance: &Instance, kind: Kind) -> HashMap<String, String> {
    HashMap::from([(INSTANCE.to_owned(), instance.to_string()), (KIND.to_owned(), kind.as_str().to_owned())])
}

pub(crate) fn of_attempt(
    instance: &Instance,
    kind: Kind,
    build: BuildId,
    attempt: AttemptId,
) -> HashMap<String, String> {
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
    let kind = kind(labels.get(KIND)?)?;
    let ours = match kind {
        Kind::Job => attempt(labels).is_some_and(|attempt| attempt.container_name().as_str() == name),
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

/// The kind that a label's word means.
pub(crate) fn kind(word: &str) -> Option<Kind> {
    const KINDS: [Kind; 5] = [Kind::Job, Kind::Sandbox, Kind::Volume, Kind::Network, Kind::Agent];
    if word == BERTH { Some(Kind::Sandbox) } else { KINDS.into_iter().find(|kind| kind.as_str() == word) }
}

/// A list call's filter: every `key=value` has to hold, and every key without a value has to be there.
pub(crate) fn filter(pairs: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let labels = pairs
        .iter()
        .map(|(key, value)| if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") })
        .collect();
    HashMap::from([("label".to_owned(), labels)])
}
