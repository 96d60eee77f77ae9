//! Creates volumes beside the workspace: plain ones, and overlays over others.
//!
//! The options of an overlay are made here, from the places of our own volumes as the engine tells them, and from
//! nothing else: no text of a pipeline becomes part of them.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{Volume, VolumeCreateRequest};
use longshore_executor::EngineError;
use longshore_executor::engine::{VolumeContent, VolumeSpec};
use longshore_executor::names::{Instance, VolumeName};

use crate::error::{ApiResult as _, not_understood};
use crate::labels;

/// The driver whose volumes are folders of the engine's host.
const LOCAL: &str = "local";

/// The option that limits what a volume takes of the disk.
const SIZE: &str = "size";

/// Creates a volume, unless it exists. `disk` is the most bytes in it.
pub(crate) async fn create(
    docker: &Docker,
    instance: &Instance,
    spec: &VolumeSpec<'_>,
    disk: Option<u64>,
) -> Result<(), EngineError> {
    let options = match spec.content {
        VolumeContent::Lasting | VolumeContent::Workspace | VolumeContent::Passing => {
            disk.map(|bytes| (SIZE.to_owned(), bytes.to_string())).into_iter().collect()
        }
        VolumeContent::Overlay { upper, work, lower } => {
            let (upper, work, lower) = tokio::try_join!(
                host_folder(docker, instance, upper),
                host_folder(docker, instance, work),
                host_folders(docker, instance, lower)
            )?;
            overlay(&format!("lowerdir={lower},upperdir={upper},workdir={work}"))
        }
        VolumeContent::Merged { lower } => {
            overlay(&format!("lowerdir={}", host_folders(docker, instance, lower).await?))
        }
    };
    let kind = spec.content.kind();
    let request = VolumeCreateRequest {
        name: Some(spec.name.to_string()),
        driver: Some(LOCAL.to_owned()),
        driver_opts: Some(options),
        labels: Some(match spec.owner {
            Some((build, attempt)) => labels::of_attempt(instance, kind, build, attempt),
            None => labels::of(instance, kind),
        }),
        ..VolumeCreateRequest::default()
    };
    docker.create_volume(request).await.api("create a volume").map(drop)
}

fn overlay(options: &str) -> HashMap<String, String> {
    [("type", "overlay"), ("device", "overlay"), ("o", options)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

async fn host_folders(docker: &Docker, instance: &Instance, volumes: &[VolumeName]) -> Result<String, EngineError> {
    let places = volumes.iter().map(|volume| host_folder(docker, instance, volume));
    Ok(futures_util::future::try_join_all(places).await?.join(":"))
}

/// Returns the folder of one of our plain volumes on the engine's host.
async fn host_folder(docker: &Docker, instance: &Instance, name: &VolumeName) -> Result<String, EngineError> {
    const WHAT: &str = "inspect a volume";
    match docker.inspect_volume(name.as_str()).await.api(WHAT) {
        Ok(volume) => checked_place(instance, name, volume),
        Err(error) if error.is_not_found() => Err(EngineError::VolumeGone(format!("there is no volume {name}"))),
        Err(error) => Err(error),
    }
}

/// Checks that the volume is ours and a plain folder, and that its place can be an option of a mount.
fn checked_place(instance: &Instance, name: &VolumeName, volume: Volume) -> Result<String, EngineError> {
    let ours = volume.labels.get(labels::INSTANCE).is_some_and(|of| of == instance.as_str());
    let plain = volume.driver == LOCAL && volume.options.keys().all(|option| option == SIZE);
    if !ours || !plain {
        return Err(EngineError::VolumeGone(format!("the volume {name} is not one that Longshore made")));
    }
    let place = volume.mountpoint;
    let fits = place.starts_with('/') && !place.contains([',', ':', '\\', '"', '\n']);
    if fits { Ok(place) } else { Err(not_understood("inspect a volume", format!("{name} lies in `{place}`"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_plain_volumes_become_layers() {
        let instance = Instance::new("x").unwrap();
        let name = VolumeName::new("a").unwrap();
        let volume = |change: fn(&mut Volume)| {
            let mut volume = Volume {
                driver: LOCAL.to_owned(),
                mountpoint: "/var/lib/docker/volumes/a/_data".to_owned(),
                labels: [(labels::INSTANCE.to_owned(), "x".to_owned())].into(),
                ..Volume::default()
            };
            change(&mut volume);
            checked_place(&instance, &name, volume)
        };
        let place = "/var/lib/docker/volumes/a/_data";
        assert_eq!(volume(|_| {}).unwrap(), place);
        assert_eq!(volume(|volume| drop(volume.options.insert(SIZE.to_owned(), "1024".to_owned()))).unwrap(), place);
        let refused: [fn(&mut Volume); 6] = [
            |volume| volume.labels.clear(),
            |volume| drop(volume.labels.insert(labels::INSTANCE.to_owned(), "y".to_owned())),
            |volume| volume.driver = "nfs".to_owned(),
            |volume| drop(volume.options.insert("device".to_owned(), "/etc".to_owned())),
            |volume| volume.mountpoint = "/a,upperdir=/etc".to_owned(),
            |volume| volume.mountpoint = "/a:/etc".to_owned(),
        ];
        for change in refused {
            assert!(volume(change).is_err());
        }
    }
}
