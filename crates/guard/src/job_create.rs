//! Judges the containers that a job creates. Names become ids, paths become volumes, and limits are taken from the
//! budget.

mod mounts;
mod networks;

use std::collections::BTreeSet;

use self::mounts::judge_mount;
pub(crate) use self::networks::endpoint;
use self::networks::{judge_host, judge_networks, judge_ports};
use crate::anonymous;
use crate::container::ContainerCreate;
use crate::dockerfile::growth::MOST_VOLUMES;
use crate::guard::Guard;
use crate::host_config::{HostConfig, NetworkMode, Sharing, Ulimit};
use crate::image_ref::ImageName;
use crate::listed::{self, MOST_LISTED, MOST_LISTED_OF_JOB};
use crate::mounts::{Mount, Source};
use crate::policy::JobPolicy;
use crate::refusal::{Judged, refuse};
use crate::table::Container;

/// Docker's default capabilities, without those that forge packets, make device files or write to the host's audit log.
const CAPABILITIES: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// The rest of Docker's default capabilities, which are dropped.
const DROPPED: [&str; 3] = ["NET_RAW", "MKNOD", "AUDIT_WRITE"];
/// Kernel settings that affect only the container's network namespace.
const SYSCTLS: [&str; 4] = [
    "net.core.somaxconn",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_port_range",
    "net.ipv6.conf.all.disable_ipv6",
];
/// When the host runs out of memory, a job's containers are killed first.
const OOM_SCORE: i64 = 500;
/// The weight of a container among all of the host when processors are short, if it does not say another.
const DEFAULT_SHARES: i64 = 1024;

/// A container as the engine is to create it, and its entry in the table.
pub(crate) struct Created {
    pub(crate) body: ContainerCreate,
    pub(crate) entry: Container,
    pub(crate) volumes: Vec<String>,
    /// Those that the engine fills with files of the image.
    pub(crate) filled: BTreeSet<String>,
    /// The containers whose namespaces or volumes it joins.
    pub(crate) joined: BTreeSet<String>,
}

pub(crate) fn judge(guard: &Guard, policy: &JobPolicy, name: &str, asked: &ContainerCreate) -> Judged<Created> {
    let (image, of_image) = judge_image(guard, &asked.image)?;
    if asked.host.is_builder {
        return refuse!(SecurityOption, "only the job's own builder has these security options");
    }
    let mut body = asked.clone();
    // By its id, so that nobody can replace the image meanwhile.
    body.image = format!("sha256:{image}");
    body.labels = policy.stamp(asked.labels.clone(), name)?;
    let (mut volumes, mut filled) = (Vec::new(), BTreeSet::new());
    anonymous::take_over(&guard.table, &mut body.host)?;
    for mount in &mut body.host.mounts {
        if let Some(volume) = judge_mount(guard, policy, mount, &mut volumes)?
            && !mount.no_copy
        {
            filled.insert(volume);
        }
    }
    let mut reached: BTreeSet<String> = volumes.iter().cloned().collect();
    let mut joined = judge_volumes_from(guard, &mut body.host, &mut reached)?;
    let host = &mut body.host;
    for sharing in [&mut host.ipc, &mut host.pid] {
        if let Sharing::Container(container) = sharing {
            let (id, _) = guard.table.container(container)?;
            joined.insert(id.to_owned());
            *sharing = Sharing::Container(id.to_owned());
        }
    }
    judge_capabilities(policy, host)?;
    judge_sysctls(host)?;
    judge_ulimits(&host.ulimits)?;
    if host.disk.is_some() {
        return refuse!(Storage, "the size of a container's storage may not be set");
    }
    let publish_all = host.publish_all;
    let published = judge_ports(policy, host)?;
    for entry in &mut host.extra_hosts {
        *entry = judge_host(policy, entry)?;
    }
    judge_networks(guard, policy, name, &mut body)?;
    if let NetworkMode::Container(id) = &body.host.network {
        joined.insert(id.clone());
    }
    let mut entry = judge_limits(guard, policy, &mut body.host)?;
    let is_its_own = |mount: &Mount| matches!(mount.source, Source::Anonymous | Source::Tmpfs { .. });
    entry.is_alone = joined.is_empty() && body.host.mounts.iter().all(is_its_own);
    entry.name = name.to_owned();
    entry.image.clone_from(&asked.image);
    entry.published = published;
    entry.publish_all = publish_all;
    entry.volumes = reached;
    entry.listed = judge_listed(guard, &body, of_image)?;
    body.host.no_new_privileges = true;
    body.host.oom_score = OOM_SCORE;
    body.host.cgroup_parent = policy.cgroup_parent.clone().unwrap_or_default();
    Ok(Created { body, entry, volumes, filled, joined })
}

/// Returns the id of the image, and how long what it adds to a list of containers is.
fn judge_image<'a>(guard: &'a Guard, asked: &str) -> Judged<(&'a str, usize)> {
    let (image, _) = guard.table.image(&ImageName::parse(asked)?)?;
    if guard.table.bases.get(image).is_some_and(|image| image.volumes > MOST_VOLUMES) {
        return refuse!(Limit, "the image {asked} has more than {MOST_VOLUMES} volumes");
    }
    let listed = guard.table.listed.get(image).copied().unwrap_or_default();
    if listed > MOST_LISTED {
        return refuse!(
            Limit,
            "the labels, the command, the ports and the volumes of the image {asked} are longer than {} KiB of JSON together",
            MOST_LISTED >> 10
        );
    }
    Ok((image, listed))
}

/// Judges the containers whose volumes the new one has too, and returns them. Adds their volumes to those that it
/// reaches.
fn judge_volumes_from(
    guard: &Guard,
    host: &mut HostConfig,
    reached: &mut BTreeSet<String>,
) -> Judged<BTreeSet<String>> {
    let mut joined = BTreeSet::new();
    for from in &mut host.volumes_from {
        let (container, mode) = from.split_once(':').unwrap_or((from, "rw"));
        if !matches!(mode, "ro" | "rw") {
            return refuse!(Mount, "the mode {mode:?} of VolumesFrom is neither ro nor rw");
        }
        let (id, other) = guard.table.container(container)?;
        joined.insert(id.to_owned());
        reached.extend(other.volumes.iter().cloned());
        *from = format!("{id}:{mode}");
    }
    Ok(joined)
}

/// Returns how long the container is in a list of containers, with what its image adds: a list of all of them has to
/// be read whole.
fn judge_listed(guard: &Guard, body: &ContainerCreate, of_image: usize) -> Judged<usize> {
    let of_container = listed::container(&body.write()?);
    if of_container > MOST_LISTED {
        return refuse!(
            Limit,
            "the command, the labels, the ports and the mounts of the container are longer than {} KiB of JSON together: put what is long into a file or a variable",
            MOST_LISTED >> 10
        );
    }
    let others: usize = guard.table.containers.values().map(|container| container.listed).sum();
    if others + of_container + of_image > MOST_LISTED_OF_JOB {
        return refuse!(
            Budget,
            "the commands, labels, ports and mounts of all containers of the job are longer than {} KiB of JSON together",
            MOST_LISTED_OF_JOB >> 10
        );
    }
    Ok(of_container + of_image)
}

fn judge_sysctls(host: &HostConfig) -> Judged<()> {
    match host.sysctls.keys().find(|sysctl| !SYSCTLS.contains(&sysctl.as_str())) {
        None => Ok(()),
        Some(sysctl) => {
            refuse!(Sysctl, "the kernel setting {sysctl:?} may not be changed: {} may", SYSCTLS.join(", "))
        }
    }
}

/// Judges resource limits. Only the server may set the others, as its operator has configured.
fn judge_ulimits(limits: &[Ulimit]) -> Judged<()> {
    const NAMES: [&str; 4] = ["nofile", "nproc", "core", "stack"];
    const MOST: i64 = 1 << 30;
    for Ulimit { name, soft, hard } in limits {
        if !NAMES.contains(&name.as_str()) {
            return refuse!(Ulimit, "the limit {name:?} may not be set: {} may", NAMES.join(", "));
        }
        if !(0..=MOST).contains(soft) || !(*soft..=MOST).contains(hard) {
            return refuse!(Ulimit, "the limit {name} is out of range");
        }
    }
    Ok(())
}

fn judge_capabilities(policy: &JobPolicy, host: &mut HostConfig) -> Judged<()> {
    let allowed = |name: &str| CAPABILITIES.contains(&name) || policy.capabilities.iter().any(|more| more == name);
    if let Some(name) = host.cap_add.iter().find(|name| !allowed(name)) {
        return refuse!(Capability, "the capability {name} may not be added");
    }
    for name in DROPPED {
        let dropped = host.cap_drop.iter().any(|known| known == name || known == "ALL");
        if !dropped && !policy.capabilities.iter().any(|more| more == name) {
            host.cap_drop.push(name.to_owned());
        }
    }
    Ok(())
}

/// Takes a container's limits from the budget. A container that sets none gets a default.
fn judge_limits(guard: &Guard, policy: &JobPolicy, host: &mut HostConfig) -> Judged<Container> {
    let budget = &policy.budget;
    let containers = guard.table.containers.values();
    if containers.len() >= budget.containers {
        return refuse!(Budget, "the job has used all of its {} containers", budget.containers);
    }
    let (mut memory, mut cpus, mut pids) = (0_i64, 0_i64, 0_i64);
    for container in containers {
        memory = memory.saturating_add(container.memory);
        cpus = cpus.saturating_add(container.nano_cpus);
        pids = pids.saturating_add(container.pids);
    }
    if host.memory == 0 {
        host.memory = budget.memory_each;
    }
    host.memory_swap = host.memory;
    if host.memory_reservation > host.memory {
        return refuse!(Budget, "MemoryReservation is larger than the container's memory");
    }
    if host.pids_limit <= 0 {
        host.pids_limit = budget.pids_each;
    }
    if host.cpu_quota > 0 {
        let period = if host.cpu_period > 0 { host.cpu_period } else { 100_000 };
        host.nano_cpus = host.cpu_quota.saturating_mul(1_000_000_000) / period;
    }
    (host.cpu_quota, host.cpu_period) = (0, 0);
    // Containers that set no limit share the job's processors: each may use all of them.
    let counted_cpus = host.nano_cpus;
    if host.nano_cpus == 0 {
        host.nano_cpus = budget.nano_cpus.min(guard.engine.nano_cpus);
    }
    for (what, used, asked, of) in [
        ("bytes of memory", memory, host.memory, budget.memory),
        ("nanoCPUs", cpus, counted_cpus, budget.nano_cpus),
        ("processes", pids, host.pids_limit, budget.pids),
    ] {
        if used.saturating_add(asked) > of {
            return refuse!(Budget, "the container wants {asked} {what}, and the job has {} left of {of}", of - used);
        }
    }
    // A weight, of which every container on the host has the default one unless it says otherwise.
    host.cpu_shares = host.cpu_shares.min(DEFAULT_SHARES);
    if host.shm_size > host.memory {
        return refuse!(Budget, "ShmSize is larger than the container's memory");
    }
    Ok(Container { memory: host.memory, nano_cpus: counted_cpus, pids: host.pids_limit, ..Container::default() })
}
