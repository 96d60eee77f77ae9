//! `HostConfig`: what a container asks of the host. Settings that no client may ever have are refused while it is read
//! and cannot be represented in the type. The policy judges the rest.

mod read;
mod write;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) use self::read::port_of;
use crate::mounts::Mount;

/// The first network of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum NetworkMode {
    /// The default network.
    #[default]
    Default,
    None,
    /// The network namespace of another container.
    Container(String),
    Named(String),
}

/// How a container shares its IPC or PID namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Sharing {
    #[default]
    Own,
    Shareable,
    None,
    Container(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogDriver {
    /// The engine's own file, with a size limit. It is `json-file` because docker-py reads the output of no other
    /// driver.
    #[default]
    File,
    None,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// The container's port, such as `80/tcp`.
    pub(crate) port: String,
    pub(crate) address: Option<IpAddr>,
    /// Empty for any free port.
    pub(crate) host_port: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct HostConfig {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) tmpfs: BTreeMap<String, String>,
    pub(crate) volumes_from: Vec<String>,
    pub(crate) network: NetworkMode,
    pub(crate) links: Vec<String>,
    pub(crate) published: Vec<Published>,
    pub(crate) publish_all: bool,
    pub(crate) ipc: Sharing,
    pub(crate) pid: Sharing,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) no_new_privileges: bool,
    /// Whether its security options are those of a builder. Only the server sets them.
    pub(crate) is_builder: bool,
    pub(crate) memory: i64,
    pub(crate) memory_swap: i64,
    pub(crate) memory_reservation: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) cpu_shares: i64,
    pub(crate) cpu_period: i64,
    pub(crate) cpu_quota: i64,
    pub(crate) pids_limit: i64,
    pub(crate) shm_size: i64,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) sysctls: BTreeMap<String, String>,
    /// How often a container that fails is restarted.
    pub(crate) restarts: i64,
    pub(crate) auto_remove: bool,
    pub(crate) init: Option<bool>,
    pub(crate) read_only: bool,
    pub(crate) dns: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) log: LogDriver,
    /// The size of the container's own file system, on storage with quotas. Only the server sets it.
    pub(crate) disk: Option<String>,
    /// Set by the guard alone.
    pub(crate) cgroup_parent: String,
    pub(crate) oom_score: i64,
}
