//! Keeps room on the engine's disk: above the high mark jobs that should start wait, and what was used longest ago goes until the low
//! mark is reached: caches, workspaces that outlive their builds, and images that this server pulled. Nothing of others is touched, and nothing that is in use.
//!
//! The engine's disk is measured by a container of ours, at the start and then seldom, only after jobs have run. An idle server asks nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_core::{Timestamp, outcome::human_bytes};
use longshore_executor::{Executor, names::ImageId};
use longshore_store::{
    ChangeKind, Store, StoreError, caches,
    engine_room::{self, EngineDisk, PulledImage},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    cache_upkeep::UpkeepError,
    lasting::{self, Lasting},
    store_changes::changed,
};

/// The shortest time between two measurements while there is room.
const SELDOM: Duration = Duration::from_secs(5 * 60);
/// The time between two measurements while there is none.
const OFTEN: Duration = Duration::from_secs(15);

/// The marks, in percent of the engine's disk that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Above this, jobs wait and things go. 0 turns it off.
    pub(crate) high: u64,
    /// Things go until no more than this is taken.
    pub(crate) low: u64,
}

/// The engine's disk.
#[derive(Debug, Clone, Copy)]
struct Room {
    free: u64,
    total: u64,
}

impl Room {
    /// Returns how many percent are taken; a part of one counts as one.
    fn taken(self) -> u64 {
        100 - self.free.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100)
    }
}

/// Keeps room on the disk of one server's engine.
pub(crate) struct Disk {
    pub(crate) executor: Executor,
    pub(crate) store: Store,
    pub(crate) marks: Marks,
    /// Wakes the upkeep of caches, which removes the volumes of entries that are gone.
    pub(crate) caches_changed: Arc<Notify>,
}

/// Something that may go.
enum Candidate {
    Lasting(Lasting),
    Image(PulledImage),
}

impl Candidate {
    fn used_at(&self) -> Timestamp {
        match self {
            Self::Lasting(lasting) => lasting.used_at(),
            Self::Image(image) => image.used_at,
        }
    }
}

impl Disk {
    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        if let Err(error) = self.forget().await {
            tracing::warn!(%error, "what was measured before is shown until it is measured again");
        }
        let mut changes = self.store.changes();
        let work = async {
            let mut measured: Option<Instant> = None;
            let mut full = false;
            loop {
                if let Err(error) = self.note_images().await {
                    tracing::warn!(%error, "which images were pulled is not recorded");
                }
                let pause = if full { OFTEN } else { SELDOM };
                if self.marks.high > 0 && measured.is_none_or(|at| at.elapsed() >= pause) {
                    full = self.pass().await.unwrap_or_else(|error| {
                        tracing::warn!(%error, "the engine's disk is looked at again later");
                        full
                    });
                    measured = Some(Instant::now());
                }
                tokio::select! {
                    () = tokio::time::sleep(OFTEN), if full => {}
                    () = changed(&mut changes, ChangeKind::Build) => {}
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    async fn forget(&self) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        engine_room::forget_disk(&mut tx).await?;
        tx.commit().await.map(drop)
    }

    /// Records which images were pulled and used since the last time.
    async fn note_images(&self) -> Result<(), StoreError> {
        let used = self.executor.take_used_images();
        if used.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        for image in used {
            engine_room::note_image(&mut tx, image.name.as_str(), image.id.as_str(), image.pulled, Timestamp::now())
                .await?;
        }
        tx.commit().await.map(drop)
    }

    /// Measures, and makes room if there is none. Returns whether jobs wait for room.
    async fn pass(&self) -> Result<bool, UpkeepError> {
        let mut room = self.measure().await?;
        if self.is_full(room) {
            self.hold(room).await?;
            tracing::warn!(taken = room.taken(), high = self.marks.high, "the engine's disk is nearly full");
            let lasting = lasting::by_last_use(&self.store).await?.into_iter().map(Candidate::Lasting);
            let images = engine_room::images(&self.store).await?.into_iter().map(Candidate::Image);
            let mut candidates: Vec<Candidate> = lasting.chain(images).collect();
            candidates.sort_by_key(Candidate::used_at);
            let why = format!("the engine's disk was {}% full", room.taken());
            for candidate in candidates {
                if self.let_go(candidate, &why).await? {
                    room = self.measure().await?;
                    if room.taken() <= self.marks.low {
                        break;
                    }
                }
            }
        }
        self.hold(room).await?;
        Ok(self.is_full(room))
    }

    fn is_full(&self, room: Room) -> bool {
        room.taken() >= self.marks.high
    }

    /// Lets jobs that should start wait while the disk is full, and start otherwise.
    async fn hold(&self, room: Room) -> Result<(), StoreError> {
        let held = self.is_full(room).then(|| {
            format!(
                "the engine's disk is {}% full, and LONGSHORE_DISK_HIGH is {}%; free some space (see `docker system df`)",
                room.taken(),
                self.marks.high
            )
        });
        self.executor.hold_starts(held.clone());
        let mut tx = self.store.write().await?;
        engine_room::set_disk(&mut tx, &EngineDisk { free: room.free, total: room.total, held }).await?;
        tx.commit().await.map(drop)
    }

    async fn measure(&self) -> Result<Room, UpkeepError> {
        let (free, total) = self.executor.engine_disk().await?;
        Ok(Room { free, total })
    }

    /// Removes one thing unless it is in use. Returns whether it is gone.
    async fn let_go(&self, candidate: Candidate, why: &str) -> Result<bool, UpkeepError> {
        let (what, bytes) = match candidate {
            Candidate::Lasting(lasting) => {
                let sizes = caches::volume_sizes(&self.store).await?;
                if !lasting.let_go(&self.store).await? {
                    return Ok(false);
                }
                lasting.remove_volumes(&self.store, &self.executor).await?;
                self.caches_changed.notify_one();
                (lasting.name(), lasting.volumes().iter().filter_map(|volume| sizes.get(volume)).sum())
            }
            Candidate::Image(image) => {
                let Ok(id) = ImageId::new(image.id.as_str()) else { return Ok(false) };
                let removed = self.executor.remove_own_image(&image.name, &id).await?;
                if removed.is_some() || !self.executor.has_image(&image.name, &id).await? {
                    let mut tx = self.store.write().await?;
                    engine_room::forget_image(&mut tx, &image.name).await?;
                    tx.commit().await?;
                }
                let Some(bytes) = removed else { return Ok(false) };
                (format!("image {}", image.name), bytes)
            }
        };
        tracing::info!(what, bytes = human_bytes(bytes), "removed: {why}");
        let mut tx = self.store.write().await?;
        engine_room::note_removal(&mut tx, &what, bytes, why, Timestamp::now()).await?;
        tx.commit().await?;
        Ok(true)
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn what_is_taken_is_rounded_up_and_an_unknown_disk_is_not_full() {
        let taken = |free, total| Room { free, total }.taken();
        assert_eq!((taken(100, 1000), taken(101, 1000), taken(99, 1000)), (90, 90, 91));
        assert_eq!((taken(0, 1000), taken(1000, 1000), taken(0, 0)), (100, 0, 0));
    }
}
