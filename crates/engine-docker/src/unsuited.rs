//! Which engines cannot run jobs with `docker: true`, because requests and answers do not mean there what the guard of
//! a job relies on.

use bollard::models::{SystemInfo, SystemVersion};

/// Podman speaks Docker's API, but does not keep all of its promises.
pub(crate) fn is_podman(version: &SystemVersion) -> bool {
    version.components.iter().flatten().any(|component| component.name.contains("Podman"))
}

/// Whether the engine keeps its images in containerd's store, as Docker 29 does where it is installed anew. There,
/// every image has a digest in each repository that it was ever named after, so a digest no longer proves that the
/// registry has the image; and ids are those of manifests, not of an image's contents.
pub(crate) fn keeps_images_in_containerd(info: &SystemInfo) -> bool {
    info.driver_status.iter().flatten().flatten().any(|text| text.starts_with("io.containerd.snapshotter."))
}

/// Returns why a job with Docker is not started here.
pub(crate) fn reason(version: &SystemVersion, info: &SystemInfo) -> Option<&'static str> {
    if is_podman(version) {
        return Some(
            "this engine is Podman, whose API does not mean the same as Docker's everywhere: a job with `docker: true` needs Docker's engine",
        );
    }
    keeps_images_in_containerd(info).then_some(
        "this engine keeps its images in containerd's store, which does not tell images of a registry from others: a job with `docker: true` needs Docker's own store (`\"features\": { \"containerd-snapshotter\": false }` in the engine's daemon.json; images of the other store are then to be pulled or built again)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_with_containerds_image_store_is_known_by_its_driver() {
        let info = |driver: &str, status: &[[&str; 2]]| SystemInfo {
            driver: Some(driver.to_owned()),
            driver_status: Some(status.iter().map(|pair| pair.map(str::to_owned).to_vec()).collect()),
            ..SystemInfo::default()
        };
        let docker = SystemVersion::default();
        // The answers of Docker 26.1 with either store.
        let own = info("overlay2", &[["Backing Filesystem", "extfs"], ["Supports d_type", "true"]]);
        assert_eq!(reason(&docker, &own), None);
        assert_eq!(reason(&docker, &SystemInfo::default()), None, "a driver without a status");
        let why = reason(&docker, &info("overlayfs", &[["driver-type", "io.containerd.snapshotter.v1"]])).unwrap();
        assert!(why.contains("containerd's store") && why.contains("daemon.json"), "{why}");
    }
}
