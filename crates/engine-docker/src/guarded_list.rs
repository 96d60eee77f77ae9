//! Everything that a job with Docker has besides its pod's containers and its workspace, part by part.

use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::models::ImageSummary;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use longshore_executor::names::{ImageId, Instance, NetworkName, VolumeName};
use longshore_executor::objects::{DockerPart, Kind, MadeImage, ObjectId};
use longshore_executor::{AttemptId, EngineError};
use longshore_guard::{SCOPE_LABEL, is_push_mark, push_mark};

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
    let mut made = list_made(docker, format!("{PREFIX}/{scope}"), format!("{SCOPE_LABEL}={scope}")).await?;
    made.retain(|image| image.scope == scope);
    Ok(made.into_iter().map(|image| ObjectId::Image(image.id)).collect())
}

/// Returns the images that all jobs have made.
pub(crate) async fn made_images(docker: &Docker) -> Result<Vec<MadeImage>, EngineError> {
    list_made(docker, format!("{PREFIX}/*"), SCOPE_LABEL.to_owned()).await
}

async fn list_made(docker: &Docker, reference: String, label: String) -> Result<Vec<MadeImage>, EngineError> {
    let mut found = BTreeMap::new();
    for (key, value) in [("reference", reference), ("label", label)] {
        let filters = HashMap::from([(key.to_owned(), vec![value])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        for image in docker.list_images(Some(options)).await.api("list images")? {
            for (name, scope) in made(image) {
                let pushed = if is_push_mark(&name) { pushed(docker, &name).await? } else { Vec::new() };
                // The mark goes once the name has gone.
                if pushed.is_empty() {
                    found.insert(name, scope);
                } else {
                    found.extend(pushed.into_iter().map(|name| (name, scope.clone())));
                }
            }
        }
    }
    Ok(found.into_iter().filter_map(|(id, scope)| Some(MadeImage { id: ImageId::new(id).ok()?, scope })).collect())
}

/// Returns the names that a marked image has for a push whose guard was killed.
async fn pushed(docker: &Docker, mark: &str) -> Result<Vec<String>, EngineError> {
    match docker.inspect_image(mark).await.api("inspect an image") {
        Ok(image) => {
            let names = image.repo_tags.unwrap_or_default().into_iter();
            Ok(names.filter(|name| push_mark(name, [mark]).is_some()).collect())
        }
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Returns the names that guards have given to an image, or its id if it has no name at all, each with the job's scope.
/// What a registry has is nobody's own, whatever its labels say.
fn made(image: ImageSummary) -> Vec<(String, String)> {
    let is_name = |name: &&String| !name.starts_with("<none>");
    let names: Vec<String> = image.repo_tags.iter().filter(is_name).cloned().collect();
    if names.is_empty() && image.repo_digests.iter().filter(is_name).count() == 0 {
        let scope = image.labels.get(SCOPE_LABEL).cloned();
        return scope.map(|scope| (image.id, scope)).into_iter().collect();
    }
    let scope = |name: &str| name.strip_prefix(PREFIX)?.strip_prefix('/')?.split(':').next().map(str::to_owned);
    names.into_iter().filter_map(|name| scope(&name).map(|scope| (name, scope))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_a_registry_is_nobodys_own_whatever_its_labels_say() {
        let image = |names: &[&str], digests: &[&str]| ImageSummary {
            id: "sha256:1".to_owned(),
            repo_tags: names.iter().map(|name| (*name).to_owned()).collect(),
            repo_digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
            labels: HashMap::from([(SCOPE_LABEL.to_owned(), "job1".to_owned())]),
            ..ImageSummary::default()
        };
        let of = |names: &[&str], digests: &[&str]| made(image(names, digests));
        let layer = vec![("sha256:1".to_owned(), "job1".to_owned())];
        assert_eq!(of(&["<none>:<none>"], &["<none>@<none>"]), layer);
        assert_eq!(of(&[], &[]), layer);
        assert_eq!(of(&["<none>:<none>"], &["ghcr.io/us/app@sha256:2"]), Vec::new());
        assert_eq!(of(&["ghcr.io/us/app:1"], &["<none>@<none>"]), Vec::new());
        let named = of(&["ghcr.io/us/app:1", "longshore-guard/job2:3"], &[]);
        assert_eq!(named, [("longshore-guard/job2:3".to_owned(), "job2".to_owned())]);
    }
}
