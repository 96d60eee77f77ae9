//! What of ours is on the engine, and taking away what nobody needs: the sweep at a server's start, and `longshore clean`.
//!
//! Found by labels and names, removed by id: labels alone may be an image's. Lists only hint: what is in use by then is refused by the engine and stays.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use longshore_core::{BuildId, JobId, Timestamp};

use crate::agent_image::{self, REPOSITORY};
use crate::engine::{Engine, Shared};
use crate::error::{ApiResult as _, EngineError};
use crate::labels::{self, AttemptId};
use crate::removal::{FOR_EVER, remove_container, remove_volume};

/// A container of ours, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerObject {
    pub id: String,
    pub name: String,
    pub instance: String,
    /// The label's word: `job`, `sandbox`, `agent`.
    pub kind: String,
    pub build: Option<BuildId>,
    pub attempt: Option<AttemptId>,
    pub running: bool,
    /// When it was created.
    pub created: Timestamp,
    network_mode: String,
}

/// A volume or a network of ours, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedObject {
    pub name: String,
    pub instance: String,
    pub kind: String,
    pub attempt: Option<AttemptId>,
}

/// Everything of an instance, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    pub containers: Vec<ContainerObject>,
    pub volumes: Vec<NamedObject>,
    pub networks: Vec<NamedObject>,
}

/// What belongs to nobody any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    containers: Vec<ContainerObject>,
    volumes: Vec<NamedObject>,
}

impl Leftovers {
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

/// How much `longshore clean` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanScope {
    /// Whatever is idle, of every instance: sandboxes that no container has joined, agents of other versions, networks that nobody is
    /// on, and what is left of jobs that ended longer ago than this. A server that was down for so long finds its jobs' results gone.
    Idle { leftovers_older_than: Duration },
    /// Everything of this engine's instance, running jobs included; with `agent`, also the agent of this version, if
    /// nobody else uses it at the moment.
    Instance { agent: bool },
}

impl Engine {
    /// What of `instance` is on the engine, in three lists; with `None`, of every instance.
    ///
    /// # Errors
    /// The engine's.
    pub async fn objects(&self, instance: Option<&str>) -> Result<Objects, EngineError> {
        objects(&self.shared, instance).await
    }

    /// Removes what is left of this instance's jobs but those in `keep`, and sandboxes that nobody has joined and the pool does
    /// not know.
    ///
    /// # Errors
    /// The engine's, for the lists. What cannot be removed is logged and left.
    pub async fn sweep(&self, keep: &BTreeSet<AttemptId>) -> Result<Removed, EngineError> {
        Ok(self.take_away(self.leftovers(keep).await?).await)
    }

    /// What [`Engine::sweep`] would remove. For a server's start: looked for before anything new is made, taken away in the
    /// background.
    ///
    /// # Errors
    /// The engine's, for the lists.
    pub async fn leftovers(&self, keep: &BTreeSet<AttemptId>) -> Result<Leftovers, EngineError> {
        let shared = &self.shared;
        let mut found = objects(shared, Some(&shared.options.instance)).await?;
        let joined = joined_sandboxes(&found);
        let pooled: HashSet<String> = shared.sandboxes.pooled().into_iter().collect();
        let kept = |attempt: &Option<AttemptId>| attempt.is_some_and(|attempt| keep.contains(&attempt));
        found.containers.retain(|container| match container.kind.as_str() {
            "job" => !kept(&container.attempt),
            "sandbox" => !pooled.contains(&container.id) && !joined.contains(&container.id),
            "agent" => true,
            _ => false,
        });
        found.volumes.retain(|volume| volume.kind == "volume" && !kept(&volume.attempt));
        Ok(Leftovers { containers: found.containers, volumes: found.volumes })
    }

    /// Removes them, one after the other.
    pub async fn take_away(&self, leftovers: Leftovers) -> Removed {
        let shared = &self.shared;
        let mut removed = Removed::default();
        let mut volumes: BTreeSet<String> = leftovers.volumes.into_iter().map(|volume| volume.name).collect();
        for container in leftovers.containers {
            if remove_container(shared, &container.id, FOR_EVER).await {
                removed.containers.push(container.name);
                // Podman gives the volumes of a container no labels.
                volumes.extend(container.attempt.map(|attempt| attempt.volume_name()));
            }
        }
        for volume in volumes {
            if remove_volume(shared, &volume, FOR_EVER).await {
                removed.volumes.push(volume);
            }
        }
        removed
    }

    /// Removes what nobody needs, and says what it was.
    ///
    /// # Errors
    /// The engine's, for the lists.
    pub async fn clean(&self, scope: &CleanScope) -> Result<Removed, EngineError> {
        let shared = &self.shared;
        let instance = match scope {
            CleanScope::Idle { .. } => None,
            CleanScope::Instance { .. } => Some(shared.options.instance.as_str()),
        };
        let found = objects(shared, instance).await?;
        let joined = joined_sandboxes(&found);
        let old = |container: &ContainerObject| match scope {
            CleanScope::Instance { .. } => true,
            CleanScope::Idle { leftovers_older_than } => {
                let age = Timestamp::now().since(container.created);
                !container.running && u128::from(age) > leftovers_older_than.as_millis()
            }
        };
        let mut removed = Removed::default();
        let mut left_attempts = HashSet::new();
        for container in &found.containers {
            let superfluous = match container.kind.as_str() {
                "sandbox" => matches!(scope, CleanScope::Instance { .. }) || !joined.contains(&container.id),
                _ => old(container),
            };
            if superfluous && remove_container(shared, &container.id, shared.options.patience).await {
                removed.containers.push(container.name.clone());
            } else if let Some(attempt) = container.attempt {
                left_attempts.insert(attempt);
            }
        }
        for volume in found.volumes.iter().filter(|volume| volume.kind == "volume") {
            // A volume whose container is gone belongs to nobody: they are made together.
            if volume.attempt.is_none_or(|attempt| !left_attempts.contains(&attempt))
                && remove_volume(shared, &volume.name, shared.options.patience).await
            {
                removed.volumes.push(volume.name.clone());
            }
        }
        for network in &found.networks {
            if shared.docker.remove_network(&network.name).await.is_ok() {
                removed.networks.push(network.name.clone());
            }
        }
        shared.network.again().await;
        self.clean_agents(scope, &mut removed).await?;
        Ok(removed)
    }

    /// Agents are shared by all instances. One in use is refused by the engine, and stays.
    async fn clean_agents(&self, scope: &CleanScope, removed: &mut Removed) -> Result<(), EngineError> {
        let shared = &self.shared;
        let own = shared.agent.hash().await?;
        let wanted = |hash: Option<&str>| match scope {
            CleanScope::Idle { .. } => hash.is_some_and(|hash| hash != own),
            CleanScope::Instance { agent } => *agent && hash.is_some_and(|hash| hash == own),
        };
        // By their names: any image may carry our labels, and Podman drops those of both.
        let filters = HashMap::from([("name".to_owned(), vec![format!("{REPOSITORY}-")])]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let volumes = shared.docker.list_volumes(Some(options)).await.api("list volumes")?.volumes.unwrap_or_default();
        for volume in volumes.into_iter().filter(|volume| wanted(agent_image::hash_of_volume(&volume.name))) {
            let options = RemoveVolumeOptionsBuilder::new().build();
            if shared.docker.remove_volume(&volume.name, Some(options)).await.is_ok() {
                removed.volumes.push(volume.name);
            }
        }
        let filters = HashMap::from([("reference".to_owned(), vec![REPOSITORY.to_owned()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let images = shared.docker.list_images(Some(options)).await.api("list images")?;
        for name in images.into_iter().flat_map(|image| image.repo_tags) {
            if !wanted(agent_image::hash_of_image(&name)) {
                continue;
            }
            let options = RemoveImageOptionsBuilder::new().build();
            if shared.docker.remove_image(&name, Some(options), None).await.is_ok() {
                removed.images.push(name);
            }
        }
        if *scope == (CleanScope::Instance { agent: true }) {
            shared.agent.again(shared).await;
        }
        Ok(())
    }
}

/// Sandboxes whose namespace some container has joined.
fn joined_sandboxes(found: &Objects) -> HashSet<String> {
    found
        .containers
        .iter()
        .filter_map(|container| container.network_mode.strip_prefix("container:"))
        .map(str::to_owned)
        .collect()
}

async fn objects(shared: &Shared, instance: Option<&str>) -> Result<Objects, EngineError> {
    let filters = labels::filter(&[(labels::INSTANCE, instance.unwrap_or_default())]);
    let containers = shared
        .docker
        .list_containers(Some(ListContainersOptionsBuilder::new().all(true).filters(&filters).build()))
        .await
        .api("list containers")?;
    let volumes = shared
        .docker
        .list_volumes(Some(ListVolumesOptionsBuilder::new().filters(&filters).build()))
        .await
        .api("list volumes")?;
    let networks = shared
        .docker
        .list_networks(Some(ListNetworksOptionsBuilder::new().filters(&filters).build()))
        .await
        .api("list networks")?;
    Ok(Objects {
        containers: self::containers(containers),
        volumes: volumes
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| named(volume.name, &volume.labels))
            .collect(),
        networks: networks
            .into_iter()
            .filter_map(|network| Some(named(network.name?, &network.labels.unwrap_or_default())))
            .collect(),
    })
}

/// Those of a list that are ours.
pub(crate) fn containers(listed: Vec<ContainerSummary>) -> Vec<ContainerObject> {
    listed.into_iter().filter_map(container).collect()
}

fn container(summary: ContainerSummary) -> Option<ContainerObject> {
    let labels = summary.labels.unwrap_or_default();
    let name = summary.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
    let name = name.trim_start_matches('/');
    let kind = labels::kind_of_container(name, &labels)?;
    Some(ContainerObject {
        id: summary.id?,
        name: name.to_owned(),
        instance: labels.get(labels::INSTANCE).cloned().unwrap_or_default(),
        kind: kind.as_str().to_owned(),
        build: labels.get(labels::BUILD).and_then(|id| id.parse().ok()),
        attempt: labels::attempt(&labels),
        running: matches!(
            summary.state,
            Some(
                ContainerSummaryStateEnum::RUNNING
                    | ContainerSummaryStateEnum::PAUSED
                    | ContainerSummaryStateEnum::RESTARTING
            )
        ),
        created: Timestamp::from_millis(summary.created.unwrap_or_default().saturating_mul(1000)),
        network_mode: summary.host_config.and_then(|host| host.network_mode).unwrap_or_default(),
    })
}

fn named(name: String, labels: &HashMap<String, String>) -> NamedObject {
    NamedObject {
        name,
        instance: labels.get(labels::INSTANCE).cloned().unwrap_or_default(),
        kind: labels.get(labels::KIND).cloned().unwrap_or_default(),
        attempt: labels::attempt(labels),
    }
}
