//! Settings of an [`Executor`](crate::Executor) and of a job, given once before anything runs.

use std::path::PathBuf;
use std::time::Duration;

use longshore_agent_protocol::ArtifactLimits;
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
    /// Returns the options of a server.
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
    /// Limits of each of its processes, such as open files. A limit that is not named is the engine's default.
    pub ulimits: Vec<Ulimit>,
    /// Capabilities of its containers beyond those that every job has.
    pub capabilities: Vec<String>,
    /// Upper limit for its timeout. `None`: the plan's timeout applies.
    pub time: Option<Duration>,
    /// Bytes of output; a job that prints more is ended.
    pub log: u64,
    /// Time between TERM and KILL.
    pub grace: Duration,
    /// Limits of the files that it leaves.
    pub artifacts: ArtifactLimits,
}

impl Limits {
    /// Returns the requested resources, within these limits.
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
            ulimits: self.ulimits.clone(),
            capabilities: self.capabilities.clone(),
            time: self.time,
            log: self.log,
            grace: self.grace,
            artifacts: self.artifacts,
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
            ulimits: Vec::new(),
            capabilities: Vec::new(),
            time: None,
            log: 1 << 30,
            grace: Duration::from_secs(10),
            artifacts: ArtifactLimits::default(),
        }
    }
}

/// A limit of a process (`setrlimit`), for all processes of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    pub soft: u64,
    /// Up to where a process may raise it itself.
    pub hard: u64,
}

impl Ulimit {
    /// Those that can be set. Others would also hold for the agent, which runs as the container's first process, or
    /// count more than the container: `fsize` and `cpu` would end it, and `nproc` counts a user's processes on the
    /// whole host.
    const NAMES: [&str; 7] = ["core", "memlock", "msgqueue", "nofile", "rtprio", "sigpending", "stack"];
    /// The least number of open files: what the agent needs for its steps.
    const MIN_FILES: u64 = 256;

    /// Parses `nofile=65536` or `nofile=1024:65536`, as `docker run --ulimit` takes it: the hard limit is the soft one
    /// where only one is given.
    ///
    /// # Errors
    ///
    /// If the limit cannot be set: why, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not a limit: write NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:65536");
        let (name, values) = text.split_once('=').ok_or_else(form)?;
        if !Self::NAMES.contains(&name) {
            let instead =
                if name == "nproc" { "; the number of a job's processes is the setting job_pids" } else { "" };
            return Err(format!(
                "`{name}` cannot be set; the limits that can be set are {}{instead}",
                Self::NAMES.join(", ")
            ));
        }
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let parse = |value: &str| value.parse::<u64>().ok().filter(|value| i64::try_from(*value).is_ok());
        let (soft, hard) = parse(soft).zip(parse(hard)).ok_or_else(form)?;
        if soft > hard {
            return Err(format!("`{text}` has a soft limit above the hard one"));
        }
        if name == "nofile" && soft < Self::MIN_FILES {
            return Err(format!("`{text}` is too little for a job: give {} or more", Self::MIN_FILES));
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ulimit_is_read_as_docker_run_reads_it_and_one_that_would_end_the_agent_is_refused() {
        let nofile = |soft, hard| Ulimit { name: "nofile".to_owned(), soft, hard };
        assert_eq!(Ulimit::parse("nofile=65536"), Ok(nofile(65536, 65536)));
        assert_eq!(Ulimit::parse("nofile=1024:65536"), Ok(nofile(1024, 65536)));
        for (text, why) in [
            ("nofile", "NAME=SOFT"),
            ("nofile=", "NAME=SOFT"),
            ("nofile=-1", "NAME=SOFT"),
            ("nofile=99999999999999999999", "NAME=SOFT"),
            ("nofile=2000:1000", "above the hard one"),
            ("nofile=10:1000", "256 or more"),
            ("fsize=100", "cannot be set"),
            ("nproc=100", "job_pids"),
        ] {
            let refused = Ulimit::parse(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
