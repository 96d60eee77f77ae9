//! Which objects on the engine are the server's own, by their names and labels.

use std::collections::BTreeMap;

use crate::check::{Check, INSTANCE};
use crate::guard::Guard;
use crate::job_guard;
use crate::policy::ServerPolicy;
use crate::refusal::{Judged, Refusal, refuse};

/// The repository of the agent's images, and the prefix of its volumes' names.
pub(crate) const AGENT: &str = "longshore-agent";

/// Whether a name could be one of a server's objects. No job can choose such a name.
pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with("longshore-") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Whether a job's guard gives such names to what the job makes.
pub(crate) fn is_made_in_job(name: &str) -> bool {
    name.starts_with("longshore-guard-")
}

/// Whether a container with such a name is a job's guard: the server makes it in one form only.
pub(crate) fn is_guards(name: &str) -> bool {
    is_ours(name) && !is_made_in_job(name) && name.ends_with("-guard")
}

/// Whether a container of the server may mount a volume with such a name.
pub(crate) fn is_mountable(name: &str) -> bool {
    is_ours(name) && !is_made_in_job(name)
}

/// Whether a job may write into a volume of the server's with such a name. Others rely on what is in the agent's
/// volumes and in those of guards' sockets.
pub(crate) fn is_writable(name: &str) -> bool {
    is_mountable(name) && !is_agents(name) && !is_of_socket(name)
}

/// Whether a volume with such a name has the socket of a job's guard.
pub(crate) fn is_of_socket(name: &str) -> bool {
    name.starts_with(job_guard::VOLUMES)
}

pub(crate) fn is_agents(name: &str) -> bool {
    name.starts_with("longshore-agent-")
}

pub(crate) fn own_labels(policy: &ServerPolicy, labels: &BTreeMap<String, String>) -> Judged<()> {
    match (labels.get(INSTANCE), &policy.instance) {
        (Some(instance), _) if policy.is_own(instance) => Ok(()),
        (Some(asked), Some(own)) => refuse!(
            Server,
            "this guard serves the instance {own}, not {asked}: if the server's data folder is another one now, restart the guard"
        ),
        (Some(_) | None, _) => Err(Refusal::new(
            crate::Rule::Server,
            format!("everything that the server creates has to carry the label {INSTANCE} with its instance"),
        )),
    }
}

/// Returns the check that a volume belongs to the server: another server on this engine may have volumes with such
/// names. The agent's volumes are shared by all.
pub(crate) fn own_volume(guard: &Guard, policy: &ServerPolicy, name: &str) -> Vec<Check> {
    if is_agents(name) || guard.table.volumes.contains(name) {
        return Vec::new();
    }
    vec![Check::Volume { name: name.to_owned(), instances: policy.instances(), place: None }]
}

pub(crate) fn own_network(policy: &ServerPolicy, reference: &str) -> Check {
    Check::Network { reference: reference.to_owned(), instances: policy.instances() }
}
