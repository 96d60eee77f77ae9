//! The guard of a job's Docker, as a container: what it runs, and the form in which a server may ask for it.
//!
//! It has the engine's own socket. Whoever could have another program in its place, another policy, or another mount, would be root
//! on the host; so there is one form, and what is free in it is held against the server's own objects.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::check::{Check, INSTANCE};
use crate::container::ContainerCreate;
use crate::guard::Guard;
use crate::host_config::{HostConfig, LogDriver, NetworkMode};
use crate::mounts::Source;
use crate::policy::{JobPolicy, Policy, ServerPolicy};
use crate::refusal::{Judged, refuse};
use crate::server::{is_mountable, own_labels};

/// Our program in its image.
pub const PROGRAM: &str = "/.longshore/longshore";
/// Where the volume with the guard's socket is mounted, in the guard and in the job's containers.
pub const FOLDER: &str = "/longshore/docker";
/// The guard's socket in it.
pub const SOCKET: &str = "/longshore/docker/docker.sock";
/// Where the engine's socket is in the guard's container, and where clients look for one.
pub const ENGINE_SOCKET: &str = "/var/run/docker.sock";
/// The start of the names of the volumes with the sockets of guards. Nobody else writes into them.
pub(crate) const VOLUMES: &str = "longshore-docker-";

const LABEL_JOB: &str = "longshore.job";
const LABEL_ATTEMPT: &str = "longshore.attempt";

/// Names a job among all jobs of all instances on the engine, in what is made through its guard.
#[must_use]
pub fn scope(instance: &str, job: &str, attempt: &str) -> String {
    hex::encode(&Sha256::digest(format!("{instance} {job} {attempt}"))[..12])
}

/// What the container runs.
///
/// # Errors
/// The policy cannot be written as JSON.
pub fn entrypoint(policy: &JobPolicy) -> serde_json::Result<Vec<String>> {
    let policy = serde_json::to_string(&Policy::Job(Box::new(policy.clone())))?;
    let words = [
        PROGRAM,
        "guard",
        "--socket",
        ENGINE_SOCKET,
        "--listen",
        SOCKET,
        // The job's steps may be of any user, and nobody else sees the volume.
        "--mode",
        "666",
        "--state",
        "/table.json",
        "--audit",
        "/audit.jsonl",
        "--policy-json",
        &policy,
    ];
    Ok(words.map(str::to_owned).to_vec())
}

/// Judges the container, and puts the engine's socket into it. Returns what has to hold on the engine.
pub(crate) fn judge(guard: &Guard, server: &ServerPolicy, body: &mut ContainerCreate) -> Judged<Vec<Check>> {
    let words = body.entrypoint.clone().unwrap_or_default();
    let policy = match words.last().map(|text| Policy::parse(text)) {
        Some(Ok(Policy::Job(policy))) => policy,
        Some(Ok(Policy::Server(_)) | Err(_)) | None => {
            return refuse!(Server, "the job's guard has no policy of a job");
        }
    };
    if body.image != guard.host.image() || entrypoint(&policy).ok() != Some(words) {
        return refuse!(Server, "a job's guard runs the guard's own program, in its own form");
    }
    let label = |key| body.labels.get(key).map(String::as_str).unwrap_or_default();
    let (instance, job, attempt) = (label(INSTANCE), label(LABEL_JOB), label(LABEL_ATTEMPT));
    let NetworkMode::Container(sandbox) = &body.host.network else {
        return refuse!(Server, "a job's guard is in the job's sandbox");
    };
    let is_of_job = policy.scope == scope(instance, job, attempt)
        && policy.sandbox.as_ref() == Some(sandbox)
        && is_own(server, &policy.labels)
        && policy.capabilities.is_empty()
        && policy.cgroup_parent.is_none();
    if !is_of_job || *body != form(body) {
        return refuse!(Server, "a job's guard has the policy and the form of a job's guard");
    }
    let sockets = match body.host.mounts.as_slice() {
        [sockets, engine] => match (&sockets.source, &engine.source) {
            (Source::Volume { name, subpath }, Source::Path(_))
                if name.starts_with(VOLUMES)
                    && subpath.is_empty()
                    && is_mountable(name)
                    && sockets.target == FOLDER
                    && engine.target == ENGINE_SOCKET =>
            {
                name.clone()
            }
            _ => return refuse!(Server, "a job's guard mounts its socket's volume and the engine's socket"),
        },
        _ => return refuse!(Server, "a job's guard mounts its socket's volume and the engine's socket alone"),
    };
    let instances = server.instances();
    let volume = |name: &str, place: Option<String>| Check::Volume {
        name: name.to_owned(),
        instances: instances.clone(),
        place,
    };
    let mut checks = Vec::new();
    // The path on the host that containers of the job get as their socket: nobody but the guard writes there.
    match policy.socket.as_ref().map(|socket| socket.host.strip_suffix("/docker.sock")) {
        Some(Some(folder)) => checks.push(volume(&sockets, Some(folder.to_owned()))),
        Some(None) => return refuse!(Server, "the job's socket is not in the volume of its guard"),
        None => checks.push(volume(&sockets, None)),
    }
    for place in &policy.places {
        if !is_mountable(&place.volume) || place.volume.starts_with(VOLUMES) {
            return refuse!(Server, "{} is not a volume that a job may use", place.volume);
        }
        checks.push(volume(&place.volume, None));
    }
    if let Some(network) = &policy.network {
        checks.push(Check::Network { reference: network.clone(), instances });
    }
    body.host.mounts[1].source = Source::Socket(guard.host.socket()?.to_owned());
    Ok(checks)
}

fn is_own(server: &ServerPolicy, labels: &BTreeMap<String, String>) -> bool {
    own_labels(server, labels).is_ok() && labels.keys().all(|key| key.starts_with("longshore."))
}

/// The container with what is free in it, and nothing else: no variable, no probe, no input by which another program, or ours with
/// other words, would run beside the guard.
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
            // Jobs may publish low ports.
            cap_add: vec!["NET_BIND_SERVICE".to_owned()],
            no_new_privileges: true,
            pids_limit: host.pids_limit,
            memory: host.memory,
            memory_swap: host.memory_swap,
            log: LogDriver::None,
            ..HostConfig::default()
        },
        ..ContainerCreate::default()
    }
}
