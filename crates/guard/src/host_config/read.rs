//! Reads `HostConfig`. Settings that no client may have under any policy are refused here.

use std::net::IpAddr;

use super::{HostConfig, LogDriver, NetworkMode, Published, Sharing, Ulimit};
use crate::builder;
use crate::fields::Fields;
use crate::json::Json;
use crate::mounts;
use crate::refusal::{Judged, Rule, refuse};

/// Fields that nobody may set, each with the rule that it breaks.
const NEVER: [(&str, Rule); 34] = [
    ("Privileged", Rule::Privileged),
    ("UTSMode", Rule::Namespace),
    ("UsernsMode", Rule::Namespace),
    ("Cgroup", Rule::Cgroup),
    ("CgroupParent", Rule::Cgroup),
    ("CgroupPermissions", Rule::Cgroup),
    ("Devices", Rule::Device),
    ("DeviceCgroupRules", Rule::Device),
    ("DeviceRequests", Rule::Device),
    ("Runtime", Rule::Runtime),
    ("GroupAdd", Rule::Group),
    ("VolumeDriver", Rule::Volume),
    ("ContainerIDFile", Rule::HostPath),
    ("Annotations", Rule::Runtime),
    ("Capabilities", Rule::Capability),
    ("BlkioWeight", Rule::Cgroup),
    ("BlkioWeightDevice", Rule::Cgroup),
    ("BlkioDeviceReadBps", Rule::Cgroup),
    ("BlkioDeviceWriteBps", Rule::Cgroup),
    ("BlkioDeviceReadIOps", Rule::Cgroup),
    ("BlkioDeviceWriteIOps", Rule::Cgroup),
    ("CpuRealtimePeriod", Rule::Cgroup),
    ("CpuRealtimeRuntime", Rule::Cgroup),
    ("CpusetCpus", Rule::Cgroup),
    ("CpusetMems", Rule::Cgroup),
    ("KernelMemory", Rule::Cgroup),
    ("KernelMemoryTCP", Rule::Cgroup),
    ("OomKillDisable", Rule::Cgroup),
    ("CpuCount", Rule::Cgroup),
    ("CpuPercent", Rule::Cgroup),
    ("IOMaximumIOps", Rule::Cgroup),
    ("IOMaximumBandwidth", Rule::Cgroup),
    ("DiskQuota", Rule::Storage),
    ("LxcConf", Rule::Runtime),
];

/// The most restarts of a container. A container that asks for unlimited restarts gets this many.
const MOST_RESTARTS: i64 = 10;

impl HostConfig {
    pub(crate) fn read(mut fields: Fields) -> Judged<Self> {
        for (key, rule) in NEVER {
            fields.never(key, rule)?;
        }
        fields.absent("MaskedPaths", Rule::MaskedPath)?;
        fields.absent("ReadonlyPaths", Rule::MaskedPath)?;
        fields.dropped("ConsoleSize");
        let f = &mut fields;
        let mut mounts = f.texts("Binds")?.iter().map(|text| mounts::bind(text)).collect::<Judged<Vec<_>>>()?;
        mounts.extend(f.objects("Mounts")?.into_iter().map(mounts::mount).collect::<Judged<Vec<_>>>()?);
        match f.text("Isolation")?.as_str() {
            "" | "default" => {}
            _ => return refuse!(Runtime, "HostConfig.Isolation may not be set here"),
        }
        match f.text("CgroupnsMode")?.as_str() {
            "" | "private" => {}
            other => return refuse!(Namespace, "HostConfig.CgroupnsMode may be private, not {other:?}"),
        }
        if f.optional_int("MemorySwappiness")?.is_some_and(|value| value != -1) {
            return refuse!(Cgroup, "HostConfig.MemorySwappiness may not be set here");
        }
        if f.int("OomScoreAdj")? < 0 {
            return refuse!(Cgroup, "HostConfig.OomScoreAdj may not be less than 0");
        }
        let mut host = Self {
            mounts,
            tmpfs: mounts::tmpfs(f)?,
            volumes_from: f.texts("VolumesFrom")?,
            network: network_mode(f.text("NetworkMode")?)?,
            links: f.texts("Links")?,
            published: published(f)?,
            publish_all: f.flag("PublishAllPorts")?,
            ipc: sharing(f, "IpcMode")?,
            pid: match sharing(f, "PidMode")? {
                Sharing::Shareable | Sharing::None => {
                    return refuse!(Namespace, "HostConfig.PidMode may not be shareable or none");
                }
                mode => mode,
            },
            cap_add: capabilities(f.texts("CapAdd")?)?,
            cap_drop: capabilities(f.texts("CapDrop")?)?,
            no_new_privileges: false,
            is_builder: false,
            memory: amount(f, "Memory", 0)?,
            memory_swap: amount(f, "MemorySwap", -1)?,
            memory_reservation: amount(f, "MemoryReservation", 0)?,
            nano_cpus: amount(f, "NanoCpus", 0)?,
            cpu_shares: amount(f, "CpuShares", 0)?,
            cpu_period: amount(f, "CpuPeriod", 0)?,
            cpu_quota: amount(f, "CpuQuota", 0)?,
            pids_limit: amount(f, "PidsLimit", -1)?,
            shm_size: amount(f, "ShmSize", 0)?,
            ulimits: ulimits(f)?,
            sysctls: f.text_map("Sysctls")?,
            restarts: restarts(f)?,
            auto_remove: f.flag("AutoRemove")?,
            init: f.optional_flag("Init")?,
            read_only: f.flag("ReadonlyRootfs")?,
            dns: addresses(f.texts("Dns")?)?,
            dns_options: f.texts("DnsOptions")?,
            dns_search: f.texts("DnsSearch")?,
            extra_hosts: f.texts("ExtraHosts")?,
            log: log_driver(f)?,
            disk: storage(f)?,
            cgroup_parent: String::new(),
            oom_score: 0,
        };
        match security(&f.texts("SecurityOpt")?)? {
            Security::Default => {}
            Security::NoNewPrivileges => host.no_new_privileges = true,
            Security::Builder => host.is_builder = true,
        }
        if let Some(option) = host.dns_options.iter().chain(&host.dns_search).find(|text| !is_word(text)) {
            return refuse!(Hosts, "{option:?} is not a resolver option");
        }
        fields.finish()?;
        Ok(host)
    }
}

fn network_mode(text: String) -> Judged<NetworkMode> {
    Ok(match text.as_str() {
        "" | "default" | "bridge" => NetworkMode::Default,
        "none" => NetworkMode::None,
        "host" => return refuse!(Namespace, "a container may not have the host's network: leave NetworkMode out"),
        other => match other.split_once(':') {
            Some(("container", name)) if !name.is_empty() => NetworkMode::Container(name.to_owned()),
            Some(_) => return refuse!(Namespace, "the network {other:?} may not be joined"),
            None => NetworkMode::Named(text),
        },
    })
}

fn sharing(fields: &mut Fields, key: &'static str) -> Judged<Sharing> {
    let text = fields.text(key)?;
    Ok(match text.as_str() {
        "" | "private" => Sharing::Own,
        "shareable" => Sharing::Shareable,
        "none" => Sharing::None,
        other => match other.strip_prefix("container:") {
            Some(name) if !name.is_empty() => Sharing::Container(name.to_owned()),
            _ => {
                return refuse!(
                    Namespace,
                    "HostConfig.{key} may not be {other:?}: use a namespace of its own, or that of a container of yours"
                );
            }
        },
    })
}

fn published(fields: &mut Fields) -> Judged<Vec<Published>> {
    let mut all = Vec::new();
    for (port, bindings) in fields.map("PortBindings")? {
        let path = format!("HostConfig.PortBindings.{port}");
        let port = port_of(&port)?;
        let bindings = match bindings {
            Json::Null => Vec::new(),
            Json::List(items) => items,
            other => return refuse!(Body, "{path} is {}, not a list", other.kind()),
        };
        for (at, binding) in bindings.into_iter().enumerate() {
            let mut binding = Fields::new(binding, format!("{path}[{at}]."))?;
            let (address, host_port) = (binding.text("HostIp")?, binding.text("HostPort")?);
            binding.finish()?;
            let address = match address.as_str() {
                "" => None,
                text => match text.parse() {
                    Ok(address) => Some(address),
                    Err(_) => return refuse!(Publish, "{path} has an invalid host address"),
                },
            };
            if !host_port.is_empty() && host_port.split('-').any(|number| number.parse::<u16>().is_err()) {
                return refuse!(Publish, "{path} has an invalid host port");
            }
            all.push(Published { port: port.clone(), address, host_port });
        }
    }
    Ok(all)
}

/// Parses a container's port, such as `80/tcp`.
pub(crate) fn port_of(text: &str) -> Judged<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let numbers = number.split_once('-').map_or((number, number), |range| range);
    let valid = |text: &str| !text.starts_with('+') && text.parse::<u16>().is_ok_and(|port| port > 0);
    if valid(numbers.0) && valid(numbers.1) && matches!(protocol, "tcp" | "udp" | "sctp") {
        return Ok(format!("{number}/{protocol}"));
    }
    refuse!(Body, "{text:?} is not a container port")
}

fn capabilities(names: Vec<String>) -> Judged<Vec<String>> {
    names
        .into_iter()
        .map(|name| {
            let upper = name.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned();
            if bare.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && !bare.is_empty() {
                return Ok(bare);
            }
            refuse!(Capability, "{name:?} is not a capability")
        })
        .collect()
}

/// The meaning of a container's security options.
enum Security {
    Default,
    NoNewPrivileges,
    /// Exactly the options that a builder has.
    Builder,
}

fn security(options: &[String]) -> Judged<Security> {
    if *options == builder::security_options() {
        return Ok(Security::Builder);
    }
    for option in options {
        if !matches!(option.as_str(), "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true") {
            let name = option.split(['=', ':']).next().unwrap_or_default();
            return refuse!(SecurityOption, "the security option {name:?} may not be set: only no-new-privileges may");
        }
    }
    Ok(if options.is_empty() { Security::Default } else { Security::NoNewPrivileges })
}

fn amount(fields: &mut Fields, key: &'static str, least: i64) -> Judged<i64> {
    let value = fields.int(key)?;
    if value < least {
        return refuse!(Limit, "HostConfig.{key} is less than {least}");
    }
    Ok(value)
}

fn ulimits(fields: &mut Fields) -> Judged<Vec<Ulimit>> {
    const NAMES: [&str; 8] = ["nofile", "nproc", "core", "stack", "memlock", "msgqueue", "rtprio", "sigpending"];
    fields
        .objects("Ulimits")?
        .into_iter()
        .map(|mut fields| {
            let limit = Ulimit { name: fields.text("Name")?, soft: fields.int("Soft")?, hard: fields.int("Hard")? };
            fields.finish()?;
            if !NAMES.contains(&limit.name.as_str()) {
                return refuse!(Ulimit, "the limit {:?} may not be set: {} may", limit.name, NAMES.join(", "));
            }
            if limit.soft < -1 || limit.hard < -1 {
                return refuse!(Ulimit, "the limit {} is out of range", limit.name);
            }
            Ok(limit)
        })
        .collect()
}

/// Reads `RestartPolicy`. Containers with `always` are restarted only a few times: they must not outlive their client.
fn restarts(fields: &mut Fields) -> Judged<i64> {
    let Some(mut policy) = fields.object("RestartPolicy")? else { return Ok(0) };
    let (name, count) = (policy.text("Name")?, policy.int("MaximumRetryCount")?);
    policy.finish()?;
    match name.as_str() {
        "" | "no" => Ok(0),
        "on-failure" if (1..=MOST_RESTARTS).contains(&count) => Ok(count),
        "on-failure" | "always" | "unless-stopped" => Ok(MOST_RESTARTS),
        other => refuse!(Restart, "{other:?} is not a restart policy"),
    }
}

fn addresses(texts: Vec<String>) -> Judged<Vec<String>> {
    match texts.iter().find(|text| text.parse::<IpAddr>().is_err()) {
        Some(text) => refuse!(Hosts, "{text:?} is not the address of a name server"),
        None => Ok(texts),
    }
}

fn is_word(text: &str) -> bool {
    text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

/// Reads `LogConfig`. Every other driver sends to an address, reads files of the host, or writes to the host's log.
fn log_driver(fields: &mut Fields) -> Judged<LogDriver> {
    let Some(mut config) = fields.object("LogConfig")? else { return Ok(LogDriver::File) };
    let driver = config.text("Type")?;
    let options = config.text_map("Config")?;
    config.finish()?;
    if let Some(option) =
        options.keys().find(|key| !matches!(key.as_str(), "max-size" | "max-file" | "compress" | "mode"))
    {
        return refuse!(Logging, "the log option {option:?} is not allowed");
    }
    match driver.as_str() {
        "" | "json-file" | "local" => Ok(LogDriver::File),
        "none" => Ok(LogDriver::None),
        other => refuse!(Logging, "the log driver {other:?} is not allowed: json-file, local and none are"),
    }
}

fn storage(fields: &mut Fields) -> Judged<Option<String>> {
    let mut options = fields.text_map("StorageOpt")?;
    let size = options.remove("size");
    match options.keys().next() {
        Some(option) => refuse!(Storage, "the storage option {option:?} is not allowed"),
        None => Ok(size),
    }
}
