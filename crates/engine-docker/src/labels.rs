//! The labels of everything that we create on the engine. People and tests find our objects by them.

use std::collections::HashMap;

use longshore_core::BuildId;
use longshore_executor::AttemptId;
use longshore_executor::names::Instance;
use longshore_executor::objects::Kind;

use crate::guard_names::is_inner_name;

pub const INSTANCE: &str = "longshore.instance";
pub const KIND: &str = "longshore.kind";
pub const BUILD: &str = "longshore.build";
pub const JOB: &str = "longshore.job";
pub const ATTEMPT: &str = "longshore.attempt";
/// Which container of the pod it is, on one beside the job's.
pub const MEMBER: &str = "longshore.member";
/// The image's USER, on a job's container, whose own user is root.
pub const USER: &str = "longshore.user";
/// What the keys of a pod's members derive from, on a job's container. Its processes cannot read its labels.
pub const POD: &str = "longshore.pod";
/// Hash of the executable in an agent image or volume, or of the one that a sandbox runs.
pub const AGENT: &str = "longshore.agent";
/// Hash of the scope that a sandbox has served since its start.
pub const SCOPE: &str = "longshore.scope";

/// The former name of a sandbox in labels and names; the engine may still have some.
const BERTH: &str = "berth";
/// The prefix of all our labels.
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

/// Empties every Longshore label that a container would inherit from its image and does not set itself.
pub(crate) fn override_images(labels: &mut HashMap<String, String>, of_image: &[String]) {
    for name in of_image {
        labels.entry(name.clone()).or_default();
    }
}

/// Returns the names of an image's labels that look like ours.
pub(crate) fn like_ours<'a>(labels: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    labels.into_iter().filter(|name| name.starts_with(PREFIX)).cloned().collect()
}

/// Returns what a container is, if it is ours.
///
/// Its labels alone do not prove that: a container inherits the labels of its image, and an image may carry ours
/// because it was made from a job's container by `docker commit`, or on purpose. A container cannot inherit the name
/// that we give.
pub(crate) fn kind_of_container(name: &str, labels: &HashMap<String, String>) -> Option<Kind> {
    let instance = labels.get(INSTANCE)?;
    let kind = kind(labels.get(KIND)?)?;
    let ours = match kind {
        Kind::Job => attempt(labels).is_some_and(|attempt| attempt.container_name().as_str() == name),
        Kind::Service | Kind::Step => {
            let member = labels.get(MEMBER).and_then(|member| member.parse().ok());
            attempt(labels).zip(member).is_some_and(|(attempt, member)| attempt.member_name(member).as_str() == name)
        }
        Kind::Guard => attempt(labels).is_some_and(|attempt| attempt.guard_name().as_str() == name),
        Kind::Builder => attempt(labels).is_some_and(|attempt| attempt.builder_name().as_str() == name),
        Kind::Inner => attempt(labels).is_some_and(|attempt| is_inner_name(name, instance, attempt)),
        Kind::Sandbox => {
            let is_pooled = [Kind::Sandbox.as_str(), BERTH]
                .iter()
                .any(|word| name.strip_prefix(&format!("longshore-{word}-{instance}-")).is_some_and(is_random));
            is_pooled || attempt(labels).is_some_and(|attempt| attempt.sandbox_name(instance).as_str() == name)
        }
        Kind::Agent => labels
            .get(AGENT)
            .is_some_and(|hash| name.strip_prefix(&format!("longshore-agent-{hash}-")).is_some_and(is_random)),
        Kind::Volume | Kind::Cache | Kind::Workspace | Kind::Network => false,
    };
    ours.then_some(kind)
}

fn is_random(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the attempt that an object's labels name.
pub(crate) fn attempt(labels: &HashMap<String, String>) -> Option<AttemptId> {
    let job = labels.get(JOB)?.parse().ok()?;
    let attempt = labels.get(ATTEMPT)?.parse().ok()?;
    Some(AttemptId { job, attempt })
}

/// Returns the kind that a label names.
pub(crate) fn kind(word: &str) -> Option<Kind> {
    const KINDS: [Kind; 12] = [
        Kind::Job,
        Kind::Service,
        Kind::Step,
        Kind::Guard,
        Kind::Builder,
        Kind::Inner,
        Kind::Sandbox,
        Kind::Volume,
        Kind::Cache,
        Kind::Workspace,
        Kind::Network,
        Kind::Agent,
    ];
    if word == BERTH { Some(Kind::Sandbox) } else { KINDS.into_iter().find(|kind| kind.as_str() == word) }
}

/// Returns the filter of a list call: every `key=value` has to match, and every key without a value has to be present.
pub(crate) fn filter(pairs: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let labels = pairs
        .iter()
        .map(|(key, value)| if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") })
        .collect();
    HashMap::from([("label".to_owned(), labels)])
}

/// Returns the filter of a list call for what was made for an attempt.
pub(crate) fn filter_attempt(instance: &Instance, attempt: AttemptId) -> HashMap<String, Vec<String>> {
    let (job, number) = (attempt.job.to_string(), attempt.attempt.to_string());
    filter(&[(INSTANCE, instance.as_str()), (JOB, &job), (ATTEMPT, &number)])
}
