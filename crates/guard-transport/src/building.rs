//! A build that is under way. The classic builder takes no limit of processes: each container of a build gets its limit
//! when the engine reports that it was created, before or just after it starts. A build whose processes cannot be
//! limited any more is canceled.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use serde_json::Value;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::handle::Failure;
use crate::lines::Values;
use crate::proxy::Proxy;

/// The pause before a limit is set again; it doubles each time.
const PAUSE: Duration = Duration::from_millis(50);
/// How often that is repeated: for about three seconds in all.
const LIMIT_TRIES: usize = 6;
/// The time between two measurements of a build's images.
const BETWEEN_MEASURES: Duration = Duration::from_secs(2);

/// The turn of a build, of an archive of images or of a pull. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Building {
    _turn: OwnedMutexGuard<()>,
    /// Limits a build's containers and images; ends with the reason why it cannot. Only builds have it, because
    /// archives and pulls run nothing.
    limiting: Option<AbortOnDropHandle<String>>,
    /// Cuts the connection to the engine, which then ends the build.
    cut: DropGuard,
}

impl Building {
    fn with(turn: OwnedMutexGuard<()>, limiting: Option<AbortOnDropHandle<String>>) -> Self {
        Self { _turn: turn, limiting, cut: CancellationToken::new().drop_guard() }
    }

    /// Cut when the turn of the build is over.
    pub(crate) fn connection(&self) -> CancellationToken {
        self.cut.token().clone()
    }
}

impl Proxy {
    /// Waits for a build's turn. What it runs is limited from here on.
    pub(crate) async fn begin_build(self: &Arc<Self>) -> Result<Building, Failure> {
        let turn = Arc::clone(&self.building).lock_owned().await;
        let events = self.events_of_containers(&["create"]).await.map_err(Failure::Engine)?;
        let proxy = Arc::clone(self);
        let limiting = self.tasks.spawn(async move {
            let made = Notify::new();
            tokio::select! {
                reason = proxy.limit_created(events, &made) => reason,
                reason = proxy.measure_after(&made) => reason,
            }
        });
        Ok(Building::with(turn, Some(AbortOnDropHandle::new(limiting))))
    }

    /// Waits for the turn of an archive of images.
    pub(crate) async fn begin_load(&self) -> Building {
        Building::with(Arc::clone(&self.building).lock_owned().await, None)
    }

    /// Waits for the turn of a pull: each may take what is left of the budget.
    pub(crate) async fn begin_pull(&self) -> Building {
        Building::with(Arc::clone(&self.pulling).lock_owned().await, None)
    }

    /// Limits containers as they are created, and reports each on `made`. Returns why the build cannot go on.
    async fn limit_created(&self, mut events: Values, made: &Notify) -> String {
        let unlimited = |reason| format!("the processes of what it runs cannot be limited: {reason}");
        loop {
            let created = match events.next().await {
                Ok(Some(created)) => created,
                Ok(None) => return unlimited("the engine's events ended".to_owned()),
                Err(reason) => return unlimited(reason),
            };
            for event in created {
                match self.limit(&event).await {
                    Ok(true) => made.notify_one(),
                    Ok(false) => {}
                    Err(reason) => return unlimited(reason),
                }
            }
        }
    }

    /// Measures the images after each step that runs something, while the next one gets its limits, and also at
    /// intervals, because other steps copy and unpack files. Returns why the build cannot go on.
    async fn measure_after(&self, made: &Notify) -> String {
        loop {
            let _ = tokio::time::timeout(BETWEEN_MEASURES, made.notified()).await;
            if let Some(refusal) = self.guard().over_disk() {
                return refusal.reason;
            }
            match self.has_image_bytes_left().await {
                Ok(()) => {}
                Err(Failure::Refused(refusal)) => return refusal.reason,
                Err(Failure::Engine(reason)) => return format!("its images cannot be measured: {reason}"),
            }
        }
    }

    /// Limits a container, if it is one of a build. The engine's call fails if the container ends meanwhile, and the
    /// engine may still report it as running then.
    async fn limit(&self, created: &Value) -> Result<bool, String> {
        let Some(call) = self.guard().limit_of_build(created) else { return Ok(false) };
        let id = created["Actor"]["ID"].as_str().unwrap_or_default();
        let limit = async || {
            let status = self.engine.send(&call, None, false).await?.status();
            // One that has ended needs no limit. One that has not started does.
            match status.is_success() || self.has_ended(id).await {
                true => Ok(true),
                false => Err(format!("the engine answers {status}")),
            }
        };
        let again = ExponentialBuilder::default().with_min_delay(PAUSE).with_max_times(LIMIT_TRIES);
        limit.retry(again).await
    }
}

/// Does something for a build, if it is one, for as long as the build is within its limits.
pub(crate) async fn limited<T>(
    building: &mut Option<Building>,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let Some(limiting) = building.as_mut().and_then(|building| building.limiting.as_mut()) else { return work.await };
    let reason = tokio::select! {
        done = work => return done,
        reason = limiting => reason.unwrap_or_else(|error| error.to_string()),
    };
    Err(format!("the build is canceled, because {reason}"))
}
