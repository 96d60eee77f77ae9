//! Remembers whether the engine's storage can limit the disk space of containers and volumes. The engine says so only
//! when it refuses a limit; a limit that it refused once is not asked for again.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::fault::Fault;

/// Both kinds of limits are asked for until the engine refuses one.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    no_containers: AtomicBool,
    no_volumes: AtomicBool,
}

impl Quotas {
    pub(crate) fn of_containers(&self) -> bool {
        !self.no_containers.load(Ordering::Relaxed)
    }

    pub(crate) fn of_volumes(&self) -> bool {
        !self.no_volumes.load(Ordering::Relaxed)
    }

    /// Records that the engine refused a limit. Returns whether that is new: then the same call without the limit may
    /// succeed.
    pub(crate) fn refused(&self, fault: Fault) -> bool {
        let (missing, what) = match fault {
            Fault::NoContainerQuota => (&self.no_containers, "containers"),
            Fault::NoVolumeQuota => (&self.no_volumes, "volumes"),
            Fault::SandboxGone
            | Fault::AgentMissing
            | Fault::AgentBroken
            | Fault::ImageGone
            | Fault::SocketGone
            | Fault::NetworkGone
            | Fault::SubnetTaken
            | Fault::NameTaken
            | Fault::Other => return false,
        };
        let news = !missing.swap(true, Ordering::Relaxed);
        if news {
            tracing::warn!(
                "the engine's storage cannot limit what {what} take of the disk: jobs run without that limit"
            );
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_storage_refused_once_is_not_asked_for_again_and_the_other_is() {
        let quotas = Quotas::default();
        assert!(!quotas.refused(Fault::Other) && quotas.of_containers());
        assert!(quotas.refused(Fault::NoContainerQuota) && !quotas.refused(Fault::NoContainerQuota));
        assert!(!quotas.of_containers() && quotas.of_volumes());
    }
}
