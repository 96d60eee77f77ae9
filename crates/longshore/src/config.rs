//! The server's settings: flags, then `LONGSHORE_*` environment, then one TOML file, then the defaults.
//!
//! Flags and environment are clap's; this module reads the file and merges. Unknown keys in the file are errors.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use longshore_api::PublicUrl;
use longshore_executor::Limits;
use longshore_store::{retention::Retention, secrets::SecretKey};
use serde::Deserialize;

use crate::authorities::Authorities;

/// Deliveries hold whole webhooks, which nobody asks for after so many days.
const DELIVERY_DAYS: u32 = 90;

/// With less than that, in MiB, a job's container does not get as far as its first step.
const LEAST_MEMORY_MIB: u64 = 32;
/// The agent's threads and a shell, with something to spare.
const LEAST_PIDS: u64 = 32;

/// What `serve` takes as flags and from the environment. The same names, with `_`, are the file's keys.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where everything is kept: database, logs, mirrors, the first token
    #[arg(long, env = "LONGSHORE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(long, env = "LONGSHORE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// The engine's socket
    #[arg(long, env = "LONGSHORE_DOCKER_HOST", value_name = "URL")]
    docker_host: Option<String>,
    /// The address people and forges use, such as `https://ci.example.org`
    #[arg(long, env = "LONGSHORE_URL", value_name = "URL")]
    url: Option<String>,
    /// Authorities whose certificates are trusted besides the system's, as PEM; what `SSL_CERT_FILE` names where it is not given
    #[arg(long, env = "LONGSHORE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Other names that people reach the server by, such as `ci.lan, longshore.internal`
    #[arg(long, env = "LONGSHORE_HOSTS", value_name = "NAME,...")]
    hosts: Option<String>,
    /// A token with every scope; made at the first start where it is not given
    #[arg(long, env = "LONGSHORE_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
    /// The key that secrets are sealed with, 64 hexadecimal digits; made at the first use where it is not given
    #[arg(long, env = "LONGSHORE_SECRET_KEY", value_name = "KEY", hide_env_values = true)]
    secret_key: Option<String>,
    /// Jobs at once; the number of cores where it is not given
    #[arg(long, env = "LONGSHORE_CAPACITY", value_name = "N")]
    capacity: Option<usize>,
    /// Jobs that a build may have, after the matrix
    #[arg(long, env = "LONGSHORE_MAX_JOBS", value_name = "N")]
    max_jobs: Option<usize>,
    /// What jobs may ask for with `runs-on`, such as `disk=ssd, zone=dmz`; `arch` and `os` are known
    #[arg(long, env = "LONGSHORE_LABELS", value_name = "KEY=VALUE,...")]
    labels: Option<String>,
    /// Network namespaces kept ready for jobs to come
    #[arg(long, env = "LONGSHORE_SANDBOXES", value_name = "N")]
    sandboxes: Option<usize>,
    /// What `sandboxes` was called before
    #[arg(long, env = "LONGSHORE_BERTHS", value_name = "N", hide = true)]
    berths: Option<usize>,
    /// Memory limit of a job, in MiB; nine tenths of the host's where it is not given
    #[arg(long, env = "LONGSHORE_JOB_MEMORY_MIB", value_name = "MIB")]
    job_memory_mib: Option<u64>,
    /// Processes that a job may have at once
    #[arg(long, env = "LONGSHORE_JOB_PIDS", value_name = "N")]
    job_pids: Option<u64>,
    /// What a job may print, in MiB; it is ended at more. 0 is no limit
    #[arg(long, env = "LONGSHORE_JOB_LOG_MIB", value_name = "MIB")]
    job_log_mib: Option<u64>,
    /// What to log: error, warn, info, debug, or a filter such as info,longshore_executor=debug
    #[arg(long, env = "LONGSHORE_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Log lines as JSON
    #[arg(long, env = "LONGSHORE_LOG_JSON", value_name = "BOOL")]
    log_json: Option<bool>,
    #[command(flatten)]
    #[serde(default)]
    retention: RetentionSettings,
    #[command(flatten)]
    #[serde(default)]
    strangers: StrangerSettings,
}

/// What jobs of pull requests from forks get, approved or not. Never more than any job gets.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StrangerSettings {
    /// Strangers' jobs at once; half the capacity where it is not given
    #[arg(
        id = "strangers_capacity",
        long = "strangers-capacity",
        env = "LONGSHORE_STRANGERS_CAPACITY",
        value_name = "N"
    )]
    capacity: Option<usize>,
    /// Processors of a stranger's job, such as 1.5; 0 is no limit
    #[arg(
        id = "strangers_job_cpus",
        long = "strangers-job-cpus",
        env = "LONGSHORE_STRANGERS_JOB_CPUS",
        value_name = "N"
    )]
    job_cpus: Option<f64>,
    /// Memory limit of a stranger's job, in MiB
    #[arg(
        id = "strangers_job_memory_mib",
        long = "strangers-job-memory-mib",
        env = "LONGSHORE_STRANGERS_JOB_MEMORY_MIB",
        value_name = "MIB"
    )]
    job_memory_mib: Option<u64>,
    /// Processes that a stranger's job may have at once
    #[arg(
        id = "strangers_job_pids",
        long = "strangers-job-pids",
        env = "LONGSHORE_STRANGERS_JOB_PIDS",
        value_name = "N"
    )]
    job_pids: Option<u64>,
    /// What a stranger's job may take of the disk, in MiB, where the engine's storage can limit that; 0 is no limit
    #[arg(
        id = "strangers_job_disk_mib",
        long = "strangers-job-disk-mib",
        env = "LONGSHORE_STRANGERS_JOB_DISK_MIB",
        value_name = "MIB"
    )]
    job_disk_mib: Option<u64>,
    /// Minutes that a stranger's job may take, whatever its pipeline says; 0 is no limit
    #[arg(
        id = "strangers_job_minutes",
        long = "strangers-job-minutes",
        env = "LONGSHORE_STRANGERS_JOB_MINUTES",
        value_name = "N"
    )]
    job_minutes: Option<u64>,
    /// What a stranger's job may print, in MiB; 0 is no limit of its own
    #[arg(
        id = "strangers_job_log_mib",
        long = "strangers-job-log-mib",
        env = "LONGSHORE_STRANGERS_JOB_LOG_MIB",
        value_name = "MIB"
    )]
    job_log_mib: Option<u64>,
}

/// What strangers' jobs get.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForStrangers {
    /// At once.
    pub(crate) capacity: usize,
    pub(crate) limits: Limits,
}

impl StrangerSettings {
    /// Within what any job gets.
    fn resolve(&self, file: &Self, capacity: usize, all: &Limits) -> anyhow::Result<ForStrangers> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let some = |given: u64| Some(given).filter(|given| *given > 0);
        let mib = |given: u64| some(given).map(|mib| mib.saturating_mul(1 << 20));
        let cpus = self.job_cpus.or(file.job_cpus).unwrap_or(1.0);
        anyhow::ensure!(
            cpus == 0.0 || (0.01..=1024.0).contains(&cpus),
            "strangers.job_cpus is {cpus}: write how many processors such a job may use, such as 0.5 or 2, or 0 for all"
        );
        let pids = self.job_pids.or(file.job_pids).unwrap_or(1024);
        check_pids("strangers.job_pids", pids)?;
        let memory = self.job_memory_mib.or(file.job_memory_mib).unwrap_or(2048);
        check_memory("strangers.job_memory_mib", some(memory))?;
        let memory = mib(memory);
        let at_once = self.capacity.or(file.capacity).unwrap_or_else(|| capacity.div_ceil(2));
        let minutes = self.job_minutes.or(file.job_minutes).unwrap_or(30);
        let limits = Limits {
            memory: [memory, all.memory].into_iter().flatten().min(),
            pids: u32::try_from(pids).unwrap_or(u32::MAX).min(all.pids),
            // The engine refuses more than there are.
            #[expect(clippy::cast_precision_loss, reason = "no machine has so many")]
            cpus: Some(cpus).filter(|cpus| *cpus > 0.0).map(|cpus| cpus.min(cores as f64)),
            disk: mib(self.job_disk_mib.or(file.job_disk_mib).unwrap_or(10 * 1024)),
            time: some(minutes).map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
            log: mib(self.job_log_mib.or(file.job_log_mib).unwrap_or(64)).map_or(all.log, |log| log.min(all.log)),
            ..all.clone()
        };
        Ok(ForStrangers { capacity: at_once.min(capacity), limits })
    }
}

/// How much is kept; 0 keeps everything.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionSettings {
    /// Days that a build is kept after its end; 0 keeps it for ever
    #[arg(
        id = "retention_max_age_days",
        long = "retention-max-age-days",
        env = "LONGSHORE_RETENTION_MAX_AGE_DAYS",
        value_name = "N"
    )]
    max_age_days: Option<u32>,
    /// The newest builds of each repository that are kept; 0 keeps all
    #[arg(
        id = "retention_max_builds_per_repo",
        long = "retention-max-builds-per-repo",
        env = "LONGSHORE_RETENTION_MAX_BUILDS_PER_REPO",
        value_name = "N"
    )]
    max_builds_per_repo: Option<u64>,
    /// What all logs together may take, in MiB; 0 is no limit
    #[arg(
        id = "retention_max_log_mib",
        long = "retention-max-log-mib",
        env = "LONGSHORE_RETENTION_MAX_LOG_MIB",
        value_name = "MIB"
    )]
    max_log_mib: Option<u64>,
    /// Days that a webhook's delivery is kept after it became a build; 0 keeps it for ever
    #[arg(
        id = "retention_max_delivery_age_days",
        long = "retention-max-delivery-age-days",
        env = "LONGSHORE_RETENTION_MAX_DELIVERY_AGE_DAYS",
        value_name = "N"
    )]
    max_delivery_age_days: Option<u32>,
}

impl RetentionSettings {
    fn resolve(&self, file: &Self) -> Retention {
        let days = |days: Option<u32>| {
            days.filter(|days| *days > 0).map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60))
        };
        Retention {
            max_age: days(self.max_age_days.or(file.max_age_days)),
            max_builds_per_repo: self.max_builds_per_repo.or(file.max_builds_per_repo).filter(|count| *count > 0),
            max_log_bytes: self.max_log_mib.or(file.max_log_mib).filter(|mib| *mib > 0).map(|mib| mib << 20),
            max_delivery_age: days(self.max_delivery_age_days.or(file.max_delivery_age_days).or(Some(DELIVERY_DAYS))),
        }
    }
}

/// The settings in force.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) listen: String,
    pub(crate) docker_host: String,
    pub(crate) url: PublicUrl,
    pub(crate) authorities: Option<Authorities>,
    pub(crate) hosts: Vec<String>,
    pub(crate) admin_token: Option<String>,
    pub(crate) secret_key: Option<SecretKey>,
    pub(crate) capacity: usize,
    pub(crate) max_jobs: usize,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) sandboxes: usize,
    /// What any job gets.
    pub(crate) limits: Limits,
    pub(crate) strangers: ForStrangers,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    pub(crate) retention: Retention,
    /// To be said once there is a log.
    pub(crate) warnings: Vec<&'static str>,
}

/// Printed by `serve --print-config`: every key with its default.
pub(crate) const COMMENTED_DEFAULTS: &str = r#"# Longshore's settings. A flag (--listen) wins over the environment (LONGSHORE_LISTEN), which wins over this file.

# Where everything is kept: database, logs, mirrors, the first token.
data = "/var/lib/longshore"

# Address and port to listen on.
listen = "0.0.0.0:8080"

# The engine's socket.
docker_host = "unix:///var/run/docker.sock"

# The address people and forges use; stands in webhook addresses. Default: http://localhost and the port of `listen`.
# Behind a proxy it may have a path: https://example.org/ci.
#url = "https://ci.example.org"

# Authorities whose certificates are trusted besides the system's, as PEM: your own, if a git host has its certificate from it. Default:
# what SSL_CERT_FILE names, if that is set.
#ca_file = "/etc/longshore/ca.pem"

# Other names that people reach the server by. Pages and the API answer only to the address's, to these, to IP addresses, to
# `localhost` and to names without a dot; webhooks, health checks and /metrics to any.
#hosts = "ci.lan, longshore.internal"

# A token with every scope. Default: made at the first start, kept in the data folder as admin-token.
#admin_token = "lsh_..."

# The key that secrets are sealed with, 64 hexadecimal digits (openssl rand -hex 32). Default: made at the first use, kept in the
# data folder as secrets.key.
#secret_key = "0000000000000000000000000000000000000000000000000000000000000000"

# Jobs at once. Default: the number of cores.
#capacity = 4

# Jobs that a build may have, after the matrix.
max_jobs = 256

# What jobs may ask for with `runs-on`. A job that asks for anything else waits. `arch` (amd64, arm64) and `os` (linux) are known.
#labels = "disk=ssd, zone=dmz"

# Network namespaces kept ready for jobs to come. Default: 2, or the capacity where that is less.
#sandboxes = 2

# Memory limit of a job, in MiB. Default: nine tenths of the host's memory.
#job_memory_mib = 4096

# Processes that a job may have at once.
job_pids = 4096

# What a job may print, in MiB; 0 is no limit. It is ended at more.
job_log_mib = 1024

# What to log (error, warn, info, debug, or a filter such as "info,longshore_executor=debug"), and whether as JSON.
log = "info"
log_json = false

# What is kept. A build that is over goes, oldest first, with its logs, when it is over any of these limits; 0 is no limit. The newest
# build of a repository is kept whatever its age and size. Nothing else is touched: no build that is not over, no repository, no mirror.
[retention]
max_age_days = 0
max_builds_per_repo = 0
# What all logs together may take.
max_log_mib = 0
# A webhook's delivery, after it became a build or was found to ask for none.
max_delivery_age_days = 90

# What jobs of pull requests from forks get, approved or not; never more than any job gets.
[strangers]
# So many at once. Default: half the capacity, at least 1. 0 lets none run.
#capacity = 1
# Processors of one; 0 is no limit.
job_cpus = 1.0
# Its memory, in MiB; 0 is no limit of its own.
job_memory_mib = 2048
job_pids = 1024
# What its container and its workspace may take of the disk each, in MiB, where the engine's storage can limit that (overlay2 on xfs with
# project quotas, btrfs, zfs); 0 is no limit.
job_disk_mib = 10240
# Minutes that it may take, whatever its pipeline says; 0 is no limit.
job_minutes = 30
# What it may print, in MiB; it is ended at more. 0 is no limit of its own.
job_log_mib = 64
"#;

impl Settings {
    /// Merges flags and environment over the file over the defaults.
    pub(crate) fn resolve(self, file: Option<&Path>) -> anyhow::Result<Config> {
        let file = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the settings in {}", path.display()))?;
                toml::from_str::<Self>(&text).with_context(|| format!("in {}", path.display()))?
            }
            None => Self::default(),
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let listen = self.listen.or(file.listen).unwrap_or_else(|| "0.0.0.0:8080".to_owned());
        let port = listen.rsplit(':').next().unwrap_or("8080").to_owned();
        let capacity = self.capacity.or(file.capacity).unwrap_or(cores);
        anyhow::ensure!(capacity > 0, "capacity is 0: no job would ever start; give 1 or more");
        let url = self.url.or(file.url).unwrap_or_else(|| format!("http://localhost:{port}"));
        let url: PublicUrl = url.parse().map_err(|why| anyhow::anyhow!("url is {why}"))?;
        let max_jobs = self.max_jobs.or(file.max_jobs).unwrap_or(longshore_pipeline::limits::JOBS);
        anyhow::ensure!(max_jobs > 0, "max_jobs is 0: every build would be refused; give 1 or more");
        let job_memory_mib = self.job_memory_mib.or(file.job_memory_mib);
        check_memory("job_memory_mib", job_memory_mib)?;
        let job_pids = self.job_pids.or(file.job_pids).unwrap_or(4096);
        check_pids("job_pids", job_pids)?;
        let log = self.log.or(file.log).unwrap_or_else(|| "info".to_owned());
        check_log(&log)?;
        let berths = self.berths.or(file.berths);
        let mut warnings = Vec::new();
        if berths.is_some() {
            warnings.push(
                "the setting `berths` (LONGSHORE_BERTHS) is called `sandboxes` (LONGSHORE_SANDBOXES) now: rename it",
            );
        }
        let secret_key = self.secret_key.or(file.secret_key);
        let limits = Limits {
            memory: job_memory_mib.map(|mib| mib << 20),
            pids: u32::try_from(job_pids).unwrap_or(u32::MAX),
            log: match self.job_log_mib.or(file.job_log_mib).unwrap_or(1024) {
                0 => u64::MAX,
                mib => mib.saturating_mul(1 << 20),
            },
            ..Limits::default()
        };
        Ok(Config {
            data: self.data.or(file.data).unwrap_or_else(|| PathBuf::from(crate::DEFAULT_DATA)),
            listen,
            docker_host: self.docker_host.or(file.docker_host).unwrap_or_else(|| crate::DEFAULT_DOCKER_HOST.to_owned()),
            url,
            authorities: Authorities::read(self.ca_file.or(file.ca_file).as_deref())?,
            hosts: list(self.hosts.or(file.hosts).as_deref().unwrap_or_default()),
            admin_token: self.admin_token.or(file.admin_token),
            secret_key: secret_key.map(|key| key.parse()).transpose().map_err(anyhow::Error::msg)?,
            capacity,
            max_jobs,
            labels: labels(self.labels.or(file.labels).as_deref().unwrap_or_default())?,
            sandboxes: self.sandboxes.or(file.sandboxes).or(berths).unwrap_or_else(|| capacity.min(2)),
            strangers: self.strangers.resolve(&file.strangers, capacity, &limits)?,
            limits,
            log,
            log_json: self.log_json.or(file.log_json).unwrap_or(false),
            retention: self.retention.resolve(&file.retention),
            warnings,
        })
    }
}

fn check_memory(name: &str, mib: Option<u64>) -> anyhow::Result<()> {
    let mib = mib.unwrap_or(LEAST_MEMORY_MIB);
    anyhow::ensure!(
        (LEAST_MEMORY_MIB..1 << 32).contains(&mib),
        "{name} is {mib}: no job would start; give {LEAST_MEMORY_MIB} or more (it counts MiB: 4096 are 4 GiB)"
    );
    Ok(())
}

fn check_pids(name: &str, pids: u64) -> anyhow::Result<()> {
    anyhow::ensure!(pids >= LEAST_PIDS, "{name} is {pids}: no job would start; give {LEAST_PIDS} or more");
    Ok(())
}

/// A filter takes any word for a part of the program, which then logs everything, and all others nothing.
fn check_log(filter: &str) -> anyhow::Result<()> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    for part in filter.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        anyhow::ensure!(
            LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)),
            "log is `{filter}`, and `{level}` is no level: write error, warn, info or debug, or a filter such as info,longshore_executor=debug"
        );
    }
    Ok(())
}

/// The entries of `a, b`.
fn list(given: &str) -> Vec<String> {
    given.split([',', ' ']).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// The machine's own labels and those of `a=b, c=d`.
fn labels(given: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut all =
        BTreeMap::from([("arch".to_owned(), arch.to_owned()), ("os".to_owned(), std::env::consts::OS.to_owned())]);
    for label in given.split([',', ' ']).filter(|label| !label.is_empty()) {
        let (name, value) = label
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .with_context(|| format!("labels has `{label}`: write labels as `disk=ssd, zone=dmz`"))?;
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_defaults_are_a_valid_file_that_changes_nothing() {
        let file: Settings = toml::from_str(COMMENTED_DEFAULTS).unwrap();
        let from_file = file.resolve(None).unwrap();
        let defaults = Settings::default().resolve(None).unwrap();
        assert_eq!(format!("{from_file:?}"), format!("{defaults:?}"));
        let all = COMMENTED_DEFAULTS
            .lines()
            .map(|line| if line.starts_with("#") && line.contains(" = ") { &line[1..] } else { line })
            .collect::<Vec<_>>()
            .join("\n");
        toml::from_str::<Settings>(&all).unwrap();
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error_that_names_it() {
        let error = toml::from_str::<Settings>("capcity = 3").unwrap_err().to_string();
        assert!(error.contains("capcity"), "{error}");
    }

    #[test]
    fn labels_are_the_machines_own_and_those_that_are_given() {
        let found = labels("disk=ssd, zone=dmz").unwrap();
        assert_eq!((found["disk"].as_str(), found["zone"].as_str(), found["os"].as_str()), ("ssd", "dmz", "linux"));
        assert!(found.contains_key("arch") && labels("").unwrap().len() == 2);
        assert!(labels("disk").unwrap_err().to_string().contains("`disk`"));
    }

    #[test]
    fn strangers_get_less_than_others_and_never_more() {
        let of = |text: &str| toml::from_str::<Settings>(text).unwrap().resolve(None);
        let (all, strangers) = of("").map(|config| (config.limits, config.strangers)).unwrap();
        assert_eq!((all.memory, strangers.limits.memory), (None, Some(2 << 30)));
        assert!(
            strangers.limits.pids < all.pids && strangers.limits.log < all.log && strangers.limits.cpus == Some(1.0)
        );
        assert!(strangers.limits.time.is_some() && all.time.is_none());
        let config =
            of("capacity = 4\njob_memory_mib = 512\njob_pids = 50\njob_log_mib = 1\n[strangers]\ncapacity = 9\njob_memory_mib = 0").unwrap();
        let limits = config.strangers.limits;
        assert_eq!((limits.memory, limits.pids, limits.log), (Some(512 << 20), 50, 1 << 20));
        assert_eq!(config.strangers.capacity, 4);
        assert_eq!(of("capacity = 4").unwrap().strangers.capacity, 2);
        for (wrong, word) in [("job_cpus = -1.0", "job_cpus"), ("job_pids = 0", "job_pids"), ("job_cpu = 1", "job_cpu")]
        {
            let file = toml::from_str::<Settings>(&format!("[strangers]\n{wrong}"));
            let error = file.map_err(anyhow::Error::from).and_then(|file| file.resolve(None).map(drop)).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
    }

    #[test]
    fn a_value_that_nothing_could_run_with_is_refused_with_what_to_write() {
        for (text, says) in [
            ("max_jobs = 0", "1 or more"),
            ("capacity = 0", "1 or more"),
            ("job_memory_mib = 0", "32 or more"),
            ("job_memory_mib = 1", "32 or more"),
            ("job_memory_mib = 17592186044416", "MiB"),
            ("job_pids = 0", "32 or more"),
            ("[strangers]\njob_memory_mib = 1", "strangers.job_memory_mib is 1"),
            ("[strangers]\njob_pids = 1", "strangers.job_pids is 1"),
            ("log = 'nonsense'", "write error, warn, info or debug"),
            ("log = ''", "write error, warn, info or debug"),
            ("log = 'info,longshore_store=loud'", "`loud` is no level"),
            ("url = 'https://ci.example.org/?next=1'", "https://ci.example.org"),
            ("url = 'https://ci.example.org#top'", "https://ci.example.org"),
            ("url = 'https://'", "https://ci.example.org"),
            ("url = 'https://ci example.org'", "https://ci.example.org"),
            ("url = 'ci.example.org'", "http:// or https://"),
            ("url = 'https://example.org/api'", "such as `/ci`"),
            ("url = 'https://example.org/my ci'", "https://example.org/ci"),
            ("url = 'https://example.org/my%20ci'", "https://example.org/ci"),
        ] {
            let error = toml::from_str::<Settings>(text).unwrap().resolve(None).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        for text in
            ["log = 'warn'", "log = 'info,longshore_executor=debug'", "log = 'OFF'", "url = 'http://ci:8080/sub'"]
        {
            toml::from_str::<Settings>(text).unwrap().resolve(None).unwrap();
        }
    }

    #[test]
    fn the_name_before_of_a_setting_still_works_with_a_warning() {
        let config = toml::from_str::<Settings>("berths = 1\ncapacity = 8").unwrap().resolve(None).unwrap();
        assert_eq!((config.sandboxes, config.warnings.len()), (1, 1));
        let config = toml::from_str::<Settings>("berths = 1\nsandboxes = 3").unwrap().resolve(None).unwrap();
        assert_eq!((config.sandboxes, config.warnings.len()), (3, 1));
        assert!(config.warnings[0].contains("LONGSHORE_SANDBOXES"));
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("longshore.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\ncapacity = 3\n").unwrap();
        let flags = Settings { listen: Some("127.0.0.1:2".to_owned()), ..Settings::default() };
        let config = flags.resolve(Some(&path)).unwrap();
        assert_eq!((config.listen.as_str(), config.capacity), ("127.0.0.1:2", 3));
    }
}
