//! Everything that a job with Docker has besides its pod's containers and its workspace, part by part.

use std::collections::HashMap;

use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use longshore_executor::names::{ImageId, Instance, NetworkName, VolumeName};
use longshore_executor::objects::{DockerPart, Kind, ObjectId};
use longshore_executor::{AttemptId, EngineError};
use longshore_guard::SCOPE_LABEL;

use crate::error::ApiResult as _;
use crate::guard_names::{PREFIX, is_inner_name, scope};
use crate::{containers, inventory, labels};

/// Lists a part in the order in which it can be removed.
pub(crate) async fn list(
    docker: &Docker,
    instance: &Instance,
    attempt: AttemptId,
    part: DockerPart,
) -> Result<Vec<ObjectId>, EngineError> {
    match part {
        DockerPart::Guard => guard(docker, instance, attempt).await,
        DockerPart::Containers => containers(docker, instance, attempt).await,
        DockerPart::Images => images(docker, &scope(instance, attempt)).await,
        DockerPart::Volumes => volumes(docker, instance, attempt).await,
        DockerPart::Networks => networks(docker, instance, attempt).await,
    }
}

async fn guard(docker: &Docker, instance: &Instance, attempt: AttemptId) -> Result<Vec<ObjectId>, EngineError> {
    let mut found = Vec::new();
    for name in [attempt.guard_name(), attempt.builder_name()] {
        found.extend(containers::find_named(docker, instance, attempt, &name).await?.map(ObjectId::Container));
    }
    Ok(found)
}

async fn containers(docker: &Docker, instance: &Instance, attempt: AttemptId) -> Result<Vec<ObjectId>, EngineError> {
    let of_attempt = labels::filter_attempt(instance, attempt);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&of_attempt).build();
    let listed = docker.list_containers(Some(options)).await.api("list containers")?;
    let mut containers = inventory::containers(listed);
    containers.retain(|container| match container.kind {
        Kind::Guard | Kind::Builder | Kind::Inner | Kind::Sandbox => true,
        Kind::Job
        | Kind::Service
        | Kind::Step
        | Kind::Volume
        | Kind::Cache
        | Kind::Workspace
        | Kind::Network
        | Kind::Agent => false,
    });
    // Without its guard a job makes nothing any more.
    containers.sort_by_key(|container| container.kind != Kind::Guard);
    Ok(containers.into_iter().map(|container| ObjectId::Container(container.id)).collect())
}

async fn volumes(docker: &Docker, instance: &Instance, attempt: AttemptId) -> Result<Vec<ObjectId>, EngineError> {
    let of_attempt = labels::filter_attempt(instance, attempt);
    let options = ListVolumesOptionsBuilder::new().filters(&of_attempt).build();
    let listed = docker.list_volumes(Some(options)).await.api("list volumes")?.volumes.unwrap_or_default();
    let volumes = listed.into_iter().filter_map(|volume| {
        let name = VolumeName::new(volume.name).ok()?;
        let is_of_guard = [attempt.socket_volume_name(), attempt.builder_volume_name()].contains(&name)
            || is_inner_name(name.as_str(), instance.as_str(), attempt);
        is_of_guard.then_some(ObjectId::Volume(name))
    });
    Ok(volumes.collect())
}

async fn networks(docker: &Docker, instance: &Instance, attempt: AttemptId) -> Result<Vec<ObjectId>, EngineError> {
    let of_attempt = labels::filter_attempt(instance, attempt);
    let options = ListNetworksOptionsBuilder::new().filters(&of_attempt).build();
    let listed = docker.list_networks(Some(options)).await.api("list networks")?;
    let mut networks: Vec<(bool, ObjectId)> = listed
        .into_iter()
        .filter_map(|network| {
            let name = network.name?;
            let is_own = attempt.is_network_name(&name);
            let is_ours = is_own || is_inner_name(&name, instance.as_str(), attempt);
            // The id, since two may have one name.
            let id = NetworkName::new(network.id?).ok().filter(|_| is_ours)?;
            Some((is_own, ObjectId::Network(id)))
        })
        .collect();
    networks.sort_by_key(|(is_own, _)| *is_own);
    Ok(networks.into_iter().map(|(_, network)| network).collect())
}

/// Returns the images that a job has made: those that its guard has named, and layers of builds, which have no name.
async fn images(docker: &Docker, scope: &str) -> Result<Vec<ObjectId>, EngineError> {
    let repository = format!("{PREFIX}/{scope}");
    let start = format!("{repository}:");
    let mut found = Vec::new();
    for filter in [("reference", repository), ("label", format!("{SCOPE_LABEL}={scope}"))] {
        let filters = HashMap::from([(filter.0.to_owned(), vec![filter.1])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let listed = docker.list_images(Some(options)).await.api("list images")?;
        for image in listed {
            let is_named = image.repo_tags.iter().any(|tag| tag != "<none>:<none>");
            found.extend(image.repo_tags.into_iter().filter(|name| name.starts_with(&start)));
            if !is_named {
                found.push(image.id);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found.into_iter().filter_map(|name| ImageId::new(name).ok().map(ObjectId::Image)).collect())
}
