//! Tracks whether our own program runs on the engine, and has it delivered again if it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::Engine;

/// The health of the program on the engine.
pub(crate) struct AgentHealth {
    engine: Arc<dyn Engine>,
    /// It was delivered again because it did not run, and has not run since.
    renewed: AtomicBool,
}

impl AgentHealth {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, renewed: AtomicBool::new(false) }
    }

    /// Records that an agent answered.
    pub(crate) fn runs(&self) {
        self.renewed.store(false, Ordering::Relaxed);
    }

    /// Delivers the program to the engine again: it may be incomplete because the engine died or had no room at the
    /// time. Returns whether to try once more. If the second try fails too, the program itself must be at fault.
    pub(crate) async fn renew(&self) -> bool {
        if self.renewed.load(Ordering::Relaxed) || !self.engine.renew_agent().await {
            return false;
        }
        tracing::warn!("Longshore's own program did not run in a container: it is brought to the engine again");
        self.renewed.store(true, Ordering::Relaxed);
        true
    }
}
