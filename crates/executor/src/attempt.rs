//! Identifies an attempt of a job, and derives names from it.

use std::fmt::Display;

use longshore_agent_protocol::MemberId;
use longshore_core::JobId;

use crate::names::{ContainerName, NetworkName, VolumeName};

/// One attempt of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub job: JobId,
    /// Counts from 1.
    pub attempt: u32,
}

impl AttemptId {
    /// Returns the name of the job's container.
    #[must_use]
    pub fn container_name(&self) -> ContainerName {
        ContainerName::made(format!("longshore-{}-{}", self.job.short(), self.attempt))
    }

    /// Returns the name of a container beside the job's.
    #[must_use]
    pub fn member_name(&self, member: MemberId) -> ContainerName {
        ContainerName::made(format!("{}-{member}", self.container_name()))
    }

    /// Returns the name of the sandbox that serves a job with Docker alone.
    #[must_use]
    pub fn sandbox_name(&self, instance: impl Display) -> ContainerName {
        ContainerName::made(format!("longshore-sandbox-{instance}-{}-{}", self.job.short(), self.attempt))
    }

    /// Returns the name of the container with the guard of the job's Docker API.
    #[must_use]
    pub fn guard_name(&self) -> ContainerName {
        ContainerName::made(format!("{}-guard", self.container_name()))
    }

    /// Returns the name of the container with the job's builder.
    #[must_use]
    pub fn builder_name(&self) -> ContainerName {
        ContainerName::made(format!("{}-builder", self.container_name()))
    }

    /// Returns the name of the volume with what that builder has built.
    #[must_use]
    pub fn builder_volume_name(&self) -> VolumeName {
        VolumeName::made(format!("longshore-builder-{}-{}", self.job.short(), self.attempt))
    }

    /// Returns the name of the volume with the socket of the job's guard.
    #[must_use]
    pub fn socket_volume_name(&self) -> VolumeName {
        VolumeName::made(format!("longshore-docker-{}-{}", self.job.short(), self.attempt))
    }

    /// Returns a new name for the network of a job with Docker. An engine may still create the one that a killed server
    /// asked for, and it cannot use two networks of one name. The name sorts before those that the guard gives, so that
    /// engines keep the way to the world on this network when the sandbox joins others.
    #[must_use]
    pub fn new_network_name(&self) -> NetworkName {
        NetworkName::made(format!("{}-{:012x}", self.network_prefix(), rand::random::<u64>() >> 16))
    }

    /// Returns whether a name is one that [`new_network_name`](Self::new_network_name) gives.
    #[must_use]
    pub fn is_network_name(&self, name: &str) -> bool {
        // Earlier versions gave the prefix alone.
        name.strip_prefix(&self.network_prefix()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    fn network_prefix(&self) -> String {
        format!("longshore-docker-{}-{}", self.job.short(), self.attempt)
    }

    /// Returns the name of the volume with the workspace.
    #[must_use]
    pub fn volume_name(&self) -> VolumeName {
        VolumeName::made(format!("longshore-job-{}-{}", self.job.short(), self.attempt))
    }

    /// Returns the name of the volume with what the job writes, if its workspace is an overlay.
    #[must_use]
    pub fn upper_name(&self) -> VolumeName {
        VolumeName::made(format!("{}-upper", self.volume_name()))
    }

    /// Returns the name of the volume that the kernel needs beside it.
    #[must_use]
    pub(crate) fn work_name(&self) -> VolumeName {
        VolumeName::made(format!("{}-work", self.volume_name()))
    }
}
