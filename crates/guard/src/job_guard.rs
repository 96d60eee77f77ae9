//! The container of a job's guard: its command, and the only form in which a server may create it.
//!
//! The container has the engine's own socket. Whoever could start it with another program, another policy or another
//! mount would be root on the host. So there is one form, and every value in it that may vary is checked against the
//! server's own objects.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::check::{Check, INSTANCE};
use crate::container::ContainerCreate;
use crate::guard::Guard;
use crate::host_config::{HostConfig, LogDriver, NetworkMode};
use crate::mounts::{Mount, Source};
use crate::policy::{JobPolicy, Policy, ServerPolicy};
use crate::refusal::{Judged, refuse};
use crate::server_own::{is_mountable, is_of_socket, is_writable, own_labels};

/// The path of our program in its image.
pub const PROGRAM: &str = "/.longshore/longshore";
/// The mount point of the volume with the guard's socket, in the guard and in the job's containers.
pub const FOLDER: &str = "/longshore/docker";
/// The path of the guard's socket.
pub const SOCKET: &str = "/longshore/docker/docker.sock";
/// The path of the engine's socket in the guard's container, where clients look for it by default.
pub const ENGINE_SOCKET: &str = "/var/run/docker.sock";
/// The mount point of the folder with all volumes of the engine, which is read-only in the guard: what a job's volumes
/// take is measured there.
pub const ALL_VOLUMES: &str = "/longshore/all-volumes";
/// The same for the folder with what the engine keeps of all containers: `/etc/hosts` of each, say, which its processes
/// may write to.
pub const ALL_CONTAINERS: &str = "/longshore/all-containers";
/// The capabilities of the guard: jobs may publish ports below 1024, and folders of volumes are read regardless of
/// their owner.
pub const CAPABILITIES: [&str; 2] = ["DAC_READ_SEARCH", "NET_BIND_SERVICE"];
/// The guard's table and its audit log, in its container.
pub const TABLE: &str = "/table.json";
pub const AUDIT: &str = "/audit.jsonl";
/// The prefix of the names of volumes with guards' sockets. Nobody but the guard writes into them.
pub(crate) const VOLUMES: &str = "longshore-docker-";

const LABEL_JOB: &str = "longshore.job";
const LABEL_ATTEMPT: &str = "longshore.attempt";

/// Returns a job's scope: its name among all jobs of all instances on the engine.
#[must_use]
pub fn scope(instance: &str, job: &str, attempt: &str) -> String {
    hex::encode(&Sha256::digest(format!("{instance} {job} {attempt}"))[..12])
}

/// Returns the container's command.
///
/// # Errors
/// If the policy cannot be written as JSON.
pub fn entrypoint(policy: &JobPolicy) -> serde_json::Result<Vec<String>> {
    let policy = serde_json::to_string(&Policy::Job(Box::new(policy.clone())))?;
    let words = [
        PROGRAM,
        "guard",
        "--socket",
        ENGINE_SOCKET,
        "--listen",
        SOCKET,
        // The job's steps may run as any user, and nobody else sees the volume.
        "--mode",
        "666",
        "--state",
        TABLE,
        "--audit",
        AUDIT,
        "--policy-json",
        &policy,
    ];
    Ok(words.map(str::to_owned).to_vec())
}

/// Judges the container and mounts the engine's socket into it. Returns the conditions to check on the engine.
pub(crate) fn judge(guard: &Guard, server: &ServerPolicy, body: &mut ContainerCreate) -> Judged<Vec<Check>> {
    let words = body.entrypoint.clone().unwrap_or_default();
    let policy = match words.last().map(|text| Policy::parse(text)) {
        Some(Ok(Policy::Job(policy))) => policy,
        Some(Ok(Policy::Server(_)) | Err(_)) | None => {
            return refuse!(Server, "the policy of a job's guard has to be a job's");
        }
    };
    if body.image != guard.host.image() || entrypoint(&policy).ok() != Some(words) {
        return refuse!(Server, "a job's guard has to run the guard's own program, with its own command");
    }
    let label = |key| body.labels.get(key).map(String::as_str).unwrap_or_default();
    let (instance, job, attempt) = (label(INSTANCE), label(LABEL_JOB), label(LABEL_ATTEMPT));
    let NetworkMode::Container(sandbox) = &body.host.network else {
        return refuse!(Server, "a job's guard has to join the job's sandbox");
    };
    let is_of_job = policy.scope == scope(instance, job, attempt)
        && policy.sandbox.as_ref() == Some(sandbox)
        && is_own(server, &policy.labels)
        && policy.subnets.iter().all(|subnet| server.has_job_subnet(subnet))
        && policy.capabilities.is_empty()
        && policy.cgroup_parent.is_none();
    if !is_of_job || *body != form(body) {
        return refuse!(Server, "a job's guard may not have these settings or this policy");
    }
    let sockets = match body.host.mounts.first() {
        Some(Mount { source: Source::Volume { name, subpath }, target, .. })
            if is_of_socket(name) && subpath.is_empty() && is_mountable(name) && target == FOLDER =>
        {
            name.clone()
        }
        _ => return refuse!(Server, "a job's guard has to mount the volume of its socket first"),
    };
    let instances = server.instances();
    let volume = |name: &str, place: Option<String>| Check::Volume {
        name: name.to_owned(),
        instances: instances.clone(),
        place,
    };
    let mut checks = Vec::new();
    // Containers of the job get this path of the host as their socket: nobody but the guard may write there.
    let folder = match policy.socket.as_ref().map(|socket| socket.host.strip_suffix("/docker.sock")) {
        Some(Some(folder)) => Some(folder.to_owned()),
        Some(None) => return refuse!(Server, "the job's socket has to be in the volume of its guard"),
        None => None,
    };
    checks.push(volume(&sockets, folder.clone()));
    judge_mounts(guard, &policy, folder.and_then(|folder| data_folder(&folder, &sockets)), &mut body.host.mounts[1..])?;
    let measured = policy.disk.iter().flat_map(|disk| &disk.volumes);
    if let Some(name) = measured.into_iter().find(|name| !is_writable(name)) {
        return refuse!(Server, "{name} is not a volume that a job may fill");
    }
    for place in &policy.places {
        if !is_writable(&place.volume) {
            return refuse!(Server, "{} is not a volume that a job may write into", place.volume);
        }
        checks.push(volume(&place.volume, None));
    }
    if let Some(network) = &policy.network {
        checks.push(Check::Network { reference: network.clone(), instances });
    }
    Ok(checks)
}

/// Returns the folder with all that the engine keeps, from that of a volume.
fn data_folder(folder: &str, volume: &str) -> Option<String> {
    folder.strip_suffix(&format!("/volumes/{volume}/_data")).filter(|all| !all.is_empty()).map(str::to_owned)
}

/// Judges the mounts beside the first one: the engine's socket, and where the policy has volumes measured, the folders of
/// all volumes and containers in `data`. Their paths on the host are the guard's own word.
fn judge_mounts(guard: &Guard, policy: &JobPolicy, data: Option<String>, mounts: &mut [Mount]) -> Judged<()> {
    let is = |mount: &Mount, target: &str| matches!(mount.source, Source::Path(_)) && mount.target == target;
    let is_read = |mount: &Mount, target: &str| is(mount, target) && mount.read_only;
    match (mounts, &policy.disk) {
        ([engine], None) if is(engine, ENGINE_SOCKET) => {
            engine.source = Source::Socket(guard.host.socket()?.to_owned());
        }
        ([engine, volumes, containers], Some(disk))
            if is(engine, ENGINE_SOCKET)
                && is_read(volumes, ALL_VOLUMES)
                && is_read(containers, ALL_CONTAINERS)
                && disk.folder == ALL_VOLUMES
                && disk.containers == ALL_CONTAINERS =>
        {
            let Some(data) = data else {
                return refuse!(Server, "a job's guard finds the folder of all volumes by the volume of its socket");
            };
            engine.source = Source::Socket(guard.host.socket()?.to_owned());
            volumes.source = Source::OfEngine(format!("{data}/volumes"));
            containers.source = Source::OfEngine(format!("{data}/containers"));
        }
        _ => {
            return refuse!(
                Server,
                "a job's guard may mount only the volume of its socket, the engine's socket, and the folders of all volumes and containers read-only"
            );
        }
    }
    Ok(())
}

fn is_own(server: &ServerPolicy, labels: &BTreeMap<String, String>) -> bool {
    own_labels(server, labels).is_ok() && labels.keys().all(|key| key.starts_with("longshore."))
}

/// Returns the container in its only form, with the values that may vary. It has no variable, no health check and no
/// input that could run another program, or ours with other arguments, beside the guard.
fn form(asked: &ContainerCreate) -> ContainerCreate {
    let host = &asked.host;
    ContainerCreate {
        image: asked.image.clone(),
        entrypoint: asked.entrypoint.clone(),
        cmd: Some(Vec::new()),
        user: "0:0".to_owned(),
        labels: asked.labels.clone(),
        host: HostConfig {
            network: host.network.clone(),
            mounts: host.mounts.clone(),
            restarts: host.restarts,
            init: Some(false),
            cap_drop: vec!["ALL".to_owned()],
            cap_add: CAPABILITIES.map(str::to_owned).to_vec(),
            no_new_privileges: true,
            pids_limit: host.pids_limit,
            nano_cpus: host.nano_cpus,
            memory: host.memory,
            memory_swap: host.memory_swap,
            log: LogDriver::None,
            ..HostConfig::default()
        },
        ..ContainerCreate::default()
    }
}
