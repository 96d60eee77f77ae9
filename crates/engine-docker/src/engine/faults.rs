//! Why a container was not created or did not start, and what has to be looked up again.

use std::sync::atomic::Ordering;

use longshore_executor::EngineError;

use super::DockerEngine;
use crate::error::{engine_text, no_answer};
use crate::fault::Fault;
use crate::sandbox;

impl DockerEngine {
    /// Finds out why a guard was not created. It runs the agent's image, as a sandbox does, in a sandbox.
    pub(super) async fn fault_of_guard(&self, error: EngineError) -> EngineError {
        match Fault::of(&error) {
            Fault::ImageGone => {
                self.agent.forget().await;
                EngineError::Stale(Box::new(error))
            }
            Fault::SandboxGone
            | Fault::AgentMissing
            | Fault::AgentBroken
            | Fault::SocketGone
            | Fault::NetworkGone
            | Fault::SubnetTaken
            | Fault::NoContainerQuota
            | Fault::NoVolumeQuota
            | Fault::NameTaken
            | Fault::Other => self.fault_of_pod(error).await,
        }
    }

    /// Finds out why a job's container was not created or did not start.
    pub(super) async fn fault_of_pod(&self, error: EngineError) -> EngineError {
        match Fault::of(&error) {
            Fault::SandboxGone => EngineError::SandboxGone(error.to_string()),
            Fault::ImageGone => EngineError::ImageGone(error.to_string()),
            Fault::SocketGone => no_answer(engine_text(&error)),
            Fault::NameTaken => EngineError::NameTaken(error.to_string()),
            Fault::AgentMissing => {
                self.agent.forget().await;
                EngineError::Stale(Box::new(EngineError::AgentFailed(engine_text(&error).to_owned())))
            }
            Fault::AgentBroken => EngineError::AgentFailed(engine_text(&error).to_owned()),
            fault @ (Fault::NoContainerQuota | Fault::NoVolumeQuota) if self.quotas.refused(fault) => {
                EngineError::Stale(Box::new(error))
            }
            Fault::NoContainerQuota | Fault::NoVolumeQuota | Fault::NetworkGone | Fault::SubnetTaken | Fault::Other => {
                error
            }
        }
    }

    /// Finds out why a sandbox was not created or did not start.
    pub(super) async fn fault_of_sandbox(&self, error: EngineError) -> EngineError {
        // Engines before 25 use no network of whose name there are two, and a guard does not say that this is why.
        self.network.forget().await;
        if sandbox::refuses_loopback6(&error) && !self.without_loopback6.swap(true, Ordering::Relaxed) {
            tracing::info!(%error, "sandboxes have no ::1 on this engine");
            return EngineError::Stale(Box::new(error));
        }
        match Fault::of(&error) {
            // Someone has removed the image or the network since it was last checked.
            Fault::ImageGone => {
                self.agent.forget().await;
                EngineError::Stale(Box::new(error))
            }
            Fault::AgentMissing => {
                self.agent.forget().await;
                EngineError::Stale(Box::new(EngineError::AgentFailed(engine_text(&error).to_owned())))
            }
            Fault::NetworkGone => EngineError::Stale(Box::new(error)),
            Fault::AgentBroken => EngineError::AgentFailed(engine_text(&error).to_owned()),
            Fault::NameTaken => EngineError::NameTaken(error.to_string()),
            Fault::SandboxGone
            | Fault::SocketGone
            | Fault::SubnetTaken
            | Fault::NoContainerQuota
            | Fault::NoVolumeQuota
            | Fault::Other => error,
        }
    }
}
