//! Judges the containers that a job creates. Names become ids, paths become volumes, and limits are taken from the
//! budget.

mod mounts;

use std::collections::{BTreeMap, BTreeSet};

use self::mounts::judge_mount;
use crate::anonymous;
use crate::container::{ContainerCreate, Endpoint};
use crate::dockerfile::growth::MOST_VOLUMES;
use crate::guard::Guard;
use crate::host_config::{HostConfig, NetworkMode, Published, Sharing, Ulimit};
use crate::image_ref::ImageName;
use crate::job::network_of;
use crate::listed::{self, MOST_LISTED, MOST_LISTED_OF_JOB};
use crate::mounts::{Mount, Source};
use crate::names::is_host_name;
use crate::policy::JobPolicy;
use crate::refusal::{Judged, refuse};
use crate::table::{Container, Port, Protocol};

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
/// The oldest minor version of the API that can attach a new container to several networks.
const SEVERAL_NETWORKS_API: u32 = 44;

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
    let (image, _) = guard.table.image(&ImageName::parse(&asked.image)?)?;
    if guard.table.bases.get(image).is_some_and(|image| image.volumes > MOST_VOLUMES) {
        return refuse!(Limit, "the image {} has more than {MOST_VOLUMES} volumes", asked.image);
    }
    let of_image = guard.table.listed.get(image).copied().unwrap_or_default();
    if of_image > MOST_LISTED {
        return refuse!(
            Limit,
            "the labels, the command, the ports and the volumes of the image {} are longer than {} KiB of JSON together",
            asked.image,
            MOST_LISTED >> 10
        );
    }
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
    let mut joined = BTreeSet::new();
    let mut reached: BTreeSet<String> = volumes.iter().cloned().collect();
    let host = &mut body.host;
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
    for sharing in [&mut host.ipc, &mut host.pid] {
        if let Sharing::Container(container) = sharing {
            let (id, _) = guard.table.container(container)?;
            joined.insert(id.to_owned());
            *sharing = Sharing::Container(id.to_owned());
        }
    }
    judge_capabilities(policy, host)?;
    if let Some(sysctl) = host.sysctls.keys().find(|sysctl| !SYSCTLS.contains(&sysctl.as_str())) {
        return refuse!(Sysctl, "the kernel setting {sysctl:?} may not be changed: {} may", SYSCTLS.join(", "));
    }
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
    let of_container = listed::container(&body.write()?);
    if of_container > MOST_LISTED {
        return refuse!(
            Limit,
            "the command, the labels, the ports and the mounts of the container are longer than {} KiB of JSON together: put what is long into a file or a variable",
            MOST_LISTED >> 10
        );
    }
    entry.listed = of_container + of_image;
    let others: usize = guard.table.containers.values().map(|container| container.listed).sum();
    if others + entry.listed > MOST_LISTED_OF_JOB {
        return refuse!(
            Budget,
            "the commands, labels, ports and mounts of all containers of the job are longer than {} KiB of JSON together",
            MOST_LISTED_OF_JOB >> 10
        );
    }
    body.host.no_new_privileges = true;
    body.host.oom_score = OOM_SCORE;
    body.host.cgroup_parent = policy.cgroup_parent.clone().unwrap_or_default();
    Ok(Created { body, entry, volumes, filled, joined })
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

/// Takes the published ports out of the request: they listen in the job's sandbox, and nowhere on the host.
fn judge_ports(policy: &JobPolicy, host: &mut HostConfig) -> Judged<Vec<Port>> {
    let (asked, all) = (std::mem::take(&mut host.published), std::mem::take(&mut host.publish_all));
    if asked.is_empty() && !all {
        return Ok(Vec::new());
    }
    if policy.sandbox.is_none() {
        return refuse!(
            Publish,
            "publishing ports on the host is not allowed: containers of the job reach each other by name on a network of the job"
        );
    }
    if matches!(host.network, NetworkMode::Container(_)) {
        return refuse!(
            Publish,
            "a container that joins another's network cannot publish ports: publish them on the other one"
        );
    }
    asked.iter().map(published_port).collect()
}

fn published_port(asked: &Published) -> Judged<Port> {
    if asked.port.ends_with("/sctp") {
        return refuse!(
            Publish,
            "sctp ports cannot be published: reach the container by its name on a network of the job"
        );
    }
    let container = Protocol::of_port(&asked.port);
    let host = match asked.host_port.split_once('-') {
        _ if asked.host_port.is_empty() => Some(None),
        Some((first, last)) => first.parse().ok().zip(last.parse().ok()).map(Some),
        None => asked.host_port.parse().ok().map(|port: u16| (port > 0).then_some((port, port))),
    };
    match (container, host) {
        (Some((container, protocol)), Some(asked)) if asked.is_none_or(|(first, last)| first <= last) => {
            Ok(Port { container, protocol, asked, bound: None })
        }
        _ => refuse!(
            Publish,
            "the ports {:?} and {:?} are not valid: publish each port by itself",
            asked.host_port,
            asked.port
        ),
    }
}

fn judge_host(policy: &JobPolicy, entry: &str) -> Judged<String> {
    let Some((name, address)) = entry.split_once([':', '=']).filter(|(name, _)| is_host_name(name)) else {
        return refuse!(Hosts, "{entry:?} is not a host name and an address");
    };
    let address = match (address, policy.gateway) {
        ("host-gateway", Some(gateway)) => gateway.to_string(),
        ("host-gateway", None) => {
            return refuse!(Hosts, "the job's containers have no gateway to the host: `host-gateway` is not available");
        }
        (address, _) => match address.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => return refuse!(Hosts, "{entry:?} is not a host name and an address"),
        },
    };
    Ok(format!("{name}:{address}"))
}

fn judge_networks(guard: &Guard, policy: &JobPolicy, name: &str, body: &mut ContainerCreate) -> Judged<()> {
    let links = std::mem::take(&mut body.host.links);
    let asked = std::mem::take(&mut body.networks);
    let mode = std::mem::take(&mut body.host.network);
    let spelled = match &mode {
        NetworkMode::Default => "default".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(container) => format!("container:{container}"),
        NetworkMode::Named(network) => network.clone(),
    };
    let target = match mode {
        NetworkMode::None => None,
        NetworkMode::Default => policy.network.clone(),
        NetworkMode::Named(network) => Some(network_of(guard, policy, &network)?.to_owned()),
        NetworkMode::Container(container) => {
            let (id, _) = guard.table.container(&container)?;
            if !links.is_empty() || asked.iter().any(|(key, end)| *key != spelled || *end != Endpoint::default()) {
                return refuse!(Network, "a container that joins another's network cannot have networks of its own");
            }
            body.host.network = NetworkMode::Container(id.to_owned());
            return Ok(());
        }
    };
    let mut networks = BTreeMap::new();
    for (key, end) in &asked {
        let is_default = matches!(key.as_str(), "default" | "bridge");
        if key == "none" || (is_default && policy.network.is_none()) {
            if target.is_some() || *end != Endpoint::default() {
                return refuse!(Network, "the network {key} takes no settings and cannot be combined with others");
            }
            continue;
        }
        let id = network_of(guard, policy, key)?;
        // The engine joins the networks listed here, whatever the mode says.
        if target.as_deref() != Some(id) && (target.is_none() || guard.engine.api < SEVERAL_NETWORKS_API) {
            return refuse!(Network, "EndpointsConfig names the network {key}, but NetworkMode is {spelled}");
        }
        let own = policy.network.as_deref() != Some(id);
        networks.insert(id.to_owned(), endpoint(guard, end, name, own)?);
    }
    let Some(target) = target else {
        if !links.is_empty() {
            return refuse!(Link, "a container without a network cannot have links");
        }
        body.host.network = NetworkMode::None;
        return Ok(());
    };
    let own = policy.network.as_deref() != Some(target.as_str());
    let first = match networks.remove(&target) {
        Some(first) => first,
        None => endpoint(guard, &Endpoint::default(), name, own)?,
    };
    let links = Endpoint { links, ..Endpoint::default() };
    let links = endpoint(guard, &links, name, own)?.links;
    networks.insert(target.clone(), Endpoint { links: [first.links, links].concat(), ..first });
    body.networks = networks;
    body.host.network = NetworkMode::Named(target);
    Ok(())
}

/// Returns a container's endpoint on a network: with the name that the client knows as an alias, and links to own
/// containers only.
pub(crate) fn endpoint(guard: &Guard, asked: &Endpoint, name: &str, own: bool) -> Judged<Endpoint> {
    if asked.address.is_some() && !own {
        return refuse!(Network, "a container may not choose its address on the job's network");
    }
    let mut aliases = asked.aliases.clone();
    if is_host_name(name) && !aliases.iter().any(|alias| alias == name) {
        aliases.push(name.to_owned());
    }
    let links = asked.links.iter().map(|link| {
        let (container, alias) = link.split_once(':').unwrap_or((link, link));
        let alias = alias.trim_start_matches('/');
        let (id, _) = guard.table.container(container.trim_start_matches('/'))?;
        if is_host_name(alias) {
            Ok(format!("{id}:{alias}"))
        } else {
            refuse!(Link, "{alias:?} is not a valid host name")
        }
    });
    Ok(Endpoint { aliases, links: links.collect::<Judged<_>>()?, address: asked.address.clone() })
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
