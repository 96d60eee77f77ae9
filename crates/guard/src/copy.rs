//! Copies of files into and out of a container (`docker cp`). For a copy, the engine mounts the container's volumes
//! once more, on the host: if a path to one were replaced by a link meanwhile, the engine would mount over the host's
//! own files. So a container that runs is paused, and no mount is within another one.
//!
//! Others still reach the files of a container that has started, if they share a volume or a namespace with it: a
//! folder's descriptor that they were handed outlives the container. Engines before Docker 24 mount in the host's own
//! namespace, so there, nobody else may ever have had a way in.

use serde_json::Value;

use crate::call::ContainerAction;
use crate::check::Check;
use crate::guard::Guard;
use crate::job_guard::{AUDIT, TABLE};
use crate::refusal::{Judged, Refusal, refuse};
use crate::server_own::{is_guards, is_made_in_job};

/// The oldest minor version of the API of engines that mount a container's volumes for a copy in a mount namespace of
/// its own.
pub const OWN_NAMESPACE_API: u32 = 43;
/// Files that the engine mounts in every container that has run, beside its volumes.
const OF_THE_ENGINE: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// What a server reads of its jobs' guards.
const READ_OF_GUARDS: [&str; 2] = [AUDIT, TABLE];

impl Guard {
    /// Judges a copy of files into or out of an own container, as the engine describes it. Nobody starts the container
    /// meanwhile, or creates another one that joins it. Returns whether it has to be paused.
    ///
    /// # Errors
    /// If somebody could swap a path in it for a link.
    pub fn judge_copy(&self, id: &str, container: &Value) -> Result<bool, Refusal> {
        let is_alone = self.table.containers.get(id).is_some_and(|own| own.is_alone);
        if self.engine.api < OWN_NAMESPACE_API && !is_alone && !is_new(container) {
            return refuse!(
                Archive,
                "this engine (before Docker 24) copies files only into or out of a container that shares no volume, folder or namespace with others, or that was never started and has one volume at most: read or write the files in the shared volume or folder itself, or copy them in a container without one"
            );
        }
        if let Some(path) = nested(container) {
            return refuse!(
                Archive,
                "files cannot be copied into or out of this container, because its mount {path} is within another one: copy them in a container without it"
            );
        }
        Ok(container["State"]["Running"] != false && container["State"]["Paused"] != true)
    }

    /// Judges a server's reading of files out of a container of its own. Returns what has to hold on the engine.
    ///
    /// Where the engine mounts volumes on the host, an archive is read only of containers in which nobody has ever been,
    /// with volumes in which nobody else can be: another guard may let somebody into a volume at any moment. The file
    /// system of all others is exported, for which the engine mounts nothing.
    pub(crate) fn judge_reading(&self, reference: &str, action: &ContainerAction) -> Judged<Vec<Check>> {
        let (id, own) = self.table.container(reference)?;
        let still = Check::Still { container: id.to_owned() };
        let mounts_on_host = self.engine.api < OWN_NAMESPACE_API;
        match action {
            _ if is_made_in_job(&own.name) => {
                refuse!(Server, "the server may not read files of what a job has started")
            }
            // A guard has all volumes of the engine, and a volume of its own in which nobody else writes.
            ContainerAction::ArchiveGet { path } if is_guards(&own.name) => {
                match READ_OF_GUARDS.contains(&path.as_str()) {
                    true => Ok(vec![still]),
                    false => refuse!(Server, "the server may read only the table and the audit log of a job's guard"),
                }
            }
            ContainerAction::ArchiveGet { .. } if mounts_on_host => {
                Ok(vec![still, Check::Unshared { container: id.to_owned() }])
            }
            ContainerAction::ArchiveGet { .. } => Ok(vec![still]),
            ContainerAction::Export if mounts_on_host => Ok(vec![still]),
            _ => refuse!(Server, "the server may not do this with a container"),
        }
    }
}

/// Whether a container was never started: nobody but copies has been in it. Links of its image could lead one mount
/// into another.
fn is_new(container: &Value) -> bool {
    !was_started(container) && container["Mounts"].as_array().is_some_and(|mounts| mounts.len() <= 1)
}

pub(crate) fn was_started(container: &Value) -> bool {
    // The engine makes this file for a start, also for one that fails.
    container["HostsPath"] != "" || container["State"]["Status"] != "created"
}

/// Returns the first mount that is within another one.
fn nested(container: &Value) -> Option<&str> {
    let mounts = container["Mounts"].as_array()?;
    let paths: Vec<&str> = mounts.iter().filter_map(|mount| mount["Destination"].as_str()).collect();
    let is_within = |path: &str, other: &str| {
        path.strip_prefix(other.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
    };
    let all = paths.iter().copied().chain(OF_THE_ENGINE);
    all.into_iter().find(|path| paths.iter().any(|other| other != path && is_within(path, other)))
}
