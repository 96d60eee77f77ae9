//! The table of a client's own objects, by their full ids. To the client, other objects do not exist.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::anonymous::Anonymous;
use crate::conduct::Conduct;
use crate::dockerfile::growth::Base;
use crate::filling::Access;
use crate::image_ref::{ImageName, ImageRef};
use crate::names::{RESERVED, is_full_id, looks_like_id};
use crate::refusal::{Judged, Refusal, Rule};

/// The digits of an id that clients show.
const SHORT_ID: usize = 12;
/// The most ids that are known as the client's. Whoever has made more is not watched for those of others.
const MOST_KNOWN: usize = 8192;
/// The most ended execs that can still be inspected.
const MOST_ENDED: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    pub(crate) containers: BTreeMap<String, Container>,
    /// Ids of execs, and the containers that they run in.
    pub(crate) execs: BTreeMap<String, String>,
    /// Those that are known to have ended.
    pub(crate) ended_execs: BTreeSet<String>,
    /// Ids of networks, and their names.
    pub(crate) networks: BTreeMap<String, String>,
    /// Subnets that the client's networks were given, and the ids of these; empty where the engine refused one.
    pub(crate) subnets: BTreeMap<String, String>,
    /// Names of volumes, as the client knows them.
    pub(crate) volumes: BTreeSet<String>,
    /// Who may have been in volumes.
    pub(crate) access: BTreeMap<String, Access>,
    /// Images by the client's full references.
    pub(crate) images: BTreeMap<String, Image>,
    /// Names on the engine that no name of the client stands for any more, with the ids of their images.
    pub(crate) left: BTreeMap<String, String>,
    /// The bytes of the images that the client has loaded, by their ids.
    pub(crate) loaded: BTreeMap<String, u64>,
    /// Ids of images that may be no base of a build, each with the trigger that is the reason.
    pub(crate) triggers: BTreeMap<String, String>,
    /// What a build gets from an image that it starts from, by the image's id.
    pub(crate) bases: BTreeMap<String, Base>,
    /// Ids of images that were on the engine before the client pulled them, and of those that it has pulled.
    pub(crate) present: BTreeSet<String>,
    /// The bytes of the images that it has pulled.
    pub(crate) pulled_bytes: u64,
    /// The bytes that describe the images of all builds, which the engine does not count.
    pub(crate) described_bytes: u64,
    /// What each container of an image takes in the engine's lists, by the image's id.
    pub(crate) listed: BTreeMap<String, usize>,
    /// The starts of all ids that are or were the client's.
    known: BTreeSet<String>,
    /// Names of networks that are or were the client's and look like ids.
    known_names: BTreeSet<String>,
    pub(crate) conduct: Conduct,
    /// Anonymous volumes of the client's containers, by the engine's names for them, as it has listed them last.
    #[serde(skip)]
    pub(crate) anonymous: BTreeMap<String, Anonymous>,
    /// Whether the client is watched for ids of others. A server asks for what its guard has not seen yet.
    #[serde(skip)]
    pub(crate) is_watched: bool,
    /// Ids of images that hold the guard's own program. Only a server's guard has any.
    #[serde(skip)]
    pub(crate) programs: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The name that the client knows.
    pub(crate) name: String,
    /// The image, as the client wrote it.
    pub(crate) image: String,
    pub(crate) memory: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) pids: i64,
    /// What it takes in the engine's lists.
    #[serde(default)]
    pub(crate) listed: usize,
    /// Ports that are published on the sandbox's `localhost` while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) published: Vec<Port>,
    /// Whether all ports that it exposes are published.
    #[serde(default)]
    pub(crate) publish_all: bool,
    /// Whether it never shared a namespace or a volume with others, so that its own processes alone can have reached
    /// its files.
    #[serde(default)]
    pub(crate) is_alone: bool,
    /// The volumes with names that are mounted in it; of a server's container, those in which it may write.
    #[serde(default)]
    pub(crate) volumes: BTreeSet<String>,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    /// Reads a port as the API writes it: `53/udp`.
    #[must_use]
    pub fn of_port(text: &str) -> Option<(u16, Self)> {
        let (port, protocol) = text.split_once('/')?;
        let protocol = match protocol {
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            _ => return None,
        };
        Some((port.parse().ok()?, protocol))
    }

    /// Returns its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The container's port.
    pub container: u16,
    #[serde(default)]
    pub protocol: Protocol,
    /// The range of ports that the client asked for, first and last. `None` for any free port.
    pub asked: Option<(u16, u16)>,
    /// The port that listens, if any.
    pub bound: Option<u16>,
}

/// The ports that a container publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    pub named: Vec<Port>,
    /// Whether all other ports that the container exposes are published, too.
    pub all: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    /// Its id, without `sha256:`.
    pub(crate) id: String,
    /// The reference that keeps it on the engine, if the client made it. `None` for images that everybody may use.
    pub(crate) kept_as: Option<String>,
}

impl Table {
    /// Returns an own container with its full id. The reference is its id, its name, or a prefix of its id.
    pub(crate) fn container(&self, reference: &str) -> Judged<(&str, &Container)> {
        let found = self
            .containers
            .get_key_value(reference)
            .or_else(|| self.containers.iter().find(|(_, container)| container.name == reference))
            .or_else(|| only(self.containers.iter().filter(|(id, _)| id.starts_with(reference))));
        match found {
            Some((id, container)) if !reference.is_empty() => Ok((id, container)),
            _ => Err(self.absent("container", reference)),
        }
    }

    pub(crate) fn exec(&self, reference: &str) -> Judged<&str> {
        match self.execs.get_key_value(reference) {
            Some((id, _)) => Ok(id),
            None => Err(self.absent("exec instance", reference)),
        }
    }

    pub(crate) fn network(&self, reference: &str) -> Judged<&str> {
        let found = self
            .networks
            .get_key_value(reference)
            .or_else(|| self.networks.iter().find(|(_, name)| *name == reference))
            .or_else(|| only(self.networks.iter().filter(|(id, _)| id.starts_with(reference))));
        match found {
            Some((id, _)) if !reference.is_empty() => Ok(id),
            _ => Err(self.absent("network", reference)),
        }
    }

    pub(crate) fn volume(&self, name: &str) -> Judged<&str> {
        match self.volumes.get(name) {
            Some(name) => Ok(name),
            None => Err(Refusal::new(crate::Rule::Foreign, format!("get {name}: no such volume"))),
        }
    }

    /// Returns the id of an own image, and the reference by which it was found, if any.
    pub(crate) fn image(&self, name: &ImageName) -> Judged<(&str, Option<&str>)> {
        let by_id = |start: &str| {
            let mut ids: Vec<&str> =
                self.images.values().map(|image| image.id.as_str()).filter(|id| id.starts_with(start)).collect();
            ids.sort_unstable();
            ids.dedup();
            if let [id] = ids.as_slice() { Some(*id) } else { None }
        };
        let found = match name {
            ImageName::Id(id) => by_id(id).map(|id| (id, None)),
            ImageName::Ref { reference, prefix } => self
                .images
                .get_key_value(&reference.to_string())
                .map(|(reference, image)| (image.id.as_str(), Some(reference.as_str())))
                .or_else(|| prefix.as_deref().and_then(by_id).map(|id| (id, None))),
        };
        found.ok_or_else(|| self.absent("image", &name.to_string()))
    }

    /// Refuses what does not exist or belongs to somebody else: the message is the same for both.
    fn absent(&self, kind: &str, reference: &str) -> Refusal {
        let id = reference.strip_prefix("sha256:").unwrap_or(reference);
        let digits = id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_own_name = kind == "network" && self.known_names.contains(reference);
        let is_foreign_id = digits
            && !is_own_name
            && self.known.len() < MOST_KNOWN
            && id.get(..SHORT_ID).is_some_and(|start| !self.known.contains(start));
        let is_reserved = kind != "image" && reference.trim_start_matches('/').starts_with(RESERVED);
        if self.is_watched && (is_foreign_id || is_reserved) {
            return Refusal::new(Rule::Probe, format!("No such {kind}: {reference}"));
        }
        // As the engine says it.
        Refusal::new(
            Rule::Foreign,
            match kind {
                "network" => format!("network {reference} not found"),
                kind => format!("No such {kind}: {reference}"),
            },
        )
    }

    /// Notes an id as the client's.
    pub(crate) fn know(&mut self, id: &str) {
        if let Some(start) = id.get(..SHORT_ID).filter(|_| self.known.len() < MOST_KNOWN) {
            self.known.insert(start.to_owned());
        }
    }

    /// Returns what the client was refused, and why it is refused everything, if it is.
    #[must_use]
    pub fn conduct(&self) -> &Conduct {
        &self.conduct
    }

    pub(crate) fn add_exec(&mut self, id: String, container: String) {
        self.know(&id);
        self.execs.insert(id, container);
        if self.ended_execs.len() > MOST_ENDED {
            let ended = std::mem::take(&mut self.ended_execs);
            self.execs.retain(|id, _| !ended.contains(id));
        }
    }

    /// The number of execs that may be running.
    pub(crate) fn running_execs(&self) -> usize {
        self.execs.len().saturating_sub(self.ended_execs.len())
    }

    /// Returns the execs that are not known to have ended.
    #[must_use]
    pub fn open_execs(&self) -> Vec<String> {
        self.execs.keys().filter(|id| !self.ended_execs.contains(*id)).cloned().collect()
    }

    /// Notes that an exec has ended. It can still be inspected.
    pub fn end_exec(&mut self, id: &str) {
        if self.execs.contains_key(id) {
            self.ended_execs.insert(id.to_owned());
        }
    }

    pub(crate) fn forget_execs_of(&mut self, container: &str) {
        self.execs.retain(|_, of| of != container);
        self.ended_execs.retain(|id| self.execs.contains_key(id));
    }

    pub(crate) fn add_network(&mut self, id: String, name: String) {
        self.know(&id);
        if looks_like_id(&name) && self.known_names.len() < MOST_KNOWN {
            self.known_names.insert(name.clone());
        }
        self.networks.insert(id, name);
    }

    pub(crate) fn add_image(&mut self, reference: String, image: Image) {
        self.know(&image.id);
        if let Some(kept_as) = &image.kept_as {
            self.left.remove(kept_as);
        }
        let now = image.kept_as.clone();
        if let Some(Image { id, kept_as: Some(former) }) = self.images.insert(reference, image)
            && now.as_ref() != Some(&former)
        {
            self.left.insert(former, id);
        }
    }

    /// The number of names of images that the client has given, with those that are still on the engine.
    pub(crate) fn named_images(&self) -> usize {
        self.images.values().filter(|image| image.kept_as.is_some()).count() + self.left.len()
    }

    /// The bytes of the images that the client has loaded and that still have a name.
    pub(crate) fn loaded_bytes(&self) -> u64 {
        let is_named = |id: &String| {
            self.images.values().any(|image| image.kept_as.is_some() && image.id == *id)
                || self.left.values().any(|left| left == id)
        };
        self.loaded.iter().filter(|(id, _)| is_named(id)).fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Returns the client's references to an image.
    pub(crate) fn references(&self, id: &str) -> Vec<&str> {
        self.images.iter().filter(|(_, image)| image.id == id).map(|(reference, _)| reference.as_str()).collect()
    }

    pub(crate) fn knows_image(&self, reference: &ImageRef) -> bool {
        self.images.contains_key(&reference.to_string())
    }

    /// Returns the ids of all own containers, for [`Table::keep_containers`].
    #[must_use]
    pub fn container_ids(&self) -> BTreeSet<String> {
        self.containers.keys().cloned().collect()
    }

    /// Returns the published ports of a container. `None` if it has none.
    #[must_use]
    pub fn ports(&self, id: &str) -> Option<Ports> {
        let container = self.containers.get(id)?;
        let has_any = container.publish_all || !container.published.is_empty();
        has_any.then(|| Ports { named: container.published.clone(), all: container.publish_all })
    }

    /// Records the ports that listen for a container.
    pub fn set_ports(&mut self, id: &str, ports: Vec<Port>) {
        if let Some(container) = self.containers.get_mut(id) {
            container.published = ports;
        }
    }

    /// Records that no port listens for a container any more.
    pub fn unbind(&mut self, id: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.published.iter_mut().for_each(|port| port.bound = None);
        }
    }

    /// Returns the ids of the networks that the client has made.
    pub fn network_ids(&self) -> impl Iterator<Item = &String> {
        self.networks.keys()
    }

    /// Removes the containers in `asked` that are not in `exist`.
    pub fn keep_containers(&mut self, asked: &BTreeSet<String>, exist: &BTreeSet<String>) {
        self.containers.retain(|id, _| !asked.contains(id) || exist.contains(id));
        let containers = &self.containers;
        self.execs.retain(|_, container| containers.contains_key(container));
        self.ended_execs.retain(|id| self.execs.contains_key(id));
    }

    /// Removes the container with a name, which may belong to another one by now.
    pub(crate) fn forget_name(&mut self, name: &str) {
        self.containers.retain(|_, container| container.name != name);
    }

    pub(crate) fn add_container(&mut self, id: String, container: Container) {
        self.know(&id);
        let name = container.name.clone();
        self.containers.insert(id.clone(), container);
        self.name_container(&id, name);
    }

    /// Gives a container a name. Names are unique on the engine: an earlier container of this name is gone, or has
    /// another one that is not known yet. It keeps its share of the budget until the engine says that it is gone.
    pub(crate) fn name_container(&mut self, id: &str, name: String) {
        for (other, container) in &mut self.containers {
            if container.name == name && other != id {
                container.name.clone_from(other);
            }
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.name = name;
        }
    }
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

/// Reads an id in an answer of the engine.
pub(crate) fn full_id(text: &str) -> Option<String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    is_full_id(digits).then(|| digits.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_network_makes_nobody_elses_id_known() {
        let (own, other) = ("a".repeat(64), "0123456789ab".repeat(5) + "0123");
        let mut table = Table { is_watched: true, ..Table::default() };
        table.add_network(own.clone(), other[..SHORT_ID].to_owned());
        assert_eq!(table.network(&other[..SHORT_ID]).unwrap(), own);
        table.networks.clear();
        assert_eq!(table.network(&other[..SHORT_ID]).unwrap_err().rule, Rule::Foreign, "it was the client's");
        for reference in [&other[..SHORT_ID], &other] {
            assert_eq!(table.container(reference).unwrap_err().rule, Rule::Probe, "{reference}");
        }
        assert_eq!(table.network(&other).unwrap_err().rule, Rule::Probe);
    }
}
