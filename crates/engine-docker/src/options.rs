//! The options of a Docker engine: how it is reached, and what is kept on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use longshore_core::DeniedAddresses;
use longshore_executor::names::Instance;
use longshore_guard::JobSubnets;

/// The options of a [`DockerEngine`](crate::DockerEngine).
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// `unix:///var/run/docker.sock`.
    pub host: String,
    /// The name in our labels and the network's name: two instances on one engine never touch each other's objects.
    pub instance: Instance,
    /// The static program that becomes the agent; by default this process's own.
    pub executable: PathBuf,
    /// A sandbox that has not been used for this long ends and removes itself; `None` keeps it until it is removed.
    pub sandbox_idle: Option<Duration>,
    /// For short-lived processes: they store the executable's hash in this folder, and only one at a time brings the
    /// executable to the engine.
    pub runtime_dir: Option<PathBuf>,
    /// The network's own subnets (`10.88.0.0/20`), instead of one from the engine's address pools. A subnet of IPv6
    /// gives its containers addresses of both kinds.
    pub subnets: Vec<IpNet>,
    /// The range of the networks of jobs with Docker; `None` leaves their subnets to the engine.
    pub docker_subnet: Option<JobSubnets>,
    /// The addresses that jobs may not reach.
    pub denied: Vec<DeniedAddresses>,
    /// Ports at denied addresses that jobs may reach anyway, such as a proxy's.
    pub allowed: Vec<SocketAddr>,
}

impl DockerOptions {
    /// Returns the options of a server: the defaults for `instance` on the engine at `host`.
    #[must_use]
    pub fn new(host: impl Into<String>, instance: Instance) -> Self {
        Self {
            host: host.into(),
            instance,
            executable: PathBuf::from("/proc/self/exe"),
            sandbox_idle: None,
            runtime_dir: None,
            subnets: Vec::new(),
            docker_subnet: JobSubnets::DEFAULT.parse().ok(),
            denied: Vec::new(),
            allowed: Vec::new(),
        }
    }
}
