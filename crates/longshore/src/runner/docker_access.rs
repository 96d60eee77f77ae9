//! Decides what a job gets of Docker: whether what it asks for is granted, and what its guard lets through.

use std::collections::BTreeSet;

use longshore_core::{
    ErrorKind, Event, ImageRef, JobPlan, Outcome, Template,
    docker::{Docker, DockerGrant},
};
use longshore_executor::{DockerAccess, GuardedDocker, ImageAccess};
use longshore_pipeline::docker_rules;

use super::contexts::Missing;

/// The registries that jobs use where the operator names none.
pub(crate) const DOCKER_REGISTRIES: &[&str] = &[
    "docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "registry.k8s.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "registry.gitlab.com",
];

/// The operator's settings for Docker in jobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct DockerSettings {
    /// The registries that images are pulled from and pushed to, besides those that a job has credentials of.
    pub(crate) registries: BTreeSet<String>,
    /// Whether images that were built or loaded on the engine may be used.
    pub(crate) local_images: bool,
    /// The bytes that the images may take which a job builds and pulls, if not as many as with every guard.
    pub(crate) image_bytes: Option<u64>,
    /// The bytes that a job's containers may write, if not as many as with every guard.
    pub(crate) disk_bytes: Option<u64>,
    /// The image of builders. Without it, no job has one.
    pub(crate) builder: Option<ImageRef>,
    /// The access that every repository is granted; without it, the repository's own setting counts.
    pub(crate) grant: Option<DockerGrant>,
}

impl DockerSettings {
    /// Returns what a job gets. A job that runs already is not asked again.
    ///
    /// # Errors
    /// It asks for what is not granted.
    pub(crate) fn access(
        &self,
        of_repo: &DockerGrant,
        event: &Event,
        plan: &JobPlan,
        images: &ImageAccess,
        missing: Missing,
    ) -> Result<DockerAccess, Outcome> {
        let grant = self.grant.as_ref().unwrap_or(of_repo);
        let closed = !plan.docker.is_none() && !plan.network.is_open();
        let closed = closed.then(|| {
            format!(
                "containers that it starts have their own networks, which `network: {}` does not restrict: remove one of the two",
                plan.network.as_str()
            )
        });
        if missing == Missing::Refuse
            && let Some(why) = closed.or_else(|| docker_rules::refused(grant, plan.docker, event))
        {
            let message = format!("Docker is not available to the job: {why}");
            return Err(Outcome::Error { kind: ErrorKind::DockerNotGranted, message });
        }
        Ok(match plan.docker {
            Docker::None => DockerAccess::None,
            Docker::Raw => DockerAccess::Raw,
            Docker::Guarded => {
                let of_credentials = images.credentials.keys().map(ToString::to_string);
                let own = std::iter::once(&plan.image)
                    .chain(plan.services.iter().map(|service| &service.image))
                    .chain(plan.steps.iter().filter_map(|step| step.image.as_ref()))
                    .filter_map(Template::as_known);
                DockerAccess::Guarded(GuardedDocker {
                    registries: self.registries.iter().cloned().chain(of_credentials).collect(),
                    images: own.map(str::to_owned).collect(),
                    local_images: self.local_images,
                    image_bytes: self.image_bytes,
                    disk_bytes: self.disk_bytes,
                    builder_image: self.builder.clone(),
                    has_builder: grant.allows_builder(),
                })
            }
        })
    }
}
