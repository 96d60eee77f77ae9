//! Keeps room on the engine's disk: above the high mark new jobs wait, and the least recently used caches, workspaces
//! that outlive their builds, and images that this server pulled are removed until the low mark is reached. Nothing
//! that is in use is touched, and nothing that Longshore did not create.
//!
//! The engine's disk is measured by a container that the server starts, at the start and then only after jobs have run:
//! seldom while there is much room, and more often as the mark gets closer. An idle server makes no calls.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_core::{Timestamp, outcome::human_bytes};
use longshore_executor::{Capacity, EngineDisk, Executor, names::ImageId};
use longshore_store::{
    ChangeKind, Store, StoreError, caches,
    engine_room::{self, PulledImage},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    lasting::{self, Lasting, LastingError},
    store_changes::changed,
};

/// The shortest time between two measurements while there is much room.
const MIN_INTERVAL_WITH_ROOM: Duration = Duration::from_secs(5 * 60);
/// The time between two measurements while there is little or none.
const INTERVAL_WITHOUT_ROOM: Duration = Duration::from_secs(15);
/// The shortest time between two measurements, however much jobs leave.
const MIN_INTERVAL: Duration = Duration::from_secs(2);
/// With fewer bytes than this below the high mark there is little room: jobs may write as much before the next
/// measurement.
const LOW_BYTES: u64 = 20 << 30;
/// The same for inodes: a job may unpack a million files.
const LOW_INODES: u64 = 5_000_000;

/// The marks, in percent of the engine's disk that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Above this, jobs wait and things are removed. 0 turns it off.
    pub(crate) high: u64,
    /// Things are removed until no more than this is used.
    pub(crate) low: u64,
}

/// Returns how many percent of the disk are used: of its bytes or its inodes, whichever are scarcer.
fn percent_used(disk: EngineDisk) -> u64 {
    disk.bytes.percent_used().max(disk.inodes.percent_used())
}

/// Returns how much can still be used before a mark, in percent, is reached.
fn below_mark(capacity: Capacity, mark: u64) -> u64 {
    (capacity.total / 100 * mark).saturating_sub(capacity.used())
}

/// Returns how much more is used than a mark, in percent, allows.
fn above_mark(capacity: Capacity, mark: u64) -> u64 {
    capacity.used().saturating_sub(capacity.total / 100 * mark)
}

/// The last measurement.
#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Instant,
    full: bool,
    /// Whether the high mark is close.
    near: bool,
    /// The bytes that were left before the high mark.
    left: u64,
    /// The bytes of all caches and kept workspaces.
    lasting: u64,
}

impl Measured {
    fn of(disk: EngineDisk, high: u64, lasting: u64) -> Self {
        let left = below_mark(disk.bytes, high);
        let inodes_are_few = disk.inodes.total > 0 && below_mark(disk.inodes, high) < LOW_INODES;
        let near = left < LOW_BYTES || inodes_are_few;
        Self { at: Instant::now(), full: percent_used(disk) >= high, near, left, lasting }
    }

    /// Returns whether it is time to measure again, when caches and workspaces take this many bytes.
    fn is_due(self, now: Instant, lasting: u64) -> bool {
        let elapsed = now.saturating_duration_since(self.at);
        let pause = match self.full || self.near {
            _ if lasting.saturating_sub(self.lasting) > self.left / 4 => MIN_INTERVAL,
            true => INTERVAL_WITHOUT_ROOM,
            false => MIN_INTERVAL_WITH_ROOM,
        };
        elapsed >= pause
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

/// Something that may be removed.
enum Candidate {
    Lasting(Lasting),
    Image(PulledImage),
}

impl Candidate {
    /// Smaller is removed earlier.
    const fn order_of_removal(&self) -> (bool, Timestamp) {
        match self {
            Self::Lasting(lasting) => lasting.order_of_removal(),
            Self::Image(image) => (true, image.used_at),
        }
    }
}

impl Disk {
    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        if let Err(error) = self.forget().await {
            tracing::warn!(%error, "could not discard the last measurement of the engine's disk");
        }
        let mut changes = self.store.changes();
        let work = async {
            let mut measured: Option<Measured> = None;
            loop {
                if let Err(error) = self.note_images().await {
                    tracing::warn!(%error, "could not record which images were pulled");
                }
                let lasting = self.lasting_bytes().await;
                if self.marks.high > 0 && measured.is_none_or(|last| last.is_due(Instant::now(), lasting)) {
                    measured = match self.pass().await {
                        Ok(disk) => Some(Measured::of(disk, self.marks.high, self.lasting_bytes().await)),
                        Err(error) => {
                            tracing::warn!(%error, "could not check the engine's disk; it is tried again later");
                            let full = measured.is_some_and(|last| last.full);
                            Some(Measured { at: Instant::now(), full, near: false, left: u64::MAX, lasting })
                        }
                    };
                }
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL_WITHOUT_ROOM), if measured.is_some_and(|last| last.full) => {}
                    () = changed(&mut changes, ChangeKind::Build) => {}
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Returns the size of what is kept for later jobs, as far as it was measured.
    async fn lasting_bytes(&self) -> u64 {
        let sizes = caches::volume_sizes(&self.store).await;
        sizes.map_or(0, |sizes| sizes.values().fold(0, |sum, bytes| sum.saturating_add(*bytes)))
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

    /// Measures, and makes room if the disk is full. Returns the room after that.
    async fn pass(&self) -> Result<EngineDisk, LastingError> {
        let mut room = self.executor.engine_disk().await?;
        if self.is_full(room) {
            self.hold_starts_while_full(room).await?;
            tracing::warn!(taken = percent_used(room), high = self.marks.high, "the engine's disk is nearly full");
            let lasting = lasting::in_order_of_removal(&self.store).await?.into_iter().map(Candidate::Lasting);
            let images = engine_room::images(&self.store).await?.into_iter().map(Candidate::Image);
            let mut candidates: Vec<Candidate> = lasting.chain(images).collect();
            candidates.sort_by_key(Candidate::order_of_removal);
            let why = format!("the engine's disk was {}% full", percent_used(room));
            let mut over = above_mark(room.bytes, self.marks.low);
            for candidate in candidates {
                let Some(bytes) = self.release(candidate, &why).await? else { continue };
                over = over.saturating_sub(bytes);
                // The known sizes are not exact, and some sizes are unknown.
                if over == 0 || bytes == 0 {
                    room = self.executor.engine_disk().await?;
                    over = above_mark(room.bytes, self.marks.low);
                    if percent_used(room) <= self.marks.low {
                        self.hold_starts_while_full(room).await?;
                        return Ok(room);
                    }
                }
            }
            room = self.executor.engine_disk().await?;
        }
        self.hold_starts_while_full(room).await?;
        Ok(room)
    }

    fn is_full(&self, room: EngineDisk) -> bool {
        percent_used(room) >= self.marks.high
    }

    /// Makes jobs that are about to start wait while the disk is full, and lets them start otherwise.
    async fn hold_starts_while_full(&self, room: EngineDisk) -> Result<(), StoreError> {
        let held = self.is_full(room).then(|| why_held(room, self.marks.high));
        self.executor.hold_starts(held.clone());
        let Capacity { free, total } = room.bytes;
        let mut tx = self.store.write().await?;
        engine_room::set_disk(&mut tx, &engine_room::EngineDisk { free, total, held }).await?;
        tx.commit().await.map(drop)
    }

    /// Removes one candidate unless it is in use. Returns its size, if that is known; `None` if it stays.
    async fn release(&self, candidate: Candidate, why: &str) -> Result<Option<u64>, LastingError> {
        let (what, bytes) = match candidate {
            Candidate::Lasting(lasting) => {
                let sizes = caches::volume_sizes(&self.store).await?;
                if !lasting.release(&self.store).await? {
                    return Ok(None);
                }
                lasting.remove_volumes(&self.store, &self.executor).await?;
                self.caches_changed.notify_one();
                (lasting.name(), lasting.volumes().iter().filter_map(|volume| sizes.get(volume)).sum())
            }
            Candidate::Image(image) => {
                let Ok(id) = ImageId::new(image.id.as_str()) else { return Ok(None) };
                let removed = self.executor.remove_own_image(&image.name, &id).await?;
                if removed.is_some() || !self.executor.has_image(&image.name, &id).await? {
                    let mut tx = self.store.write().await?;
                    engine_room::forget_image(&mut tx, &image.name).await?;
                    tx.commit().await?;
                }
                let Some(bytes) = removed else { return Ok(None) };
                (format!("image {}", image.name), bytes)
            }
        };
        tracing::info!(what, bytes = human_bytes(bytes), "removed: {why}");
        let mut tx = self.store.write().await?;
        engine_room::note_removal(&mut tx, &what, bytes, why, Timestamp::now()).await?;
        tx.commit().await?;
        Ok(Some(bytes))
    }
}

fn why_held(EngineDisk { bytes, inodes }: EngineDisk, high: u64) -> String {
    let limit = format!("LONGSHORE_DISK_HIGH is {high}%");
    if bytes.percent_used() >= high {
        return format!(
            "the engine's disk is {}% full, and {limit}; free some space (see `docker system df`)",
            bytes.percent_used()
        );
    }
    format!(
        "the engine's disk has {}% of its inodes in use, and {limit}; remove folders of many small files (see `df -i`)",
        inodes.percent_used()
    )
}

#[cfg(test)]
mod unit {
    use super::*;

    const fn capacity(free: u64, total: u64) -> Capacity {
        Capacity { free, total }
    }

    #[test]
    fn what_is_taken_is_rounded_up_and_an_unknown_disk_is_not_full() {
        let used = |free, total| capacity(free, total).percent_used();
        assert_eq!((used(100, 1000), used(101, 1000), used(99, 1000)), (90, 90, 91));
        assert_eq!((used(0, 1000), used(1000, 1000), used(0, 0)), (100, 0, 0));
        let around = |free, mark| (below_mark(capacity(free, 1000), mark), above_mark(capacity(free, 1000), mark));
        assert_eq!((around(300, 85), around(150, 85), around(50, 85)), ((150, 0), (0, 0), (0, 100)));
    }

    #[test]
    fn a_disk_without_inodes_is_as_full_as_one_without_bytes_and_it_is_said_which() {
        let many_files = EngineDisk { bytes: capacity(900, 1000), inodes: capacity(40, 1000) };
        assert_eq!(percent_used(many_files), 96);
        assert!(why_held(many_files, 90).contains("96% of its inodes"), "{}", why_held(many_files, 90));
        let large_files = EngineDisk { bytes: capacity(40, 1000), inodes: capacity(900, 1000) };
        assert_eq!(percent_used(large_files), 96);
        assert!(why_held(large_files, 90).contains("96% full"), "{}", why_held(large_files, 90));
        // File systems that create inodes on demand report no number of them.
        let without = EngineDisk { bytes: capacity(900 << 30, 1000 << 30), inodes: capacity(0, 0) };
        assert_eq!(percent_used(without), 10);
        assert!(!Measured::of(without, 90, 0).near);
        assert!(Measured::of(EngineDisk { inodes: capacity(3_000_000, 16_000_000), ..without }, 90, 0).near);
        assert!(!Measured::of(EngineDisk { inodes: capacity(15_000_000, 16_000_000), ..without }, 90, 0).near);
    }

    #[test]
    fn the_closer_the_mark_is_the_sooner_it_is_measured_again() {
        let at = Instant::now();
        let due = |full, near, seconds, grown| {
            Measured { at, full, near, left: 2 * LOW_BYTES, lasting: 1000 }
                .is_due(at + Duration::from_secs(seconds), 1000 + grown)
        };
        assert!(!due(false, false, 299, 0) && due(false, false, 300, 0));
        assert!(!due(false, true, 14, 0) && due(false, true, 15, 0));
        assert!(!due(true, true, 14, 0) && due(true, true, 15, 0));
        assert!(!due(false, false, 2, LOW_BYTES / 2) && due(false, false, 2, LOW_BYTES / 2 + 1));
        assert!(!due(false, false, 1, LOW_BYTES));
    }
}
