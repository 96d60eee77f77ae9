//! Volumes that an engine fills with the files that an image has at their mount point.
//!
//! It does so while it creates the container, by the volume's path on its host. Whoever is in the volume meanwhile could
//! put a link there that leads out of it, and the engine would write its files, or those of the image, anywhere on the
//! host. So a volume is filled only while nobody has ever been in it: a folder's descriptor that was handed to others
//! outlives its container. And nobody gets into it before it is full.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::bodies::VolumeContent;
use crate::call::Call;
use crate::decision::Effect;
use crate::guard::Guard;
use crate::mounts::{Mount, Source};
use crate::names::volume_at;
use crate::policy::Policy;
use crate::refusal::{Refusal, refuse};
use crate::route::Request;
use crate::table::Table;

/// Who may have been in a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Access {
    /// Nobody.
    New,
    /// The engine fills it, or did so when the guard was killed.
    Filling,
    /// A container that was started, or files were copied into one that has it.
    Entered,
}

impl Table {
    /// Whether the engine may fill a volume. A job's volumes are all made through its guard, which keeps its table. Of a
    /// server's, a guard knows those that it has seen made.
    pub(crate) fn may_fill(&self, policy: &Policy, volume: &str) -> bool {
        match (policy, self.access.get(volume)) {
            (Policy::Job(_), None) | (_, Some(Access::New)) => true,
            (Policy::Server(_), None) | (_, Some(Access::Filling | Access::Entered)) => false,
        }
    }
}

/// Returns the name of the volume that the engine fills for a mount, if it does.
pub(crate) fn filled_by(mount: &Mount) -> Option<&str> {
    named(mount).filter(|_| !mount.no_copy)
}

/// Returns the name of the volume that is mounted, if it has one.
fn named(mount: &Mount) -> Option<&str> {
    match &mount.source {
        Source::Volume { name, .. } => Some(name),
        Source::Anonymous | Source::Path(_) | Source::Socket(_) | Source::OfEngine(_) | Source::Tmpfs { .. } => None,
    }
}

impl Guard {
    /// Returns the volumes that a request may fill, or make, or make an overlay of. From before it is judged until the
    /// engine has answered, nobody else fills, makes or enters them.
    #[must_use]
    pub fn may_be_filled(&self, request: &Request) -> BTreeSet<String> {
        match &request.call {
            Call::ContainerCreate { body, .. } => {
                let of_mount = match &self.policy {
                    // The engine makes one that is not there, and a job may do so while it removes another one of that name.
                    Policy::Job(_) => named,
                    Policy::Server(_) => filled_by,
                };
                body.host.mounts.iter().filter_map(of_mount).map(str::to_owned).collect()
            }
            Call::VolumeCreate(volume) => {
                names_of_layers(&volume.content).into_iter().chain([volume.name.clone()]).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Notes that a server makes a volume, which the engine does not have.
    pub fn note_new_volume(&mut self, effect: &Effect) {
        if let (Policy::Server(_), Effect::VolumeCreated { name, layers }) = (&self.policy, effect)
            && layers.is_empty()
        {
            self.table.access.insert(name.clone(), Access::New);
        }
    }

    /// Returns the volumes that somebody gets into by a call for the first time.
    #[must_use]
    pub fn entered(&self, effect: &Effect) -> BTreeSet<String> {
        let (Effect::ContainerStarted { id } | Effect::FilesCopied { id }) = effect else { return BTreeSet::new() };
        let volumes = self.table.containers.get(id).map(|container| &container.volumes);
        let is_first = |volume: &&String| self.table.access.get(*volume) != Some(&Access::Entered);
        volumes.into_iter().flatten().filter(is_first).cloned().collect()
    }

    /// Returns the volumes that nobody fills, makes or enters during a call: the one that it removes, and those in which a
    /// server's container may write that it starts.
    #[must_use]
    pub fn held_by(&self, effect: &Effect) -> BTreeSet<String> {
        match (&self.policy, effect) {
            (_, Effect::VolumeRemoved { name }) => BTreeSet::from([name.clone()]),
            (Policy::Server(_), Effect::ContainerStarted { id }) => {
                self.table.containers.get(id).map(|container| container.volumes.clone()).unwrap_or_default()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Notes that a container gets access to volumes, before the engine is called.
    ///
    /// # Errors
    /// If the engine may still be filling one.
    pub fn enter(&mut self, volumes: &BTreeSet<String>) -> Result<(), Refusal> {
        let access = &mut self.table.access;
        if let Some(volume) = volumes.iter().find(|volume| access.get(*volume) == Some(&Access::Filling)) {
            return refuse!(
                Volume,
                "the engine may still be filling the volume {volume} from an image, because the guard was started again meanwhile: use another one"
            );
        }
        access.extend(volumes.iter().map(|volume| (volume.clone(), Access::Entered)));
        Ok(())
    }

    /// Notes what a call fills, or makes an overlay of, before the engine is asked.
    pub fn begin_volumes(&mut self, effect: &Effect) {
        let (volumes, access): (Vec<&String>, Access) = match effect {
            Effect::ContainerCreated { filled, .. } => (filled.iter().collect(), Access::Filling),
            Effect::VolumeCreated { layers, .. } => (layers.iter().collect(), Access::Entered),
            _ => return,
        };
        self.table.access.extend(volumes.into_iter().map(|volume| (volume.clone(), access)));
    }

    /// Notes that the engine is done with filling volumes, whether it has created the container or not.
    pub(crate) fn end_filling(&mut self, filled: &BTreeSet<String>) {
        self.table.access.extend(filled.iter().map(|volume| (volume.clone(), Access::New)));
    }
}

/// Returns the names of the volumes that an overlay is made of.
pub(crate) fn names_of_layers(content: &VolumeContent) -> Vec<String> {
    content.layers().into_iter().filter_map(|folder| volume_at(folder)).map(str::to_owned).collect()
}
