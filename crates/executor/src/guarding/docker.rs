//! The Docker API that a job gets: none, a guarded API, or the host's own socket.
//!
//! A guarded API is served by a container of the pod, the guard (`guards`), which alone holds the engine's socket.

use std::collections::BTreeSet;

use longshore_core::ImageRef;
use longshore_core::docker::{BUILDER, BUILDER_ADDRESS, BUILDX_FOLDER};

/// The variables of jobs that have a Docker API. A pipeline's own win over them.
const SOCKET_VARIABLE: (&str, &str) = ("DOCKER_HOST", "unix:///var/run/docker.sock");
/// The guard takes what the classic builder sends. Published ports answer on the job's `localhost`, and what
/// testcontainers would have its own container remove goes with the job.
const GUARD_VARIABLES: [(&str, &str); 4] = [
    ("DOCKER_BUILDKIT", "0"),
    ("COMPOSE_DOCKER_CLI_BUILD", "0"),
    ("TESTCONTAINERS_HOST_OVERRIDE", "localhost"),
    ("TESTCONTAINERS_RYUK_DISABLED", "true"),
];

/// The further variables of a job with a builder: for `buildctl`, and for `docker buildx`, for which the agent writes a
/// folder.
const BUILDER_VARIABLES: [(&str, &str); 3] =
    [("BUILDKIT_HOST", BUILDER_ADDRESS), ("BUILDX_BUILDER", BUILDER), ("BUILDX_CONFIG", BUILDX_FOLDER)];

/// A job's access to Docker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DockerAccess {
    #[default]
    None,
    /// A guarded API.
    Guarded(GuardedDocker),
    /// The engine's own socket, which is root on its host.
    Raw,
}

/// What a guard lets through beyond what every guard does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuardedDocker {
    /// The registries that images are pulled from and pushed to, as their hosts.
    pub registries: BTreeSet<String>,
    /// Images that the job may use although it has not pulled them.
    pub images: Vec<String>,
    /// Whether it may use images that were built or loaded on the engine.
    pub local_images: bool,
    /// The bytes that the images may take which it builds and pulls, if not as many as with every guard.
    pub image_bytes: Option<u64>,
    /// The bytes that its containers may write, if not as many as with every guard.
    pub disk_bytes: Option<u64>,
    /// The image of builders. The job may not push one of this name: others' builders would start from it.
    pub builder_image: Option<ImageRef>,
    /// Whether it has a builder of its own.
    pub has_builder: bool,
}

impl GuardedDocker {
    /// Returns the image of the job's builder, if it has one.
    #[must_use]
    pub fn builder(&self) -> Option<&ImageRef> {
        self.builder_image.as_ref().filter(|_| self.has_builder)
    }
}

impl DockerAccess {
    /// Returns the guarded API, if it is one.
    pub(crate) const fn guarded(&self) -> Option<&GuardedDocker> {
        match self {
            Self::Guarded(guarded) => Some(guarded),
            Self::None | Self::Raw => None,
        }
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let (socket, guarded) = match self {
            Self::None => (None, &GUARD_VARIABLES[..0]),
            Self::Guarded(_) => (Some(SOCKET_VARIABLE), &GUARD_VARIABLES[..]),
            Self::Raw => (Some(SOCKET_VARIABLE), &GUARD_VARIABLES[..0]),
        };
        let has_builder = self.guarded().is_some_and(|guarded| guarded.builder().is_some());
        let builder = if has_builder { &BUILDER_VARIABLES[..] } else { &BUILDER_VARIABLES[..0] };
        socket.into_iter().chain(guarded.iter().copied()).chain(builder.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_with_docker_is_told_where_it_is() {
        let names = |access: DockerAccess| access.variables().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(names(DockerAccess::None).is_empty());
        assert_eq!(names(DockerAccess::Raw), ["DOCKER_HOST"]);
        let guarded = names(DockerAccess::Guarded(GuardedDocker::default()));
        assert!(guarded.contains(&"DOCKER_BUILDKIT") && !guarded.contains(&"BUILDKIT_HOST"));
        let builder_image = ImageRef::parse("moby/buildkit:rootless").ok();
        let other = GuardedDocker { builder_image, ..GuardedDocker::default() };
        assert!(!names(DockerAccess::Guarded(other.clone())).contains(&"BUILDKIT_HOST"));
        let built = names(DockerAccess::Guarded(GuardedDocker { has_builder: true, ..other }));
        assert!(
            ["DOCKER_BUILDKIT", "BUILDKIT_HOST", "BUILDX_BUILDER", "BUILDX_CONFIG"]
                .iter()
                .all(|name| built.contains(name))
        );
    }
}
