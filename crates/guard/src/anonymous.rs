//! Anonymous volumes that one container of a job takes over from another, as when compose recreates a container.
//!
//! The engine removes an anonymous volume with its last container, unless one has it by its name: that would outlive
//! the job. So a container never gets one by its name, but with `VolumesFrom` of a container of the job that has it,
//! which leaves it anonymous.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::call::Call;
use crate::guard::Guard;
use crate::host_config::HostConfig;
use crate::mounts::{Mount, Source};
use crate::names::is_full_id;
use crate::refusal::{Judged, refuse};
use crate::route::Request;
use crate::table::{Table, full_id};

/// An anonymous volume of one of the job's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anonymous {
    /// The container's id.
    container: String,
    target: String,
    read_only: bool,
    /// Where the container has something mounted.
    targets: BTreeSet<String>,
    /// The engine passes on no mounts of a container that has memory among them.
    has_tmpfs: bool,
}

impl Guard {
    /// Whether a request mounts a volume that has a name like those that the engine gives. Before it is judged, the
    /// caller asks the engine for the job's containers, and passes the list to [`Guard::learn_anonymous_volumes`].
    #[must_use]
    pub fn names_anonymous_volumes(&self, request: &Request) -> bool {
        let Call::ContainerCreate { body, .. } = &request.call else { return false };
        self.label().is_some() && body.host.mounts.iter().any(|mount| engines_name(mount).is_some())
    }

    /// Notes the anonymous volumes of the job's own containers, of a list of the engine's.
    pub fn learn_anonymous_volumes(&mut self, containers: &[Value]) {
        let of_container = |container: &Value| {
            let id = container["Id"].as_str().and_then(full_id)?;
            self.table.containers.contains_key(&id).then(|| volumes_of(&id, &container["Mounts"]))
        };
        self.table.anonymous = containers.iter().filter_map(of_container).flatten().collect();
    }
}

fn volumes_of(id: &str, mounts: &Value) -> BTreeMap<String, Anonymous> {
    let mounts: &[Value] = mounts.as_array().map_or(&[], Vec::as_slice);
    let target = |mount: &Value| mount["Destination"].as_str().unwrap_or_default().to_owned();
    let targets: BTreeSet<String> = mounts.iter().map(target).collect();
    let has_tmpfs = mounts.iter().any(|mount| mount["Type"] == "tmpfs");
    let anonymous = mounts.iter().filter(|mount| mount["Type"] == "volume").filter_map(|mount| {
        let name = mount["Name"].as_str().filter(|name| is_full_id(name))?;
        let volume = Anonymous {
            container: id.to_owned(),
            target: target(mount),
            read_only: mount["RW"] == false,
            targets: targets.clone(),
            has_tmpfs,
        };
        Some((name.to_owned(), volume))
    });
    anonymous.collect()
}

/// Returns the name of a mounted volume if it is like those that the engine gives.
fn engines_name(mount: &Mount) -> Option<&str> {
    match &mount.source {
        Source::Volume { name, .. } if is_full_id(name) => Some(name),
        Source::Volume { .. }
        | Source::Path(_)
        | Source::Socket(_)
        | Source::OfEngine(_)
        | Source::Anonymous
        | Source::Tmpfs { .. } => None,
    }
}

/// Takes the job's anonymous volumes out of the mounts, and has the container get them from those that have them.
pub(crate) fn take_over(table: &Table, host: &mut HostConfig) -> Judged<()> {
    let wanted: BTreeSet<String> = host.mounts.iter().map(|mount| mount.target.clone()).collect();
    let mut kept = Vec::new();
    for mount in std::mem::take(&mut host.mounts) {
        let Some((name, volume)) = engines_name(&mount).and_then(|name| table.anonymous.get_key_value(name)) else {
            kept.push(mount);
            continue;
        };
        // All mounts of that container come with it, but for those in whose place the new one has another.
        let is_alike = volume.target == mount.target && volume.read_only == mount.read_only;
        if !is_alike || volume.has_tmpfs || !volume.targets.is_subset(&wanted) {
            return refuse!(
                Volume,
                "the volume {name} has no name of its own, so only a container with the same mounts takes it over, and none that has a tmpfs among them: give it a name, or a new one each time (`docker compose up --renew-anon-volumes`)"
            );
        }
        if !host.volumes_from.contains(&volume.container) {
            host.volumes_from.push(volume.container.clone());
        }
    }
    host.mounts = kept;
    Ok(())
}
