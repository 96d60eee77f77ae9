//! The guard of a job's Docker API: its container, and what it may let through.
//!
//! The guard's container alone has the engine's socket. Its own socket is in a volume that it shares with the job's
//! containers, which see it read-only. What a job makes carries the job's labels and a name that only its guard gives,
//! so it is found again when guard and server are gone.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountType, MountVolumeOptions,
    RestartPolicy, RestartPolicyNameEnum, VolumeCreateRequest,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use longshore_core::plan::WORKSPACE;
use longshore_executor::engine::GuardSpec;
use longshore_executor::names::{ContainerId, Instance};
use longshore_executor::objects::Kind;
use longshore_executor::{AttemptId, EngineError, Limits};
use longshore_guard::{Budget, Disk, JobPolicy, Place, Socket, job_guard, own_container, path_on_host};

use crate::agent_image::Delivered;
use crate::container::{JOINED, default_memory};
use crate::error::{ApiResult as _, not_understood};
use crate::guard_names::scope;
use crate::options::DockerOptions;
use crate::paths::{DOCKER_SOCKET, GUARD_FOLDER, GUARD_SOCKET};
use crate::{containers, labels, unsuited};

/// Bytes of memory of the guard itself.
const MEMORY: i64 = 256 << 20;
/// Processors of the guard itself, in units of 10^-9. It has one thread.
const NANO_CPUS: i64 = 1_000_000_000;
/// Processes and threads of the guard itself.
const PIDS: i64 = 256;
/// How often a guard that fails is started again.
const RESTARTS: i64 = 10;
/// The part of a job's memory and processes that each container gets which does not say what it needs.
const SHARE: i64 = 8;
/// The least memory of such a container, in bytes.
const LEAST_MEMORY: i64 = 64 << 20;

/// Returns the socket's volume as a container of the job has it.
pub(crate) fn socket_mount(attempt: AttemptId) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(attempt.socket_volume_name().to_string()),
        target: Some(GUARD_FOLDER.to_owned()),
        // Nobody else listens where the job expects its guard.
        read_only: Some(true),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

/// Returns the engine's own socket as a container has it.
pub(crate) fn raw_mount(on_host: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(on_host.to_owned()),
        target: Some(DOCKER_SOCKET.to_owned()),
        ..Mount::default()
    }
}

/// Creates the guard's container, and before it the volume with its socket.
pub(crate) async fn create(
    docker: &Docker,
    options: &DockerOptions,
    spec: &GuardSpec<'_>,
    agent: &Delivered,
    engine_socket: &str,
) -> Result<ContainerId, EngineError> {
    let version = async { docker.version().await.api("ask for the version") };
    let info = async { docker.info().await.api("tell about itself") };
    let (version, info) = tokio::try_join!(version, info)?;
    if let Some(reason) = unsuited::reason(&version, &info) {
        return Err(EngineError::Unsupported(reason.to_owned()));
    }
    let instance = &options.instance;
    let mut volume_labels = labels::of_attempt(instance, Kind::Volume, spec.build, spec.attempt);
    let volume = VolumeCreateRequest {
        name: Some(spec.attempt.socket_volume_name().to_string()),
        labels: Some(std::mem::take(&mut volume_labels)),
        ..VolumeCreateRequest::default()
    };
    let volume = docker.create_volume(volume).await.api("create a volume")?;
    let policy = policy(docker, options, spec, &volume.mountpoint).await?;
    let entrypoint =
        job_guard::entrypoint(&policy).map_err(|error| not_understood("create a guard", error.to_string()))?;
    let data = policy.disk.is_some().then(|| data_folder(&volume.mountpoint)).flatten();
    let body = body(instance, spec, agent, (engine_socket, data), entrypoint);
    let name = spec.attempt.guard_name();
    let options = CreateContainerOptionsBuilder::new().name(name.as_str()).build();
    let created = docker.create_container(Some(options), body).await.api("create a container")?;
    containers::created(created.id)
}

fn body(
    instance: &Instance,
    spec: &GuardSpec<'_>,
    agent: &Delivered,
    (engine_socket, data): (&str, Option<&str>),
    entrypoint: Vec<String>,
) -> ContainerCreateBody {
    let socket = Mount {
        typ: Some(MountType::VOLUME),
        source: Some(spec.attempt.socket_volume_name().to_string()),
        target: Some(GUARD_FOLDER.to_owned()),
        ..Mount::default()
    };
    let engine = Mount {
        typ: Some(MountType::BIND),
        source: Some(engine_socket.to_owned()),
        target: Some(DOCKER_SOCKET.to_owned()),
        ..Mount::default()
    };
    let measured = |data: &str, folder: &str, target: &str| Mount {
        typ: Some(MountType::BIND),
        source: Some(format!("{data}/{folder}")),
        target: Some(target.to_owned()),
        read_only: Some(true),
        // Volumes that are mounts themselves would stay mounted for as long as the guard runs.
        bind_options: Some(MountBindOptions { non_recursive: Some(true), ..MountBindOptions::default() }),
        ..Mount::default()
    };
    let measured = data.map(|data| {
        [measured(data, "volumes", job_guard::ALL_VOLUMES), measured(data, "containers", job_guard::ALL_CONTAINERS)]
    });
    ContainerCreateBody {
        image: Some(agent.image.clone()),
        entrypoint: Some(entrypoint),
        cmd: Some(Vec::new()),
        user: Some("0:0".to_owned()),
        labels: Some(labels::of_attempt(instance, Kind::Guard, spec.build, spec.attempt)),
        host_config: Some(HostConfig {
            // Published ports listen there, and what the job starts is on its networks.
            network_mode: Some(format!("{JOINED}{}", spec.sandbox)),
            mounts: Some([socket, engine].into_iter().chain(measured.into_iter().flatten()).collect()),
            // Its table of the job's objects is in its own file system, which a restart keeps.
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::ON_FAILURE),
                maximum_retry_count: Some(RESTARTS),
            }),
            auto_remove: Some(false),
            init: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(job_guard::CAPABILITIES.map(str::to_owned).to_vec()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            pids_limit: Some(PIDS),
            nano_cpus: Some(NANO_CPUS),
            memory: Some(MEMORY),
            memory_swap: Some(MEMORY),
            ipc_mode: Some("private".to_owned()),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

async fn policy(
    docker: &Docker,
    options: &DockerOptions,
    spec: &GuardSpec<'_>,
    socket_folder: &str,
) -> Result<JobPolicy, EngineError> {
    const INSPECT: &str = "inspect a container";
    let inspected = docker.inspect_container(spec.sandbox.as_str(), None).await.api(INSPECT)?;
    let network = inspected
        .network_settings
        .and_then(|settings| settings.networks)
        .and_then(|networks| networks.into_iter().find(|(name, _)| spec.attempt.is_network_name(name)))
        .map(|(_, network)| network)
        .ok_or_else(|| not_understood(INSPECT, "the job's sandbox is not on its network"))?;
    let instance = &options.instance;
    let labels = labels::of_attempt(instance, Kind::Inner, spec.build, spec.attempt);
    let own = network.gateway.as_deref().and_then(|gateway| gateway.parse().ok());
    let subnets = own.zip(options.docker_subnet).map(|(own, range)| range.of_job(own)).unwrap_or_default();
    let subnets = subnets.iter().map(ToString::to_string).collect();
    let disk_bytes = spec.docker.disk_bytes.unwrap_or(Budget::default().disk_bytes);
    let registries: Vec<String> = spec.docker.registries.iter().cloned().collect();
    Ok(JobPolicy {
        scope: scope(instance, spec.attempt),
        network: network.network_id,
        sandbox: inspected.id,
        gateway: network.ip_address.and_then(|address| address.parse().ok()),
        socket: Some(Socket {
            paths: vec![DOCKER_SOCKET.to_owned(), "/run/docker.sock".to_owned(), GUARD_SOCKET.to_owned()],
            host: format!("{socket_folder}/{}", GUARD_SOCKET.rsplit('/').next().unwrap_or_default()),
        }),
        subnets,
        labels: labels.into_iter().collect(),
        places: vec![Place {
            path: WORKSPACE.to_owned(),
            volume: spec.attempt.volume_name().to_string(),
            folder: String::new(),
        }],
        images: spec.docker.images.clone(),
        local_images: spec.docker.local_images,
        push: registries.iter().map(|registry| format!("{registry}/*")).collect(),
        registries,
        reserved: spec.docker.builder_image.iter().map(ToString::to_string).collect(),
        build: true,
        load: spec.docker.builder().is_some(),
        capabilities: Vec::new(),
        cgroup_parent: None,
        budget: Budget { disk_bytes, ..budget(spec.limits, spec.docker.builder().is_some(), spec.docker.image_bytes) },
        disk: data_folder(socket_folder).filter(|_| disk_bytes < u64::MAX).map(|_| Disk {
            folder: job_guard::ALL_VOLUMES.to_owned(),
            containers: job_guard::ALL_CONTAINERS.to_owned(),
            volumes: [spec.attempt.volume_name(), spec.attempt.upper_name(), spec.attempt.builder_volume_name()]
                .map(|volume| volume.to_string())
                .to_vec(),
        }),
    })
}

/// Returns the folder with all that the engine keeps, from the one of a volume. `None` if it is not where the engine's own
/// driver puts it.
fn data_folder(folder: &str) -> Option<&str> {
    let (all, _) = folder.strip_suffix("/_data")?.rsplit_once('/')?;
    all.strip_suffix("/volumes").filter(|data| !data.is_empty())
}

/// Returns what all containers of the job may have together: as much as its own container. Where the job has a builder,
/// they have one half of that, and the builder the other.
pub(crate) fn budget(limits: &Limits, has_builder: bool, image_bytes: Option<u64>) -> Budget {
    let parts = if has_builder { 2 } else { 1 };
    let defaults = Budget::default();
    let memory = i64::try_from(limits.memory.unwrap_or_else(default_memory)).unwrap_or(i64::MAX);
    let memory = if memory > 0 { memory } else { defaults.memory } / parts;
    let pids = i64::from(limits.pids) / parts;
    #[expect(clippy::cast_precision_loss, reason = "a host's processors")]
    let cpus = limits.cpus.unwrap_or_else(|| available_parallelism().map_or(1, std::num::NonZero::get) as f64);
    Budget {
        memory,
        memory_each: (memory / SHARE).max(LEAST_MEMORY).min(memory),
        pids,
        pids_each: (pids / SHARE).max(1),
        image_bytes: image_bytes.unwrap_or(defaults.image_bytes),
        #[expect(clippy::cast_possible_truncation, reason = "processors, not nanoseconds of a century")]
        nano_cpus: (cpus * 1e9) as i64 / parts,
        ..defaults
    }
}

/// Finds the path of the engine's socket on its host. It is another one than ours in a container, where it is mounted.
pub(crate) async fn socket_on_host(docker: &Docker, host: &str) -> Result<String, EngineError> {
    let ours = PathBuf::from(host.strip_prefix("unix://").unwrap_or(host));
    let as_it_is = || ours.to_string_lossy().into_owned();
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(container) = own_container(&mountinfo) else { return Ok(as_it_is()) };
    let inspected = match docker.inspect_container(container, None).await.api("inspect a container") {
        Ok(inspected) => inspected,
        // The socket of another engine than the one that starts jobs.
        Err(error) if error.is_not_found() => return Ok(as_it_is()),
        Err(error) => return Err(error),
    };
    let mounts = inspected.mounts.unwrap_or_default();
    let mounts = mounts.into_iter().filter_map(|mount| Some((mount.destination?, mount.source?)));
    let resolve = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let on_host = path_on_host(&ours, mounts, resolve);
    Ok(on_host.map_or_else(as_it_is, |path| path.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_no_more_than_its_own_limits_for_all_it_starts() {
        let limits = Limits { memory: Some(1 << 30), cpus: Some(1.5), pids: 80, ..Limits::default() };
        let all = budget(&limits, false, Some(7));
        assert_eq!((all.memory, all.nano_cpus, all.pids), (1 << 30, 1_500_000_000, 80));
        assert_eq!((all.memory_each, all.pids_each, all.image_bytes), (128 << 20, 10, 7));
        // The builder has the other half.
        let half = budget(&limits, true, None);
        assert_eq!((half.memory, half.nano_cpus, half.pids), (1 << 29, 750_000_000, 40));
    }
}
