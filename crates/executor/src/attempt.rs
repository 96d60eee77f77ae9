//! Identifies an attempt of a job, and derives names from it.

use longshore_core::JobId;

use crate::names::{ContainerName, VolumeName};

/// One attempt of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub job: JobId,
    /// Counts from 1.
    pub attempt: u32,
}

impl AttemptId {
    /// The name of the job's container.
    #[must_use]
    pub fn container_name(&self) -> ContainerName {
        ContainerName::made(format!("longshore-{}-{}", self.job.short(), self.attempt))
    }

    /// The name of the volume with workspace and spool.
    #[must_use]
    pub fn volume_name(&self) -> VolumeName {
        VolumeName::made(format!("longshore-job-{}-{}", self.job.short(), self.attempt))
    }
}
