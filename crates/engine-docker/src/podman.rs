//! Podman speaks Docker's API, but does not keep all of its promises.

use bollard::models::SystemVersion;

pub(crate) fn is_podman(version: &SystemVersion) -> bool {
    version.components.iter().flatten().any(|component| component.name.contains("Podman"))
}
