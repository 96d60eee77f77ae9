//! The table of a client's own objects, by their full ids. To the client, other objects do not exist.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::image_ref::{ImageName, ImageRef};
use crate::names::is_full_id;
use crate::refusal::{Judged, Refusal};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    pub(crate) containers: BTreeMap<String, Container>,
    /// Ids of execs, and the containers that they run in.
    pub(crate) execs: BTreeMap<String, String>,
    /// Ids of networks, and their names.
    pub(crate) networks: BTreeMap<String, String>,
    /// Names of volumes, as the client knows them.
    pub(crate) volumes: BTreeSet<String>,
    /// Images by the client's full references.
    pub(crate) images: BTreeMap<String, Image>,
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
    /// Whether it has mounts.
    pub(crate) mounts: bool,
    pub(crate) memory: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) pids: i64,
    /// Ports that are published on the sandbox's `localhost` while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) published: Vec<Port>,
    /// Whether all ports that it exposes are published.
    #[serde(default)]
    pub(crate) publish_all: bool,
}

/// A published TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The container's port.
    pub container: u16,
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
            _ => Err(Refusal::absent("container", reference)),
        }
    }

    pub(crate) fn exec(&self, reference: &str) -> Judged<&str> {
        match self.execs.get_key_value(reference) {
            Some((id, _)) => Ok(id),
            None => Err(Refusal::absent("exec instance", reference)),
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
            _ => Err(Refusal::new(crate::Rule::Foreign, format!("network {reference} not found"))),
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
        found.ok_or_else(|| Refusal::absent("image", &name.to_string()))
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
    }

    /// Removes the container with a name, which may belong to another one by now.
    pub(crate) fn forget_name(&mut self, name: &str) {
        self.containers.retain(|_, container| container.name != name);
    }

    pub(crate) fn add_container(&mut self, id: String, container: Container) {
        // Names are unique on the engine: an earlier container of this name is gone.
        self.forget_name(&container.name);
        self.containers.insert(id, container);
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
