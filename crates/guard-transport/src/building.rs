//! A build that is under way. The classic builder takes no limit of processes: what a build runs gets its limit when the engine tells
//! that it was created, before or just after it starts.

use std::sync::Arc;

use hyper::body::Incoming;
use longshore_guard::{EngineBody, EngineCall};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::handle::Failure;
use crate::lines::Values;
use crate::proxy::Proxy;

/// The turn of a build. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Building {
    _turn: OwnedMutexGuard<()>,
    _limited: DropGuard,
}

impl Proxy {
    /// Waits for a build's turn. What it runs is limited from here on.
    pub(crate) async fn begin_build(self: &Arc<Self>) -> Result<Building, Failure> {
        let turn = Arc::clone(&self.building).lock_owned().await;
        let label = self.guard().label().unwrap_or_default();
        let filters = format!(r#"{{"type":["container"],"event":["create"],"label":["{label}"]}}"#);
        let filters: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/events?filters={filters}");
        let call = EngineCall { method: "GET", path, body: EngineBody::Empty, credentials: None };
        let events = self.engine.send(&call, None, false).await.map_err(Failure::Engine)?;
        let stop = CancellationToken::new();
        let limited = stop.clone().drop_guard();
        let proxy = Arc::clone(self);
        self.tasks.spawn(stop.run_until_cancelled_owned(async move {
            if let Err(reason) = proxy.limit_created(events.into_body()).await {
                tracing::warn!(reason, "what a build runs has no limit of processes");
            }
        }));
        Ok(Building { _turn: turn, _limited: limited })
    }

    async fn limit_created(&self, events: Incoming) -> Result<(), String> {
        let mut events = Values::new(events);
        while let Some(created) = events.next().await? {
            for event in created {
                let Some(call) = self.guard().limit_of_build(&event) else { continue };
                let answer = self.engine.send(&call, None, false).await?;
                // One that has ended already needs no limit.
                if !answer.status().is_success() {
                    tracing::debug!(path = call.path, status = %answer.status(), "a container of a build is not limited");
                }
            }
        }
        Err("the engine's events ended".to_owned())
    }
}
