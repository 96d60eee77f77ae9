//! Removes what nobody needs any more: the sweep at a server's start, and `longshore clean`.
//!
//! Objects are found by their labels and names, and removed by their ids, because an image may carry the same labels. A
//! list is only a hint: the engine refuses to remove what is in use by then, and it stays.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use longshore_core::{JobId, Timestamp};

use crate::attempt::AttemptId;
use crate::engine::Standing;
use crate::error::EngineError;
use crate::executor::Executor;
use crate::names::{ContainerId, Instance, NetworkName, VolumeName};
use crate::objects::{ContainerObject, Kind, NetworkObject, ObjectId, Objects, VolumeObject};
use crate::removing::removal::FOR_EVER;

/// Objects that belong to nobody any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    containers: Vec<ContainerObject>,
    volumes: Vec<VolumeObject>,
    /// Jobs with Docker, of which there may be more than their networks.
    guarded: BTreeMap<AttemptId, NetworkName>,
    /// Volumes that outlive their attempts, and are not removed with what is left of these.
    lasting: BTreeSet<VolumeName>,
}

impl Orphans {
    /// Returns the jobs whose containers run.
    pub fn running(&self) -> impl Iterator<Item = JobId> + '_ {
        let running = self.containers.iter().filter(|container| container.running);
        running.filter_map(|container| container.attempt.map(|attempt| attempt.job))
    }

    /// Excludes the objects of these jobs.
    pub fn leave(&mut self, jobs: &BTreeSet<JobId>) {
        let left = |attempt: &Option<AttemptId>| attempt.is_some_and(|attempt| jobs.contains(&attempt.job));
        self.containers.retain(|container| !left(&container.attempt));
        self.volumes.retain(|volume| !left(&volume.attempt));
        self.guarded.retain(|attempt, _| !jobs.contains(&attempt.job));
    }
}

/// The names of the removed objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    pub containers: Vec<String>,
    pub volumes: Vec<String>,
    pub networks: Vec<String>,
    pub images: Vec<String>,
}

impl Removed {
    /// Returns whether nothing was removed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.volumes.is_empty() && self.networks.is_empty() && self.images.is_empty()
    }
}

/// How much `longshore clean` removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanScope {
    /// Everything that is idle, of every instance: sandboxes that no container has joined, agents of other versions,
    /// unused networks, and what is left of jobs that ended longer ago than this. A server that was down for longer
    /// than that does not find its jobs' results.
    Idle { jobs_older_than: Duration },
    /// Everything of this executor's instance, including running jobs; with `agent`, also the agent of this version, if
    /// nobody else is using it.
    Instance { agent: bool },
}

impl Executor {
    /// Lists the objects of `instance` on the engine; with `None`, of every instance.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn objects(&self, instance: Option<&Instance>) -> Result<Objects, EngineError> {
        self.engine.list(instance).await
    }

    /// Lists this instance's workspaces that were kept for other jobs of their builds.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn kept_workspaces(&self) -> Result<Vec<VolumeObject>, EngineError> {
        let mut volumes = self.engine.list(Some(self.engine.instance())).await?.volumes;
        volumes.retain(|volume| volume.kind == Some(Kind::Workspace));
        Ok(volumes)
    }

    /// Returns whether the workspace that an attempt left is on the engine.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn has_workspace(&self, attempt: AttemptId) -> Result<bool, EngineError> {
        let there = self.engine.list_volumes(attempt).await?;
        Ok(there.iter().any(|volume| volume.kind == Some(Kind::Workspace)))
    }

    /// Finds what is left of this instance's jobs except those in `keep`, and sandboxes that no container has joined
    /// and the pool does not know. A server calls it before it creates anything, and removes the orphans in the
    /// background.
    ///
    /// # Errors
    /// Those of the engine, for the lists.
    pub async fn orphans(&self, keep: &BTreeSet<AttemptId>) -> Result<Orphans, EngineError> {
        let mut found = self.engine.list(Some(self.engine.instance())).await?;
        let joined = joined_sandboxes(&found);
        let pooled: HashSet<ContainerId> = self.sandboxes.pooled().into_iter().collect();
        let kept = |attempt: &Option<AttemptId>| attempt.is_some_and(|attempt| keep.contains(&attempt));
        found.containers.retain(|container| match container.kind {
            Kind::Job | Kind::Service | Kind::Step | Kind::Guard | Kind::Builder | Kind::Inner => {
                !kept(&container.attempt)
            }
            Kind::Sandbox if container.attempt.is_some() => !kept(&container.attempt),
            Kind::Sandbox => !pooled.contains(&container.id) && !joined.contains(&container.id),
            Kind::Agent => true,
            Kind::Volume | Kind::Cache | Kind::Workspace | Kind::Network => false,
        });
        let is_lasting = |volume: &&VolumeObject| volume.kind == Some(Kind::Workspace);
        let lasting = found.volumes.iter().filter(is_lasting).map(|volume| volume.name.clone()).collect();
        found.volumes.retain(|volume| volume.kind == Some(Kind::Volume) && !kept(&volume.attempt));
        // The network of a job with Docker is removed last.
        let mut guarded = guarded(found.networks);
        guarded.retain(|attempt, _| !keep.contains(attempt));
        Ok(Orphans { containers: found.containers, volumes: found.volumes, guarded, lasting })
    }

    /// Removes orphans, one after the other. An object that cannot be removed is logged and left.
    pub async fn remove_orphans(&self, orphans: Orphans) -> Removed {
        let mut removed = Removed::default();
        let mut volumes: BTreeSet<VolumeName> = orphans.volumes.into_iter().map(|volume| volume.name).collect();
        for container in orphans.containers {
            if self.removals.now(&ObjectId::Container(container.id), FOR_EVER).await {
                removed.containers.push(container.name);
                // Podman does not label the volumes of a container.
                let of_attempt = container.attempt.map(|attempt| attempt.volume_name());
                volumes.extend(of_attempt.filter(|name| !orphans.lasting.contains(name)));
            }
        }
        for (attempt, network) in orphans.guarded {
            self.removals.docker_objects(attempt, FOR_EVER).await;
            removed.networks.push(network.to_string());
        }
        for volume in volumes {
            let name = volume.to_string();
            if self.removals.now(&ObjectId::Volume(volume), FOR_EVER).await {
                removed.volumes.push(name);
            }
        }
        removed
    }

    /// Removes these jobs of this instance, running or not, with the sandboxes that they are in.
    ///
    /// # Errors
    /// Those of the engine, for the lists.
    pub async fn remove_jobs(&self, jobs: &BTreeSet<JobId>) -> Result<Removed, EngineError> {
        let mut found = self.engine.list(Some(self.engine.instance())).await?;
        let theirs = |attempt: &Option<AttemptId>| attempt.is_some_and(|attempt| jobs.contains(&attempt.job));
        let of_jobs = found.containers.iter().filter(|container| theirs(&container.attempt));
        let sandboxes: HashSet<ContainerId> = of_jobs.filter_map(|container| container.joined.clone()).collect();
        found.containers.retain(|container| theirs(&container.attempt) || sandboxes.contains(&container.id));
        found
            .volumes
            .retain(|volume| matches!(volume.kind, Some(Kind::Volume | Kind::Workspace)) && theirs(&volume.attempt));
        let mut guarded = guarded(found.networks);
        guarded.retain(|attempt, _| jobs.contains(&attempt.job));
        let orphans =
            Orphans { containers: found.containers, volumes: found.volumes, guarded, lasting: BTreeSet::new() };
        Ok(self.remove_orphans(orphans).await)
    }

    /// Removes one of [`kept_workspaces`](Self::kept_workspaces) in the background.
    pub fn remove_workspace_later(&self, volume: VolumeName) {
        self.removals.volume_later(volume);
    }

    /// Finds the orphans and removes them.
    ///
    /// # Errors
    /// Those of the engine, for the lists.
    pub async fn sweep(&self, keep: &BTreeSet<AttemptId>) -> Result<Removed, EngineError> {
        Ok(self.remove_orphans(self.orphans(keep).await?).await)
    }

    /// Removes what nobody needs, and returns what was removed.
    ///
    /// # Errors
    /// Those of the engine, for the lists.
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
                    container.running
                        || is_within(*jobs_older_than, container.created)
                        || self.ended_within(*jobs_older_than, &container.id).await?
                }
            };
            if !is_needed && self.removals.now(&ObjectId::Container(container.id), patience).await {
                removed.containers.push(container.name);
            } else if let Some(attempt) = container.attempt {
                kept_attempts.insert(attempt);
            }
        }
        // Entries of caches, and workspaces that jobs will begin on, are idle by nature: only their own instance knows
        // which it needs.
        let with_lasting = matches!(scope, CleanScope::Instance { .. });
        let is_removable =
            |kind| kind == Some(Kind::Volume) || (with_lasting && matches!(kind, Some(Kind::Cache | Kind::Workspace)));
        for volume in found.volumes.into_iter().filter(|volume| is_removable(volume.kind)) {
            // A volume without a container belongs to nobody, unless its container is about to be created.
            let is_young = match scope {
                CleanScope::Instance { .. } => false,
                CleanScope::Idle { jobs_older_than } => {
                    volume.created.is_some_and(|created| is_within(*jobs_older_than, created))
                }
            };
            let is_needed = is_young || volume.attempt.is_some_and(|attempt| kept_attempts.contains(&attempt));
            let name = volume.name.to_string();
            if !is_needed && self.removals.now(&ObjectId::Volume(volume.name), patience).await {
                removed.volumes.push(name);
            }
        }
        let of_jobs: BTreeSet<AttemptId> = found.networks.iter().filter_map(|network| network.attempt).collect();
        for attempt in of_jobs.into_iter().filter(|attempt| !kept_attempts.contains(attempt)) {
            self.removals.docker_objects(attempt, patience).await;
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

    /// Returns whether a container runs, or ended within this time: its server may not have read its end yet.
    async fn ended_within(&self, time: Duration, id: &ContainerId) -> Result<bool, EngineError> {
        Ok(match self.engine.standing(id).await? {
            Standing::Running => true,
            Standing::Ended(end) => end.at.is_some_and(|at| is_within(time, at)),
            Standing::Vanished => false,
        })
    }

    /// Removes agents, which all instances share. The engine refuses to remove one in use, and it stays.
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

/// Returns whether that was no longer ago than `time`.
pub(crate) fn is_within(time: Duration, then: Timestamp) -> bool {
    u128::from(Timestamp::now().since(then)) <= time.as_millis()
}

/// Returns the sandboxes whose namespace a container has joined.
fn joined_sandboxes(found: &Objects) -> HashSet<ContainerId> {
    found.containers.iter().filter_map(|container| container.joined.clone()).collect()
}

/// Returns the jobs with Docker that networks were created for.
fn guarded(networks: Vec<NetworkObject>) -> BTreeMap<AttemptId, NetworkName> {
    networks.into_iter().filter_map(|network| Some((network.attempt?, network.name))).collect()
}
