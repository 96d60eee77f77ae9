//! Settings of an [`Executor`](crate::Executor) and of a job, given once before anything runs.

use std::path::PathBuf;
use std::time::Duration;

pub use longshore_core::plan::PullPolicy;
use longshore_core::plan::Resources;

/// How jobs are run on an engine.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Number of sandboxes kept ready for jobs of any scope; 0 makes each on demand.
    pub sandboxes_ready: usize,
    /// Limit for idle sandboxes, including used ones.
    pub sandbox_limit: usize,
    /// For short-lived processes: sandboxes outlive the process, are found again by their labels and locked by files in
    /// this folder. `None` keeps the pool in memory.
    pub runtime_dir: Option<PathBuf>,
    /// How long a job waits for an engine that went away before it is given up.
    pub patience: Duration,
    /// How long an agent may take to answer. It answers within milliseconds, or within seconds on a host that is
    /// starting fifty others.
    pub agent_patience: Duration,
    /// How long a pull is retried while its registry is down or limits the rate.
    pub pull_patience: Duration,
}

impl Default for ExecutorOptions {
    /// The options of a server.
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

/// The limits of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Bytes of memory, including swap. `None`: nine tenths of the host's memory, so that a job that uses too much is
    /// killed before the host's own kernel has to choose a victim.
    pub memory: Option<u64>,
    /// Number of processes and threads.
    pub pids: u32,
    /// Number of processors; `None`: all.
    pub cpus: Option<f64>,
    /// Bytes of `/dev/shm`; `None`: the engine's 64 MiB.
    pub shm: Option<u64>,
    /// Bytes of disk for its container and for its volume, each, if the engine's storage can limit that. `None`: no
    /// limit.
    pub disk: Option<u64>,
    /// Upper limit for its timeout. `None`: the plan's timeout applies.
    pub time: Option<Duration>,
    /// Bytes of output; a job that prints more is ended.
    pub log: u64,
    /// Time between TERM and KILL.
    pub grace: Duration,
}

impl Limits {
    /// Returns what is asked for, within these limits.
    #[must_use]
    pub fn within(&self, asked: &Resources) -> Self {
        let least = |granted: Option<u64>, asked: Option<u64>| [granted, asked].into_iter().flatten().min();
        Self {
            memory: least(self.memory, asked.memory_bytes),
            pids: asked.pids.map_or(self.pids, |pids| pids.min(self.pids)),
            cpus: match (self.cpus, asked.cpu_millis.map(|millis| f64::from(millis) / 1000.0)) {
                (Some(granted), Some(asked)) => Some(granted.min(asked)),
                (granted, asked) => asked.or(granted),
            },
            shm: asked.shm_bytes.or(self.shm),
            disk: self.disk,
            time: self.time,
            log: self.log,
            grace: self.grace,
        }
    }
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
