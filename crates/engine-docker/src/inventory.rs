//! Lists our objects on the engine. They are found by labels and names, because an image may carry the same
//! labels.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, Volume};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use longshore_core::Timestamp;
use longshore_executor::names::{ContainerId, ImageId, Instance, NetworkName, NotAName, VolumeName};
use longshore_executor::objects::{AgentObject, ContainerObject, Kind, NetworkObject, ObjectId, Objects, VolumeObject};
use longshore_executor::{AttemptId, EngineError};

use crate::agent_image::{self, REPOSITORY};
use crate::container::JOINED;
use crate::error::ApiResult as _;
use crate::labels;

/// Returns the volumes and images with our program. Objects with the hash `own` are current. They are found by their
/// names, because any image may carry our labels, and Podman drops the labels of both.
pub(crate) async fn list_agents(docker: &Docker, own: &str) -> Result<Vec<AgentObject>, EngineError> {
    let filters = HashMap::from([("name".to_owned(), vec![format!("{REPOSITORY}-")])]);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let volumes = docker.list_volumes(Some(options)).await.api("list volumes")?.volumes.unwrap_or_default();
    let volumes = volumes.into_iter().filter_map(|volume| {
        let current = agent_image::hash_of_volume(&volume.name)? == own;
        Some(AgentObject { current, id: ObjectId::Volume(checked(VolumeName::new(volume.name))?) })
    });
    let filters = HashMap::from([("reference".to_owned(), vec![REPOSITORY.to_owned()])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    let images = docker.list_images(Some(options)).await.api("list images")?;
    let images = images.into_iter().flat_map(|image| image.repo_tags).filter_map(|name| {
        let current = agent_image::hash_of_image(&name)? == own;
        Some(AgentObject { current, id: ObjectId::Image(checked(ImageId::new(name))?) })
    });
    Ok(volumes.chain(images).collect())
}

/// Returns the objects of an instance, or of all instances.
pub(crate) async fn list(docker: &Docker, instance: Option<&Instance>) -> Result<Objects, EngineError> {
    let filters = labels::filter(&[(labels::INSTANCE, instance.map_or("", Instance::as_str))]);
    let containers = docker
        .list_containers(Some(ListContainersOptionsBuilder::new().all(true).filters(&filters).build()))
        .await
        .api("list containers")?;
    let volumes = docker
        .list_volumes(Some(ListVolumesOptionsBuilder::new().filters(&filters).build()))
        .await
        .api("list volumes")?;
    let networks = docker
        .list_networks(Some(ListNetworksOptionsBuilder::new().filters(&filters).build()))
        .await
        .api("list networks")?;
    Ok(Objects {
        containers: self::containers(containers),
        volumes: volumes.volumes.unwrap_or_default().into_iter().filter_map(volume).collect(),
        networks: networks
            .into_iter()
            .filter_map(|network| self::network(network.name?, &network.labels.unwrap_or_default()))
            .collect(),
    })
}

/// Returns the volumes that were created for an attempt.
pub(crate) async fn volumes(
    docker: &Docker,
    instance: &Instance,
    attempt: AttemptId,
) -> Result<Vec<VolumeObject>, EngineError> {
    let filters = labels::filter_attempt(instance, attempt);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let listed = docker.list_volumes(Some(options)).await.api("list volumes")?.volumes.unwrap_or_default();
    Ok(listed.into_iter().filter_map(volume).collect())
}

/// Returns the containers beside a job's that were created for an attempt.
pub(crate) async fn members(
    docker: &Docker,
    instance: &Instance,
    attempt: AttemptId,
) -> Result<Vec<ContainerId>, EngineError> {
    let filters = labels::filter_attempt(instance, attempt);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = docker.list_containers(Some(options)).await.api("list containers")?;
    let members = containers(listed).into_iter().filter(|container| match container.kind {
        Kind::Service | Kind::Step => true,
        Kind::Job
        | Kind::Guard
        | Kind::Builder
        | Kind::Inner
        | Kind::Sandbox
        | Kind::Volume
        | Kind::Cache
        | Kind::Workspace
        | Kind::Network
        | Kind::Agent => false,
    });
    Ok(members.map(|container| container.id).collect())
}

/// Returns the containers of a list that are ours.
pub(crate) fn containers(listed: Vec<ContainerSummary>) -> Vec<ContainerObject> {
    listed.into_iter().filter_map(container).collect()
}

fn container(summary: ContainerSummary) -> Option<ContainerObject> {
    let labels = summary.labels.unwrap_or_default();
    let name = summary.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
    let name = name.trim_start_matches('/');
    let kind = labels::kind_of_container(name, &labels)?;
    let network_mode = summary.host_config.and_then(|host| host.network_mode).unwrap_or_default();
    Some(ContainerObject {
        id: checked(ContainerId::new(summary.id?))?,
        name: name.to_owned(),
        instance: text(&labels, labels::INSTANCE),
        kind,
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
        joined: network_mode.strip_prefix(JOINED).and_then(|id| ContainerId::new(id).ok()),
    })
}

fn volume(volume: Volume) -> Option<VolumeObject> {
    let labels = &volume.labels;
    Some(VolumeObject {
        name: checked(VolumeName::new(volume.name))?,
        instance: text(labels, labels::INSTANCE),
        kind: labels.get(labels::KIND).and_then(|word| labels::kind(word)),
        attempt: labels::attempt(labels),
        created: volume.created_at.and_then(|text| serde_json::from_value(text.into()).ok()),
    })
}

fn network(name: String, labels: &HashMap<String, String>) -> Option<NetworkObject> {
    Some(NetworkObject {
        name: checked(NetworkName::new(name))?,
        instance: text(labels, labels::INSTANCE),
        attempt: labels::attempt(labels),
    })
}

/// Returns the name if it is valid. An object with an invalid name is not ours, even if its labels say so, and is left
/// alone.
fn checked<T>(name: Result<T, NotAName>) -> Option<T> {
    name.inspect_err(
        |error| tracing::warn!(%error, "an object of the engine has a name that is not Longshore's; it is left alone"),
    )
    .ok()
}

fn text(labels: &HashMap<String, String>, key: &str) -> String {
    labels.get(key).cloned().unwrap_or_default()
}
