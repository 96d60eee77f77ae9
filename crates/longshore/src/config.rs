//! The server's settings: flags, then `LONGSHORE_*` environment, then one TOML file, then the defaults.
//!
//! Every setting is defined once, in `settings.rs`. This module reads the file, refuses unusable values, and returns
//! the [`Config`] for `longshore serve`. Unknown keys in the file are errors.

mod checks;
mod definition;
mod listing;
mod object_store;
mod settings;
mod strangers;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use ipnet::IpNet;
use longshore_api::PublicUrl;
use longshore_core::{DeniedAddresses, ImageRef, RegistryHost};
use longshore_executor::{ArtifactLimits, Limits, PullPolicy};
use longshore_guard::JobSubnets;
use longshore_notification::Mail;
use longshore_object_store::ObjectStore;
use longshore_pipeline::image_rules::ImageRules;
use longshore_store::{retention::Retention, secrets::SecretKey};

pub(crate) use self::{
    checks::{capabilities, docker_subnet, subnets},
    listing::commented_defaults,
    settings::{S3Settings, Settings},
    strangers::StrangerLimits,
};
use self::{
    checks::{check_log, check_memory, check_pids, globs, job_env, labels, list, ulimits},
    settings::{Merged, MergedRetention},
};
use crate::{
    ca_certificates::CaCertificates,
    disk::Marks,
    runner::{DOCKER_REGISTRIES, DockerSettings},
    syslog::Syslog,
};

/// The effective settings.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) listen: String,
    pub(crate) docker_host: String,
    pub(crate) guard: WhenGuarded,
    pub(crate) guard_raw: bool,
    pub(crate) url: PublicUrl,
    pub(crate) ca_certificates: Option<CaCertificates>,
    pub(crate) hosts: Vec<String>,
    /// The mail server for notifications.
    pub(crate) mail: Option<Mail>,
    pub(crate) admin_token: Option<String>,
    pub(crate) secret_key: Option<SecretKey>,
    pub(crate) capacity: usize,
    pub(crate) images: ImageRules,
    /// What jobs with Docker may use.
    pub(crate) docker: DockerSettings,
    /// When registries are asked for images, where a plan does not say so.
    pub(crate) pull: PullPolicy,
    pub(crate) max_jobs: usize,
    /// How often repositories are checked for pushes without a webhook.
    pub(crate) check_every: Option<Duration>,
    pub(crate) labels: BTreeMap<String, String>,
    /// The operator's variables for all jobs.
    pub(crate) job_env: BTreeMap<String, String>,
    pub(crate) sandboxes: usize,
    /// What jobs may not reach.
    pub(crate) denied: Vec<DeniedAddresses>,
    /// The subnets of the jobs' network.
    pub(crate) subnets: Vec<IpNet>,
    /// The range of the networks of jobs with Docker.
    pub(crate) docker_subnet: Option<JobSubnets>,
    /// The limits of every job.
    pub(crate) limits: Limits,
    pub(crate) strangers: StrangerLimits,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    pub(crate) retention: Retention,
    pub(crate) audit_syslog: Option<Syslog>,
    /// The most bytes that all caches take.
    pub(crate) cache_budget: u64,
    /// Where the files of artifacts are, if not in the data folder.
    pub(crate) object_store: Option<ObjectStore>,
    /// How long artifacts are kept whose pipeline does not say so.
    pub(crate) artifact_age: Option<Duration>,
    /// When the engine's disk counts as full.
    pub(crate) disk: Marks,
    /// Warnings to log once the log is set up.
    pub(crate) warnings: Vec<&'static str>,
}

/// When a guard stands between the server and the engine's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenGuarded {
    /// Where the two can be two users.
    Auto,
    On,
    Off,
}

impl WhenGuarded {
    fn parse(text: &str) -> anyhow::Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" | "true" => Ok(Self::On),
            "off" | "false" => Ok(Self::Off),
            other => anyhow::bail!("the setting guard is `{other}`: write auto, on or off"),
        }
    }
}

/// Returns a setting unless it is empty: a variable that is set and empty, as files for many containers often have it,
/// counts as not set.
fn unless_empty(given: Option<String>) -> Option<String> {
    given.filter(|given| !given.trim().is_empty())
}

impl Merged {
    /// Returns the limits of every job.
    fn job_limits(&self) -> anyhow::Result<Limits> {
        check_memory("job_memory_mib", self.job_memory_mib)?;
        check_pids("job_pids", self.job_pids)?;
        Ok(Limits {
            memory: self.job_memory_mib.map(|mib| mib << 20),
            pids: u32::try_from(self.job_pids).unwrap_or(u32::MAX),
            capabilities: capabilities(self.job_capabilities.as_deref().unwrap_or_default())?,
            ulimits: ulimits(self.job_ulimits.as_deref().unwrap_or_default())?,
            log: match self.job_log_mib {
                0 => u64::MAX,
                mib => mib.saturating_mul(1 << 20),
            },
            artifacts: ArtifactLimits {
                file_bytes: self.artifacts_file_mib.saturating_mul(1 << 20),
                job_bytes: self.artifacts_job_mib.saturating_mul(1 << 20),
                files: self.artifacts_files,
            },
            ..Limits::default()
        })
    }
}

impl Settings {
    /// Reads the file of the settings, if there is one.
    fn of_file(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = file else { return Ok(Self::default()) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the settings in {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Merges flags, environment, file and defaults, in this order of precedence.
    pub(crate) fn resolve(self, file: Option<&Path>) -> anyhow::Result<Config> {
        let given = self.over(Self::of_file(file)?);
        check_log(&given.log)?;
        anyhow::ensure!(given.max_jobs > 0, "max_jobs is 0: every build would be refused; give 1 or more");
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let capacity = given.capacity.unwrap_or_else(cores);
        anyhow::ensure!(capacity > 0, "capacity is 0: no job would ever start; give 1 or more");
        let limits = given.job_limits()?;
        let port = given.listen.rsplit(':').next().unwrap_or("8080");
        let url = unless_empty(given.url).unwrap_or_else(|| format!("http://localhost:{port}"));
        let url: PublicUrl = url.parse().map_err(|why| anyhow::anyhow!("url is {why}"))?;
        let ca_certificates =
            CaCertificates::read(given.ca_file.as_deref().filter(|file| !file.as_os_str().is_empty()))?;
        let audit_syslog = unless_empty(given.audit_syslog)
            .map(|text| text.parse::<Syslog>().map_err(|why| anyhow::anyhow!("audit_syslog: {why}")))
            .transpose()?;
        let mail = mail(given.smtp_url, given.smtp_from, &url, ca_certificates.as_ref())?;
        let object_store = given.s3.object_store(ca_certificates.as_ref())?;
        let mut warnings = Vec::new();
        if given.berths.is_some() {
            warnings.push(
                "the setting `berths` (LONGSHORE_BERTHS) is called `sandboxes` (LONGSHORE_SANDBOXES) now: rename it",
            );
        }
        let allows_some_images = given.images_allow.is_some();
        Ok(Config {
            docker: DockerSettings {
                registries: registries(given.docker_registries.as_deref(), allows_some_images)?,
                local_images: !allows_some_images,
                image_bytes: Some(bytes_of(given.docker_images_max_mib)),
                disk_bytes: Some(bytes_of(given.docker_disk_max_mib)),
                builder: unless_empty(given.buildkit_image)
                    .map(|image| ImageRef::parse(&image).map_err(|why| anyhow::anyhow!("buildkit_image: {why}")))
                    .transpose()?,
                grant: None,
            },
            data: given.data,
            docker_host: given.docker_host,
            guard: WhenGuarded::parse(&given.guard)?,
            guard_raw: given.guard_raw,
            url,
            ca_certificates,
            mail,
            hosts: list(given.hosts.as_deref().unwrap_or_default()),
            admin_token: unless_empty(given.admin_token),
            secret_key: unless_empty(given.secret_key)
                .map(|key| key.parse())
                .transpose()
                .map_err(anyhow::Error::msg)?,
            capacity,
            images: ImageRules::new(&globs(given.images_allow.as_deref().unwrap_or_default()))
                .map_err(|why| anyhow::anyhow!("images_allow has {why}"))?,
            pull: given.pull.parse().map_err(|why| anyhow::anyhow!("the setting pull: {why}"))?,
            max_jobs: given.max_jobs,
            check_every: Some(Duration::from_secs(60 * u64::from(given.look_minutes))).filter(|every| !every.is_zero()),
            labels: labels(given.labels.as_deref().unwrap_or_default())?,
            job_env: job_env(given.job_env.as_deref().unwrap_or_default())?,
            sandboxes: given.sandboxes.or(given.berths).unwrap_or_else(|| capacity.min(2)),
            denied: DeniedAddresses::parse_list(&given.denied_addresses)
                .map_err(|why| anyhow::anyhow!("the setting denied_addresses: {why}"))?,
            subnets: subnets(given.network_subnet.as_deref().unwrap_or_default())?,
            docker_subnet: docker_subnet(&given.docker_subnet)?,
            strangers: given.strangers.within(capacity, &limits)?,
            limits,
            log: given.log,
            log_json: given.log_json,
            artifact_age: given.retention.artifact_age(),
            retention: given.retention.limits(),
            audit_syslog,
            disk: marks(given.disk.high, given.disk.low)?,
            object_store,
            cache_budget: bytes_of(given.cache.max_mib),
            warnings,
            listen: given.listen,
        })
    }
}

fn mail(
    smtp_url: Option<String>,
    smtp_from: Option<String>,
    url: &PublicUrl,
    ca_certificates: Option<&CaCertificates>,
) -> anyhow::Result<Option<Mail>> {
    let Some(smtp) = unless_empty(smtp_url) else { return Ok(None) };
    let own = ca_certificates.map(CaCertificates::own).unwrap_or_default();
    let from = unless_empty(smtp_from);
    Ok(Some(Mail::new(&smtp, from.as_deref(), url.host(), own)?))
}

/// Returns a limit in bytes. 0 is none.
fn bytes_of(mib: u64) -> u64 {
    match mib {
        0 => u64::MAX,
        mib => mib.saturating_mul(1 << 20),
    }
}

/// Returns the registries of jobs with Docker. Where an operator says which images jobs may use, none is one of them by
/// itself.
fn registries(given: Option<&str>, allows_some_images: bool) -> anyhow::Result<BTreeSet<String>> {
    let Some(given) = given else {
        let all = if allows_some_images { &[][..] } else { DOCKER_REGISTRIES };
        return Ok(all.iter().map(|&host| host.to_owned()).collect());
    };
    let parse = |host: String| {
        let host = host.parse::<RegistryHost>().map_err(|why| anyhow::anyhow!("docker_registries: {why}"))?;
        Ok(host.to_string())
    };
    list(given).into_iter().map(parse).collect()
}

fn marks(high: u64, low: u64) -> anyhow::Result<Marks> {
    anyhow::ensure!(high <= 99, "disk: high is {high}: give a percentage of at most 99, or 0 to turn it off");
    anyhow::ensure!(high == 0 || low < high, "disk: low is {low}, and has to be less than high ({high})");
    Ok(Marks { high, low })
}

impl MergedRetention {
    /// Returns the limits of retention. 0 means no limit.
    fn limits(&self) -> Retention {
        let some = |given: u64| Some(given).filter(|given| *given > 0);
        let days = |days: u32| some(days.into()).map(|days| Duration::from_secs(days * 24 * 60 * 60));
        Retention {
            max_age: days(self.max_age_days),
            max_builds_per_repo: some(self.max_builds_per_repo),
            max_log_bytes: some(self.max_log_mib).map(|mib| mib.saturating_mul(1 << 20)),
            max_delivery_age: days(self.max_delivery_age_days),
            max_audit_age: days(self.max_audit_age_days),
            max_artifact_bytes_per_repo: some(self.max_artifact_mib_per_repo).map(|mib| mib.saturating_mul(1 << 20)),
            keeps_expired: false,
        }
    }

    fn artifact_age(&self) -> Option<Duration> {
        let days = u64::from(self.max_artifact_age_days);
        (days > 0).then(|| Duration::from_secs(days * 24 * 60 * 60))
    }
}
