//! Limits for jobs of pull requests from forks, which never exceed those of other jobs.

use std::time::Duration;

use longshore_executor::{ArtifactLimits, Limits};

use super::{
    checks::{check_memory, check_pids},
    settings::MergedStrangers,
};

/// The limits of strangers' jobs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StrangerLimits {
    /// How many run at once.
    pub(crate) capacity: usize,
    pub(crate) limits: Limits,
}

impl MergedStrangers {
    /// Returns these limits, each restricted to the limit of all jobs.
    pub(super) fn within(&self, capacity: usize, all: &Limits) -> anyhow::Result<StrangerLimits> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let some = |given: u64| Some(given).filter(|given| *given > 0);
        let mib = |given: u64| some(given).map(|mib| mib.saturating_mul(1 << 20));
        let cpus = self.job_cpus;
        anyhow::ensure!(
            cpus == 0.0 || (0.01..=1024.0).contains(&cpus),
            "strangers.job_cpus is {cpus}: write how many processors such a job may use, such as 0.5 or 2, or 0 for all"
        );
        check_pids("strangers.job_pids", self.job_pids)?;
        check_memory("strangers.job_memory_mib", some(self.job_memory_mib))?;
        let limits = Limits {
            memory: [mib(self.job_memory_mib), all.memory].into_iter().flatten().min(),
            pids: u32::try_from(self.job_pids).unwrap_or(u32::MAX).min(all.pids),
            // The engine refuses more processors than it has.
            #[expect(clippy::cast_precision_loss, reason = "no machine has so many")]
            cpus: Some(cpus).filter(|cpus| *cpus > 0.0).map(|cpus| cpus.min(cores as f64)),
            disk: mib(self.job_disk_mib),
            time: some(self.job_minutes).map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
            log: mib(self.job_log_mib).map_or(all.log, |log| log.min(all.log)),
            artifacts: ArtifactLimits {
                job_bytes: mib(self.artifacts_job_mib)
                    .map_or(all.artifacts.job_bytes, |bytes| bytes.min(all.artifacts.job_bytes)),
                ..all.artifacts
            },
            capabilities: Vec::new(),
            ..all.clone()
        };
        let capacity = self.capacity.unwrap_or_else(|| capacity.div_ceil(2)).min(capacity);
        Ok(StrangerLimits { capacity, limits })
    }
}
