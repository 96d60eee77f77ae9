//! The builder of a job with Docker: rootless BuildKit in a container of the pod, which nobody else uses.
//!
//! It has no socket and no file of anybody's. What the container may do beyond a job's is `longshore_guard::builder`'s
//! to say.

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use longshore_executor::EngineError;
use longshore_executor::engine::BuilderSpec;
use longshore_executor::names::{ContainerId, Instance};
use longshore_executor::objects::Kind;
use longshore_guard::builder;

use crate::container::{JOINED, sized};
use crate::error::ApiResult as _;
use crate::quota::Quotas;
use crate::{containers, guarded, labels};

/// Creates the container. Its create call creates its volume.
pub(crate) async fn create(
    docker: &Docker,
    instance: &Instance,
    spec: &BuilderSpec<'_>,
    quotas: &Quotas,
) -> Result<ContainerId, EngineError> {
    let name = spec.attempt.builder_name();
    let options = CreateContainerOptionsBuilder::new().name(name.as_str()).build();
    let created =
        docker.create_container(Some(options), body(instance, spec, quotas)).await.api("create a container")?;
    containers::created(created.id)
}

fn body(instance: &Instance, spec: &BuilderSpec<'_>, quotas: &Quotas) -> ContainerCreateBody {
    let mut own_labels = labels::of_attempt(instance, Kind::Builder, spec.build, spec.attempt);
    labels::override_images(&mut own_labels, &spec.image.labels);
    let budget = guarded::budget(spec.limits, true, None);
    let state = Mount {
        typ: Some(MountType::VOLUME),
        source: Some(spec.attempt.builder_volume_name().to_string()),
        target: Some(builder::STATE.to_owned()),
        volume_options: Some(MountVolumeOptions {
            // The folder belongs to the user that the image has made.
            no_copy: Some(false),
            labels: Some(labels::of_attempt(instance, Kind::Volume, spec.build, spec.attempt)),
            driver_config: sized(spec.limits, quotas),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    };
    ContainerCreateBody {
        image: Some(spec.name.to_string()),
        entrypoint: Some(builder::entrypoint()),
        cmd: Some(Vec::new()),
        user: Some(builder::USER.to_owned()),
        labels: Some(own_labels),
        host_config: Some(HostConfig {
            network_mode: Some(format!("{JOINED}{}", spec.sandbox)),
            mounts: Some(vec![state]),
            auto_remove: Some(false),
            init: Some(false),
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(builder::CAPABILITIES.map(str::to_owned).to_vec()),
            security_opt: Some(builder::security_options()),
            pids_limit: Some(budget.pids.max(1)),
            memory: Some(budget.memory),
            memory_swap: Some(budget.memory),
            nano_cpus: Some(budget.nano_cpus),
            ipc_mode: Some("private".to_owned()),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_where_its_builder_listens() {
        assert_eq!(longshore_core::docker::BUILDER_ADDRESS, builder::ADDRESS);
    }
}
