//! The container of a job's builder: rootless BuildKit, and the only form in which a server may create it.
//!
//! A builder runs what a job's Dockerfiles say, and needs user namespaces for that. So it lacks one thing that every
//! other container has: `no-new-privileges`, without which two programs of its image, `newuidmap` and `newgidmap`,
//! could not give the builder its range of users. In return it is never root, and has no mount but a volume of its own.
//! Its system calls are Docker's default ones, and those that make mounts and namespaces, but none of a network
//! (`builder_calls.json`): the packet filters of such a one are the part of the kernel that unprivileged users have
//! broken most often. The image is the one that the guard was started with, not one that a server names.

use crate::container::ContainerCreate;
use crate::host_config::{HostConfig, LogDriver, NetworkMode};
use crate::image_ref::ImageName;
use crate::mounts::Source;
use crate::policy::ServerPolicy;
use crate::refusal::{Judged, refuse};
use crate::server_own::own_labels;

/// Where a builder listens, on its pod's loopback.
pub const ADDRESS: &str = "tcp://127.0.0.1:8372";
/// The user that it runs as. The published image has this one, with a range of users in `/etc/subuid`.
pub const USER: &str = "1000:1000";
/// The mount point of the volume with what it has built.
pub const STATE: &str = "/home/user/.local/share/buildkit";
/// The capabilities that `newuidmap` and `newgidmap` use. The builder itself is another user than root, and has none.
pub const CAPABILITIES: [&str; 2] = ["SETGID", "SETUID"];
/// The prefix of the names of volumes with what builders have built.
pub const VOLUMES: &str = "longshore-builder-";
/// How the names of builders end.
pub(crate) const NAME: &str = "-builder";

/// The system calls that a builder may use.
const CALLS: &str = include_str!("builder_calls.json");

/// Returns the container's command.
#[must_use]
pub fn entrypoint() -> Vec<String> {
    let words = [
        "rootlesskit",
        "buildkitd",
        "--addr",
        ADDRESS,
        // Steps have the network of the job's pod.
        "--oci-worker-net",
        "host",
        "--allow-insecure-entitlement",
        "network.host",
        // A namespace of processes for each step would need a `/proc` without masks.
        "--oci-worker-no-process-sandbox",
    ];
    words.map(str::to_owned).to_vec()
}

/// Returns the container's security options.
#[must_use]
pub fn security_options() -> Vec<String> {
    let calls: serde_json::Value = serde_json::from_str(CALLS).unwrap_or_default();
    // AppArmor's profile for containers allows no mounts at all.
    vec!["apparmor=unconfined".to_owned(), format!("seccomp={calls}")]
}

/// Judges the container. Returns the name of its volume.
pub(crate) fn judge(server: &ServerPolicy, body: &ContainerCreate) -> Judged<String> {
    let Some(image) = &server.builder else {
        return refuse!(
            Server,
            "this guard allows no builders: to allow them, start the guard with LONGSHORE_BUILDKIT_IMAGE, as the server"
        );
    };
    let image = ImageName::parse(image)?.to_string();
    if body.image != image {
        return refuse!(
            Server,
            "this guard allows builders of {image} only: set LONGSHORE_BUILDKIT_IMAGE to the same for guard and server"
        );
    }
    let NetworkMode::Container(_) = &body.host.network else {
        return refuse!(Server, "a builder has to join its job's sandbox");
    };
    if *body != form(body) || body.host.pids_limit <= 0 {
        return refuse!(Server, "a builder may not have these settings");
    }
    match body.host.mounts.as_slice() {
        [mount] if mount.target == STATE && !mount.read_only => match &mount.source {
            Source::Volume { name, subpath } if name.starts_with(VOLUMES) && subpath.is_empty() => {
                own_labels(server, &mount.labels)?;
                Ok(name.clone())
            }
            _ => refuse!(Server, "a builder has to mount a volume of its own"),
        },
        _ => refuse!(Server, "a builder may mount only the volume of what it has built"),
    }
}

/// Returns the container in its only form, with the values that may vary.
fn form(asked: &ContainerCreate) -> ContainerCreate {
    let host = &asked.host;
    ContainerCreate {
        image: asked.image.clone(),
        entrypoint: Some(entrypoint()),
        cmd: Some(Vec::new()),
        user: USER.to_owned(),
        labels: asked.labels.clone(),
        host: HostConfig {
            network: host.network.clone(),
            mounts: host.mounts.clone(),
            init: Some(false),
            cap_drop: vec!["ALL".to_owned()],
            cap_add: CAPABILITIES.map(str::to_owned).to_vec(),
            is_builder: true,
            pids_limit: host.pids_limit,
            memory: host.memory,
            memory_swap: host.memory_swap,
            nano_cpus: host.nano_cpus,
            log: LogDriver::None,
            ..HostConfig::default()
        },
        ..ContainerCreate::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_builder_has_no_system_call_that_reaches_past_its_namespaces() {
        let calls: Value = serde_json::from_str(CALLS).unwrap();
        assert_eq!(calls["defaultAction"], "SCMP_ACT_ERRNO");
        let rules = calls["syscalls"].as_array().unwrap().iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
        let rules = rules.flat_map(|rule| {
            rule["names"].as_array().unwrap().iter().map(|name| (name.as_str().unwrap(), &rule["args"]))
        });
        let rules: Vec<(&str, &Value)> = rules.collect();
        let allowed: Vec<&str> = rules.iter().map(|(name, _)| *name).collect();
        for needed in ["clone", "unshare", "setns", "mount", "umount2", "pivot_root", "execve"] {
            assert!(allowed.contains(&needed), "{needed}");
        }
        // Root of a network of its own could reach the kernel's packet filters.
        const NEW_NETWORK: i64 = 0x4000_0000;
        let no_network = json!([{ "index": 0, "value": NEW_NETWORK, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }]);
        for (name, args) in rules.iter().filter(|(name, _)| ["clone", "unshare"].contains(name)) {
            assert_eq!(**args, no_network, "{name}");
        }
        for kept in [
            "add_key",
            "bpf",
            "clone3",
            "delete_module",
            "fanotify_init",
            "finit_module",
            "fsconfig",
            "fsopen",
            "init_module",
            "io_uring_setup",
            "kexec_file_load",
            "kexec_load",
            "keyctl",
            "open_by_handle_at",
            "perf_event_open",
            "quotactl",
            "reboot",
            "settimeofday",
            "swapon",
            "syslog",
            "userfaultfd",
        ] {
            assert!(!allowed.contains(&kept), "{kept}");
        }
    }
}
