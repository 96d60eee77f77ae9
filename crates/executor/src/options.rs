//! What an [`Executor`](crate::Executor) and a job are told once, before anything runs.

use std::path::PathBuf;
use std::time::Duration;

/// How jobs are run on an engine.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Sandboxes kept ready for jobs of no scope yet; 0 makes each on demand.
    pub sandboxes_ready: usize,
    /// Idle sandboxes kept at most, used ones included.
    pub sandbox_limit: usize,
    /// For short-lived processes: sandboxes outlive the process, are found again by their labels and locked by files in
    /// this folder. `None` keeps the pool in memory.
    pub runtime_dir: Option<PathBuf>,
    /// How long a job waits for an engine that went away before it is given up.
    pub patience: Duration,
    /// How long an agent may take to answer: it does within milliseconds; on a host that starts fifty others, within seconds.
    pub agent_patience: Duration,
    /// How long a pull is tried again while its registry is down or limits the rate.
    pub pull_patience: Duration,
}

impl Default for ExecutorOptions {
    /// A server's.
    fn default() -> Self {
        Self {
            sandboxes_ready: 1,
            sandbox_limit: 8,
            runtime_dir: None,
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
