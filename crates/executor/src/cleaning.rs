//! Removes what nobody needs any more: the sweep at a server's start, and `longshore clean`.
//!
//! Objects are found by their labels and names, and removed by their ids: labels alone may be an image's. A list only hints: what is in use by then is refused by the engine, and
//! stays.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use longshore_core::{JobId, Timestamp};

use crate::attempt::AttemptId;
use crate::error::EngineError;
use crate::executor::Executor;
use crate::names::{ContainerId, Instance, VolumeName};
use crate::objects::{ContainerObject, Kind, ObjectId, Objects, VolumeObject};
use crate::removal::FOR_EVER;

/// What belongs to nobody any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    containers: Vec<ContainerObject>,
    volumes: Vec<VolumeObject>,
}

impl Orphans {
    /// The jobs whose containers run.
    pub fn running(&self) -> impl Iterator<Item = JobId> + '_ {
        let running = self.containers.iter().filter(|container| container.running);
        running.filter_map(|container| container.attempt.map(|attempt| attempt.job))
    }

    /// Leaves what belongs to these jobs where it is.
    pub fn leave(&mut self, jobs: &BTreeSet<JobId>) {
        let left = |attempt: &Option<AttemptId>| attempt.is_some_and(|attempt| jobs.contains(&attempt.job));
        self.containers.retain(|container| !left(&container.attempt));
        self.volumes.retain(|volume| !left(&volume.attempt));
    }
}

/// What was removed, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    pub containers: Vec<String>,
    pub volumes: Vec<String>,
    pub networks: Vec<String>,
    pub images: Vec<String>,
}

impl Removed {
    /// Whether there was nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.volumes.is_empty() && self.networks.is_empty() && self.images.is_empty()
    }
}

/// How much `longshore clean` removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanScope {
    /// Whatever is idle, of every instance: sandboxes that no container has joined, agents of other versions, networks that nobody is
    /// on, and what is left of jobs that ended longer ago than this. A server that was down for so long finds its jobs' results gone.
    Idle { jobs_older_than: Duration },
    /// Everything of this executor's instance, running jobs included; with `agent`, also the agent of this version, if
    /// nobody else uses it at the moment.
    Instance { agent: bool },
}

impl Executor {
    /// What of `instance` is on the engine, in three lists; with `None`, of every instance.
    ///
    /// # Errors
    /// The engine's.
    pub async fn objects(&self, instance: Option<&Instance>) -> Result<Objects, EngineError> {
        self.engine.list(instance).await
    }

    /// Finds what is left of this instance's jobs but those in `keep`, and sandboxes that nobody has joined and the pool does
    /// not know. A server looks for it before it creates anything, and removes it in the background.
    ///
    /// # Errors
    /// The engine's, for the lists.
    pub async fn orphans(&self, keep: &BTreeSet<AttemptId>) -> Result<Orphans, EngineError> {
        let mut found = self.engine.list(Some(self.engine.instance())).await?;
        let joined = joined_sandboxes(&found);
        let pooled: HashSet<ContainerId> = self.sandboxes.pooled().into_iter().collect();
        let kept = |attempt: &Option<AttemptId>| attempt.is_some_and(|attempt| keep.contains(&attempt));
        found.containers.retain(|container| match container.kind {
            Kind::Job => !kept(&container.attempt),
            Kind::Sandbox => !pooled.contains(&container.id) && !joined.contains(&container.id),
            Kind::Agent => true,
            Kind::Volume | Kind::Network => false,
        });
        found.volumes.retain(|volume| volume.kind == Some(Kind::Volume) && !kept(&volume.attempt));
        Ok(Orphans { containers: found.containers, volumes: found.volumes })
    }

    /// Removes them, one after the other. What cannot be removed is logged and left.
    pub async fn remove_orphans(&self, orphans: Orphans) -> Removed {
        let mut removed = Removed::default();
        let mut volumes: BTreeSet<VolumeName> = orphans.volumes.into_iter().map(|volume| volume.name).collect();
        for container in orphans.containers {
            if self.removals.now(&ObjectId::Container(container.id), FOR_EVER).await {
                removed.containers.push(container.name);
                // Podman gives the volumes of a container no labels.
                volumes.extend(container.attempt.map(|attempt| attempt.volume_name()));
            }
        }
        for volume in volumes {
            let name = volume.to_string();
            if self.removals.now(&ObjectId::Volume(volume), FOR_EVER).await {
                removed.volumes.push(name);
            }
        }
        removed
    }

    /// Finds the orphans and removes them.
    ///
    /// # Errors
    /// The engine's, for the lists.
    pub async fn sweep(&self, keep: &BTreeSet<AttemptId>) -> Result<Removed, EngineError> {
        Ok(self.remove_orphans(self.orphans(keep).await?).await)
    }

    /// Removes what nobody needs, and returns what it was.
    ///
    /// # Errors
    /// The engine's, for the lists.
    pub async fn clean(&self, scope: &CleanScope) -> Result<Removed, EngineError> {
        let instance = match scope {
            CleanScope::Idle { .. } => None,
            CleanScope::Instance { .. } => Some(self.engine.instance()),
        };
        let patience = self.options.patience;
        let found = self.engine.list(instance).await?;
        let joined = joined_sandboxes(&found);
        let mut removed = Removed::default();
        let mut kept_attempts = HashSet::new();
        for container in found.containers {
            let is_needed = match scope {
                CleanScope::Instance { .. } => false,
                CleanScope::Idle { .. } if container.kind == Kind::Sandbox => joined.contains(&container.id),
                CleanScope::Idle { jobs_older_than } => {
                    let age = Timestamp::now().since(container.created);
                    container.running || u128::from(age) <= jobs_older_than.as_millis()
                }
            };
            if !is_needed && self.removals.now(&ObjectId::Container(container.id), patience).await {
                removed.containers.push(container.name);
            } else if let Some(attempt) = container.attempt {
                kept_attempts.insert(attempt);
            }
        }
        for volume in found.volumes.into_iter().filter(|volume| volume.kind == Some(Kind::Volume)) {
            // A volume whose container is gone belongs to nobody: they are created together.
            let is_needed = volume.attempt.is_some_and(|attempt| kept_attempts.contains(&attempt));
            let name = volume.name.to_string();
            if !is_needed && self.removals.now(&ObjectId::Volume(volume.name), patience).await {
                removed.volumes.push(name);
            }
        }
        for network in found.networks {
            let name = network.name.to_string();
            if self.engine.remove(&ObjectId::Network(network.name)).await.is_ok() {
                removed.networks.push(name);
            }
        }
        self.clean_agents(scope, &mut removed).await?;
        Ok(removed)
    }

    /// Agents are shared by all instances. One in use is refused by the engine, and stays.
    async fn clean_agents(&self, scope: &CleanScope, removed: &mut Removed) -> Result<(), EngineError> {
        for agent in self.engine.list_agents().await? {
            let is_wanted = match scope {
                CleanScope::Idle { .. } => !agent.current,
                CleanScope::Instance { agent: own } => *own && agent.current,
            };
            if !is_wanted || self.engine.remove(&agent.id).await.is_err() {
                continue;
            }
            match agent.id {
                ObjectId::Volume(name) => removed.volumes.push(name.to_string()),
                ObjectId::Image(id) => removed.images.push(id.to_string()),
                ObjectId::Network(name) => removed.networks.push(name.to_string()),
                ObjectId::Container(id) => removed.containers.push(id.to_string()),
                ObjectId::NamedContainer(name) => removed.containers.push(name.to_string()),
            }
        }
        Ok(())
    }
}

/// Sandboxes whose namespace some container has joined.
fn joined_sandboxes(found: &Objects) -> HashSet<ContainerId> {
    found.containers.iter().filter_map(|container| container.joined.clone()).collect()
}
