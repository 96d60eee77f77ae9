//! Copies of files into and out of a container (`docker cp`). For a copy, the engine mounts the container's volumes
//! once more, on the host: if a path to one were replaced by a link meanwhile, the engine would mount over the host's
//! own files. So a container that runs is paused, and no mount is within another one.
//!
//! Others still reach the files of a container that has started, if they share a volume or a namespace with it: a
//! folder's descriptor that they were handed outlives the container. Engines before Docker 24 mount in the host's own
//! namespace, so there, nobody else may ever have had a way in.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::guard::Guard;
use crate::job_guard;
use crate::names::volume_at;
use crate::refusal::{Refusal, refuse};
use crate::server_own::is_agents;

/// The oldest minor version of the API of engines that mount a container's volumes for a copy in a mount namespace of
/// its own.
pub const OWN_NAMESPACE_API: u32 = 43;
/// Files that the engine mounts in every container that has run, beside its volumes.
const OF_THE_ENGINE: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

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

    /// Returns the volumes through which others could change paths in a server's container that stands still, while the
    /// engine mounts its volumes on the host: one of them may be mounted within another one, also by links of its image.
    /// `all` is the engine's list of volumes. Files are changed in an overlay also by what is written into its layers.
    #[must_use]
    pub fn volumes_around(&self, container: &Value, all: &Value) -> BTreeSet<String> {
        let mounts = container["Mounts"].as_array().map_or(&[][..], Vec::as_slice);
        if self.engine.api >= OWN_NAMESPACE_API || mounts.len() < 2 {
            return BTreeSet::new();
        }
        let name = |volume: &Value| volume["Name"].as_str().map(str::to_owned);
        let is_ours = |name: &String| is_agents(name) || name.starts_with(job_guard::VOLUMES);
        let own: BTreeSet<String> = mounts.iter().filter_map(name).filter(|name| !is_ours(name)).collect();
        let volumes = || all["Volumes"].as_array().into_iter().flatten();
        let layers = volumes().filter(|volume| name(volume).is_some_and(|name| own.contains(&name))).flat_map(layers);
        let below: BTreeSet<String> = own.iter().cloned().chain(layers.map(|(_, name)| name)).collect();
        let writes = |volume: &&Value| layers_written(volume).any(|layer| below.contains(&layer));
        let above: Vec<String> = volumes().filter(writes).filter_map(name).collect();
        below.into_iter().chain(above).collect()
    }
}

/// Returns the volumes that an overlay is made of, each with the option that names it.
fn layers(volume: &Value) -> impl Iterator<Item = (&str, String)> {
    let options = volume["Options"]["o"].as_str().unwrap_or_default().split(',').filter_map(|one| one.split_once('='));
    let places = options.flat_map(|(what, places)| places.split(':').map(move |place| (what, place)));
    places.filter_map(|(what, place)| Some((what, volume_at(place)?.to_owned())))
}

fn layers_written(volume: &Value) -> impl Iterator<Item = String> {
    layers(volume).filter(|(what, _)| *what != "lowerdir").map(|(_, name)| name)
}

/// Whether a container was never started: nobody but copies has been in it. Links of its image could lead one mount
/// into another.
fn is_new(container: &Value) -> bool {
    // The engine makes this file for a start, also for one that fails.
    let was_started = container["HostsPath"] != "" || container["State"]["Status"] != "created";
    !was_started && container["Mounts"].as_array().is_some_and(|mounts| mounts.len() <= 1)
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
