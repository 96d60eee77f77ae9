//! What an [`Engine`](crate::Engine) and a job are told once, before anything runs.

use std::path::PathBuf;
use std::time::Duration;

/// How to reach the engine and what to keep on it.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// `unix:///var/run/docker.sock`.
    pub docker_host: String,
    /// The name in our labels and the network's name: two instances on one engine never touch each other's objects.
    pub instance: String,
    /// The static program that becomes the agent; by default this process's own.
    pub executable: PathBuf,
    /// Sandboxes kept ready for jobs of no scope yet; 0 makes each on demand.
    pub sandboxes_ready: usize,
    /// A sandbox that nobody has used for so long ends and removes itself; `None` keeps it until it is removed.
    pub sandbox_idle: Option<Duration>,
    /// Idle sandboxes kept at most, used ones included.
    pub sandbox_limit: usize,
    /// For short-lived processes: sandboxes outlive the process, are found again by their labels and locked by files in
    /// this folder. `None` keeps the pool in memory.
    pub runtime_dir: Option<PathBuf>,
    /// The network's own subnet (`10.88.0.0/20`) where the engine's address pools shall not be used.
    pub network_subnet: Option<String>,
    /// How long a job waits for an engine that went away before it is given up.
    pub patience: Duration,
    /// How long an agent may take to answer: it does within milliseconds; on a host that starts fifty others, within seconds.
    pub agent_patience: Duration,
    /// How long a pull is tried again while its registry is down or limits the rate.
    pub pull_patience: Duration,
}

impl EngineOptions {
    /// A server's defaults for `instance` on the engine at `docker_host`.
    #[must_use]
    pub fn new(docker_host: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            docker_host: docker_host.into(),
            instance: instance.into(),
            executable: PathBuf::from("/proc/self/exe"),
            sandboxes_ready: 1,
            sandbox_idle: None,
            sandbox_limit: 8,
            runtime_dir: None,
            network_subnet: None,
            patience: Duration::from_secs(15 * 60),
            agent_patience: Duration::from_secs(60),
            pull_patience: Duration::from_secs(90),
        }
    }
}

/// What a job's container may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Bytes of memory, swap included. `None`: nine tenths of the host's, so that a job that eats everything is killed
    /// before the host's own kernel has to choose a victim.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: u32,
    /// Processors; `None`: all.
    pub cpus: Option<f64>,
    /// Bytes of `/dev/shm`; `None`: the engine's 64 MiB.
    pub shm: Option<u64>,
    /// Bytes that its container and its volume may take each, where the engine's storage can limit that. `None`: no limit.
    pub disk: Option<u64>,
    /// How long it may take, whatever its plan says. `None`: what the plan says.
    pub time: Option<Duration>,
    /// Bytes that it may print; it is ended at more.
    pub log: u64,
    /// Between TERM and KILL.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            pids: 4096,
            cpus: None,
            shm: None,
            disk: None,
            time: None,
            log: 1 << 30,
            grace: Duration::from_secs(10),
        }
    }
}

/// When the registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Only for images that are not here.
    #[default]
    Missing,
    /// Always; an image that is here is used, with a note, if the registry cannot be reached.
    Always,
    Never,
}
