//! Which try of which job something belongs to, and the names that follow from it.

use longshore_core::JobId;

use crate::names::{ContainerName, VolumeName};

/// One try of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
}

impl AttemptId {
    /// Name of the job's container.
    #[must_use]
    pub fn container_name(&self) -> ContainerName {
        ContainerName::made(format!("longshore-{}-{}", self.job.short(), self.attempt))
    }

    /// Name of the volume with workspace and spool.
    #[must_use]
    pub fn volume_name(&self) -> VolumeName {
        VolumeName::made(format!("longshore-job-{}-{}", self.job.short(), self.attempt))
    }
}
