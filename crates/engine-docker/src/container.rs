//! Describes the containers of a pod to the engine: its mounts, its limits, and what it may not do.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig, ResourcesUlimits,
};

use longshore_core::BuildId;
use longshore_core::plan::WORKSPACE;
use longshore_executor::engine::{Image, MemberId, MemberSpec, Mounted, PodSpec};
use longshore_executor::names::{ContainerId, Instance};
use longshore_executor::objects::Kind;
use longshore_executor::{AttemptId, Limits, Ulimit};

use crate::agent_image::{self, Delivered};
use crate::labels;
use crate::paths::{PROGRAM, SECRETS};
use crate::quota::Quotas;

/// Mount options of the memory file system for secrets.
const SECRETS_OPTIONS: &str = "rw,noexec,nosuid,nodev,size=32m,mode=0711";

/// The prefix of a network mode, followed by the id of the sandbox whose network namespace a container joins.
pub(crate) const JOINED: &str = "container:";

/// The capabilities of root in a job's container. Docker's default list without: `NET_RAW` (forged packets to others on
/// the bridge), `MKNOD` (device nodes), `AUDIT_WRITE` (the host's audit log), `SYS_CHROOT` (used by breakouts, and not
/// needed by any build tool), `SETFCAP` (programs with capabilities of their own, which no-new-privileges makes useless
/// anyway).
/// The ones that stay: package managers change owners and drop to their own users
/// (`CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`, `SETUID`, `SETGID`, `SETPCAP`), the agent ends steps of any user
/// (`KILL`), tests listen on low ports in their own namespace (`NET_BIND_SERVICE`).
const CAPABILITIES: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"];

/// Returns the body of the call that creates a job's container.
pub(crate) fn body(
    instance: &Instance,
    pod: &PodSpec<'_>,
    agent: &Delivered,
    docker: Option<Mount>,
    quotas: &Quotas,
) -> ContainerCreateBody {
    let mut job_labels = labels::of_attempt(instance, Kind::Job, pod.build, pod.attempt);
    job_labels.insert(labels::USER.to_owned(), pod.image.config.user.clone());
    job_labels.insert(labels::POD.to_owned(), hex::encode(pod.secret.0));
    let arguments = ["--marker".to_owned(), hex::encode(pod.nonce.0)];
    let workspace = volume(instance, pod.build, pod.attempt, pod.limits, quotas);
    let own = [agent_image::mount(instance, agent), workspace].into_iter();
    let mounts = own.chain(docker).chain(pod.mounts.iter().map(mounted)).collect();
    let common = Common {
        image: pod.image,
        labels: job_labels,
        arguments: &arguments,
        sandbox: pod.sandbox,
        mounts,
        limits: pod.limits,
    };
    ContainerCreateBody { open_stdin: Some(true), stdin_once: Some(false), ..common.body(quotas, true) }
}

/// Returns the body of the call that creates a container beside the job's. A step's has the job's workspace.
pub(crate) fn member_body(
    instance: &Instance,
    member: &MemberSpec<'_>,
    agent: &Delivered,
    docker: Option<Mount>,
    quotas: &Quotas,
) -> ContainerCreateBody {
    let kind = match member.member {
        MemberId::Service(_) => Kind::Service,
        MemberId::Step(..) => Kind::Step,
    };
    let mut member_labels = labels::of_attempt(instance, kind, member.build, member.attempt);
    member_labels.insert(labels::MEMBER.to_owned(), member.member.to_string());
    let mut mounts = vec![agent_image::mount(instance, agent)];
    if kind == Kind::Step {
        mounts.push(volume(instance, member.build, member.attempt, member.limits, quotas));
        mounts.extend(member.mounts.iter().map(mounted));
    }
    mounts.extend(docker);
    // Plain text and numbers.
    let image = serde_json::to_string(&member.image.config).unwrap_or_default();
    let arguments = [
        "--marker".to_owned(),
        hex::encode(member.key()),
        "--join".to_owned(),
        member.conductor(),
        "--image".to_owned(),
        image,
    ];
    let common = Common {
        image: member.image,
        labels: member_labels,
        arguments: &arguments,
        sandbox: member.sandbox,
        mounts,
        limits: member.limits,
    };
    common.body(quotas, kind == Kind::Step)
}

/// What all containers of a pod have in common.
struct Common<'a> {
    image: &'a Image,
    labels: HashMap<String, String>,
    /// The agent's.
    arguments: &'a [String],
    sandbox: &'a ContainerId,
    mounts: Vec<Mount>,
    limits: &'a Limits,
}

impl Common<'_> {
    fn body(mut self, quotas: &Quotas, has_secrets: bool) -> ContainerCreateBody {
        labels::override_images(&mut self.labels, &self.image.labels);
        let limits = self.limits;
        self.mounts.extend(image_volumes(&self.image.volumes, &self.mounts, limits, quotas));
        let memory = limits.memory.unwrap_or_else(default_memory);
        let memory = i64::try_from(memory).ok().filter(|bytes| *bytes > 0);
        let program = [PROGRAM, "agent", "--in-sandbox"].map(str::to_owned);
        ContainerCreateBody {
            image: Some(self.image.id.to_string()),
            entrypoint: Some(program.into_iter().chain(self.arguments.iter().cloned()).collect()),
            cmd: Some(Vec::new()),
            // The agent is root regardless of the image; it switches to the image's user for each step.
            user: Some("0".to_owned()),
            working_dir: Some("/".to_owned()),
            tty: Some(false),
            // The image's own probe would start programs beside the steps.
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
            labels: Some(self.labels),
            host_config: Some(HostConfig {
                network_mode: Some(format!("{JOINED}{}", self.sandbox)),
                mounts: Some(self.mounts),
                tmpfs: has_secrets.then(|| [(SECRETS.to_owned(), SECRETS_OPTIONS.to_owned())].into()),
                // The daemon's log drivers are the slowest part of a log's path, and keep a second copy.
                log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
                // Results and the OOM flag have to outlive the process.
                auto_remove: Some(false),
                // The agent is PID 1, even if the daemon adds an init process by default.
                init: Some(false),
                privileged: Some(false),
                ipc_mode: Some("private".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(
                    CAPABILITIES
                        .iter()
                        .map(|&name| name.to_owned())
                        .chain(limits.capabilities.iter().cloned())
                        .collect(),
                ),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                pids_limit: Some(i64::from(limits.pids)),
                memory,
                // The same number: no swap in addition.
                memory_swap: memory,
                #[expect(clippy::cast_possible_truncation, reason = "processors, not nanoseconds of a century")]
                nano_cpus: limits.cpus.map(|cpus| (cpus * 1e9) as i64),
                storage_opt: limits.disk.filter(|_| quotas.of_containers()).map(size),
                ulimits: Some(limits.ulimits.iter().map(ulimit).collect()),
                shm_size: limits.shm.and_then(|bytes| i64::try_from(bytes).ok()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }
}

/// Returns the mount of the job's volume. The container's own create call creates
/// the volume with its labels, which saves a call: the volume never exists without its container.
fn volume(instance: &Instance, build: BuildId, attempt: AttemptId, limits: &Limits, quotas: &Quotas) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(attempt.volume_name().to_string()),
        target: Some(WORKSPACE.to_owned()),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(labels::of_attempt(instance, Kind::Volume, build, attempt)),
            driver_config: sized(limits, quotas),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Returns the mount of a volume that exists already.
fn mounted(one: &Mounted) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(one.volume.to_string()),
        target: Some(one.target.clone()),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(!one.fill_from_image),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Returns the mounts of an image's own volumes with the job's limit. Without one, or where the engine cannot limit
/// volumes, it makes them by itself. What is mounted there already stays.
fn image_volumes(paths: &[String], mounts: &[Mount], limits: &Limits, quotas: &Quotas) -> Vec<Mount> {
    let Some(size) = sized(limits, quotas) else { return Vec::new() };
    let taken = mounts.iter().filter_map(|mount| mount.target.as_deref()).chain([SECRETS]).filter_map(normal);
    let mut taken: BTreeSet<String> = taken.collect();
    let own = paths.iter().filter_map(|path| normal(path)).filter(|path| taken.insert(path.clone()));
    let mount = |path| Mount {
        typ: Some(MountType::VOLUME),
        target: Some(path),
        volume_options: Some(MountVolumeOptions { driver_config: Some(size.clone()), ..MountVolumeOptions::default() }),
        ..Mount::default()
    };
    own.map(mount).collect()
}

/// Returns a path as the engine takes it: absolute, without `.`, `..` and redundant slashes. `None` for the root.
fn normal(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| format!("/{}", parts.join("/")))
}

fn ulimit(ulimit: &Ulimit) -> ResourcesUlimits {
    // They fit: a ulimit is parsed within these numbers.
    let number = |value: u64| i64::try_from(value).ok();
    ResourcesUlimits { name: Some(ulimit.name.clone()), soft: number(ulimit.soft), hard: number(ulimit.hard) }
}

/// Returns the settings of a volume that its mount creates, if its size is limited.
pub(crate) fn sized(limits: &Limits, quotas: &Quotas) -> Option<MountVolumeOptionsDriverConfig> {
    limits
        .disk
        .filter(|_| quotas.of_volumes())
        .map(|bytes| MountVolumeOptionsDriverConfig { name: Some("local".to_owned()), options: Some(size(bytes)) })
}

/// Returns a size limit in the form that storage and volume drivers take.
fn size(bytes: u64) -> HashMap<String, String> {
    HashMap::from([("size".to_owned(), bytes.to_string())])
}

/// Nine tenths of this host's memory; 0, which means no limit, if it is not known.
pub(crate) fn default_memory() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        kib.unwrap_or(0).saturating_mul(1024) / 10 * 9
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    #[test]
    fn an_images_volumes_have_the_jobs_limit_unless_something_is_mounted_there() {
        let limits = Limits { disk: Some(1 << 30), ..Limits::default() };
        let paths = ["/data", "/data/", "cache", "/app/../data", WORKSPACE, SECRETS, "/"].map(str::to_owned);
        let workspace = Mount { target: Some(format!("{WORKSPACE}/")), ..Mount::default() };
        let mounts = std::slice::from_ref(&workspace);
        let made = image_volumes(&paths, mounts, &limits, &Quotas::default());
        let seen: Vec<_> =
            made.iter().map(|mount| (mount.target.as_deref().unwrap(), mount.source.as_deref())).collect();
        assert_eq!(seen, [("/data", None), ("/cache", None)]);
        for mount in &made {
            let config = mount.volume_options.as_ref().and_then(|options| options.driver_config.as_ref()).unwrap();
            assert_eq!(config.options.as_ref().unwrap()["size"], (1u64 << 30).to_string());
        }
        let unlimited = Quotas::default();
        assert!(unlimited.refused(Fault::NoVolumeQuota));
        assert!(image_volumes(&paths, mounts, &limits, &unlimited).is_empty());
        assert!(image_volumes(&paths, mounts, &Limits::default(), &Quotas::default()).is_empty());
    }
}
