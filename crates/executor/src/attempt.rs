//! Identifies an attempt of a job, and derives names from it.

use longshore_agent_protocol::MemberId;
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

    /// The name of a container beside the job's.
    #[must_use]
    pub fn member_name(&self, member: MemberId) -> ContainerName {
        ContainerName::made(format!("{}-{member}", self.container_name()))
    }

    /// The name of the volume with the workspace.
    #[must_use]
    pub fn volume_name(&self) -> VolumeName {
        VolumeName::made(format!("longshore-job-{}-{}", self.job.short(), self.attempt))
    }
}
