//! Keeps the caches, and the workspaces that are kept for other jobs, within their budget, beside jobs: measures what
//! was saved, removes what was least recently used, flattens entries of many layers, and removes caches' volumes that
//! belong to nobody. One pass after anything has changed; an idle server does nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use longshore_core::{JobId, Timestamp};
use longshore_executor::{AttemptId, EngineError, Executor, names::VolumeName};
use longshore_store::{
    ChangeKind, Store, StoreError,
    caches::{self, Entry},
    jobs, workspaces,
};
use tokio_util::sync::CancellationToken;

use crate::{
    caches::Caches,
    lasting::{self, Lasting, LastingError},
    store_changes::changed,
};

/// The pause between two passes, in which changes gather.
const PASS_PAUSE: Duration = Duration::from_secs(2);
/// A container that measures or copies, and has ended this long ago, is one whose process was killed.
const ABANDONED_AFTER: Duration = Duration::from_secs(10 * 60);
/// The pause between two measurements of a shared cache that jobs use all the time.
const WHILE_USED: Duration = Duration::from_secs(5 * 60);
/// Entries with more layers are flattened.
const MAX_LAYERS: usize = 6;

/// When a shared cache had been used last at the time its size was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LastUse {
    used_at: Timestamp,
    is_over: bool,
    measured: Instant,
}

impl LastUse {
    /// Returns whether the cache has to be measured again, because a job may have written since. While jobs keep using
    /// it, that is rare: it may have a million files.
    fn may_have_grown(self, before: Self) -> bool {
        let was_used = !before.is_over || before.used_at != self.used_at;
        was_used && (self.is_over || self.measured.saturating_duration_since(before.measured) >= WHILE_USED)
    }
}

/// The workspaces that are kept for other jobs.
#[derive(Default)]
struct Workspaces {
    volumes: BTreeSet<VolumeName>,
    /// The names of those that only jobs of strangers wait for.
    wanted_by_strangers: BTreeSet<String>,
}

/// Looks after the caches of one server, or of all runs of a user.
pub(crate) struct Upkeep {
    executor: Executor,
    caches: Caches,
    /// Whether the records are those of the jobs, too, so that they know whose workspaces are kept.
    with_workspaces: bool,
    /// The most bytes that all of it takes.
    budget: u64,
    /// The shared caches as they were when they were measured last, by volume.
    shared: Mutex<BTreeMap<String, LastUse>>,
}

impl Upkeep {
    pub(crate) fn new(executor: Executor, caches: Caches, with_workspaces: bool, budget: u64) -> Self {
        Self { executor, caches, with_workspaces, budget, shared: Mutex::default() }
    }

    /// Works whenever something has changed, until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut changes = self.caches.store().changes();
        let work = async {
            loop {
                if let Err(error) = self.pass().await {
                    tracing::warn!(%error, "cleaning up caches failed; it is tried again later");
                }
                tokio::time::sleep(PASS_PAUSE).await;
                tokio::select! {
                    () = self.caches.changed.notified() => {}
                    // Somebody may have removed one of its caches, or the repository.
                    () = changed(&mut changes, ChangeKind::Repo) => {}
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Ends the uses of attempts that no longer run, which a process that was killed has left behind.
    pub(crate) async fn end_uses(store: &Store, running: &BTreeSet<(JobId, u32)>) -> Result<(), StoreError> {
        let mut tx = store.write().await?;
        caches::end_all_but(&mut tx, running).await?;
        tx.commit().await.map(drop)
    }

    /// Makes passes until there is nothing left to do, for a process that does nothing else.
    pub(crate) async fn until_done(&self) -> Result<(), LastingError> {
        loop {
            self.pass().await?;
            // A flattened entry has to be measured, and leaves layers.
            if self.caches.changed.notified().now_or_never().is_none() {
                return Ok(());
            }
        }
    }

    /// Makes one pass.
    pub(crate) async fn pass(&self) -> Result<(), LastingError> {
        self.executor.remove_ended_tools(ABANDONED_AFTER).await?;
        self.caches.record_ended().await?;
        self.sweep().await?;
        // A full disk has no room for the container that measures, and needs the caches to shrink.
        let unmeasured = self.measure().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "could not measure caches; those of unknown size do not count");
            BTreeSet::new()
        });
        self.shrink(&unmeasured).await?;
        self.flatten().await?;
        Ok(())
    }

    /// Removes volumes that belong to nobody.
    async fn sweep(&self) -> Result<(), LastingError> {
        // The engine first: a volume that is made after this belongs to an attempt that the database knows by then.
        let there = self.executor.cache_volumes().await?;
        let owned = caches::owned(self.caches.store()).await?;
        let sizes = caches::volume_sizes(self.caches.store()).await?;
        let mut removed = Vec::new();
        for volume in there {
            let name = volume.name.to_string();
            let of_attempt = volume.attempt.is_some_and(|of| owned.attempts.contains(&(of.job, of.attempt)));
            let is_owned = of_attempt || owned.volumes.contains(&name);
            if !is_owned && lasting::remove_volume(&self.executor, &volume.name, &sizes).await {
                tracing::debug!(volume = name, "removed a layer of a cache that nobody needs");
                removed.push(name);
            }
        }
        if !removed.is_empty() {
            let mut tx = self.caches.store().write().await?;
            caches::forget_sizes(&mut tx, &removed).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Measures volumes whose size is not known. Volumes of shared caches grow, so they are measured again after they
    /// have been used. Returns the volumes that cannot be measured.
    async fn measure(&self) -> Result<BTreeSet<String>, LastingError> {
        let store = self.caches.store();
        let (known, entries) = (caches::volume_sizes(store).await?, caches::by_last_use(store).await?);
        // After the entries: who begins with one meanwhile still uses it.
        let in_use = caches::in_use(store).await?;
        let grown = self.grown(&entries, &in_use);
        let mut unknown = without_size(&entries, &known);
        unknown.extend(grown.keys().cloned());
        let workspaces = self.workspaces().await?.volumes;
        let workspaces = workspaces.into_iter().filter(|volume| !known.contains_key(volume.as_str()));
        let there: BTreeSet<VolumeName> =
            if unknown.is_empty() { BTreeSet::new() } else { self.volumes_there().await? };
        let entries = unknown.into_iter().filter_map(|name| there.get(&VolumeName::new(name).ok()?).cloned());
        let volumes: Vec<VolumeName> = entries.chain(workspaces).collect();
        if volumes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let sizes = self.executor.measure_volumes(&volumes).await?;
        let (mut measured, mut unmeasured) = (Vec::new(), BTreeSet::new());
        for (volume, size) in volumes.iter().map(ToString::to_string).zip(sizes) {
            match size {
                Ok(bytes) => measured.push((volume, bytes)),
                Err(why) => {
                    tracing::warn!(volume, why, "could not measure a volume; the cache in it is removed");
                    unmeasured.insert(volume);
                }
            }
        }
        let mut tx = store.write().await?;
        caches::set_sizes(&mut tx, &measured).await?;
        tx.commit().await?;
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).extend(grown);
        Ok(unmeasured)
    }

    /// Returns the volumes of shared caches that jobs may have written into since they were measured.
    fn grown(&self, entries: &[Entry], in_use: &BTreeSet<String>) -> BTreeMap<String, LastUse> {
        let mut shared: BTreeMap<String, LastUse> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.shared) {
            for volume in entry.layers.iter().flatten() {
                let is_over = !in_use.contains(volume);
                shared.insert(volume.clone(), LastUse { used_at: entry.used_at, is_over, measured: Instant::now() });
            }
        }
        let mut before = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        before.retain(|volume, _| shared.contains_key(volume));
        shared.retain(|volume, now| before.get(volume).is_none_or(|before| now.may_have_grown(*before)));
        shared
    }

    async fn volumes_there(&self) -> Result<BTreeSet<VolumeName>, LastingError> {
        Ok(self.executor.cache_volumes().await?.into_iter().map(|volume| volume.name).collect())
    }

    /// Returns the workspaces that are kept for other jobs, except those that jobs are writing.
    async fn workspaces(&self) -> Result<Workspaces, LastingError> {
        if !self.with_workspaces {
            return Ok(Workspaces::default());
        }
        // The database first: a workspace that is made after this belongs to a job that began meanwhile.
        let kept = workspaces::kept(self.caches.store()).await?;
        let running = jobs::running(self.caches.store()).await?;
        let running: BTreeSet<(JobId, u32)> =
            running.into_iter().map(|running| (running.job.id, running.job.attempt)).collect();
        let is_over = |of: &AttemptId| {
            let of = (of.job, of.attempt);
            kept.contains(&of) && !running.contains(&of)
        };
        let there = self.executor.kept_workspaces().await?;
        let volumes = there.into_iter().filter(|volume| volume.attempt.as_ref().is_some_and(is_over));
        let name = |&(job, attempt): &(JobId, u32)| AttemptId { job, attempt }.volume_name().to_string();
        Ok(Workspaces {
            volumes: volumes.map(|volume| volume.name).collect(),
            wanted_by_strangers: kept.wanted_by_strangers.iter().map(name).collect(),
        })
    }

    /// Removes entries until the rest fits into the budget: what strangers left, then what was least recently used.
    /// Entries that cannot be measured are removed before them: they may take any size. Workspaces that jobs wait for
    /// stay, and count, unless only strangers wait for them: whoever opens a pull request could push out everything.
    async fn shrink(&self, unmeasured: &BTreeSet<String>) -> Result<(), LastingError> {
        let sizes = caches::volume_sizes(self.caches.store()).await?;
        let mut kept = Vec::new();
        for lasting in lasting::in_order_of_removal(self.caches.store()).await? {
            let unknown = lasting.volumes().iter().any(|volume| unmeasured.contains(volume));
            if !unknown || !self.release(&lasting, "it cannot be measured").await? {
                kept.push(lasting);
            }
        }
        // Entries that were released are not kept any more, so they are not among these.
        let lasting: BTreeSet<String> = kept.iter().flat_map(Lasting::volumes).collect();
        let workspaces = self.workspaces().await?;
        let wanted: BTreeSet<String> =
            workspaces.volumes.iter().map(ToString::to_string).filter(|volume| !lasting.contains(volume)).collect();
        let total = |kept: &[Lasting]| {
            // A volume that several entries have counts once.
            let volumes: BTreeSet<String> =
                kept.iter().flat_map(Lasting::volumes).chain(wanted.iter().cloned()).collect();
            volumes.difference(&workspaces.wanted_by_strangers).filter_map(|volume| sizes.get(volume)).sum::<u64>()
        };
        let mut at = 0;
        while total(&kept) > self.budget && at < kept.len() {
            if self.release(&kept[at], "what is kept for later jobs takes more than its budget").await? {
                kept.remove(at);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Removes something unless it is in use. Returns whether it is gone.
    async fn release(&self, lasting: &Lasting, why: &str) -> Result<bool, LastingError> {
        let gone = lasting.release(self.caches.store()).await?;
        if gone {
            tracing::info!(what = lasting.name(), "removed: {why}");
            lasting.remove_volumes(self.caches.store(), &self.executor).await?;
        }
        Ok(gone)
    }

    /// Copies the layers of one entry that has many into a single volume, which stands for them in every entry. The
    /// next sweep removes the layers, once nobody uses them, and the next pass goes on with the next entry.
    async fn flatten(&self) -> Result<(), LastingError> {
        let too_many = |entry: Entry| {
            let names =
                entry.layers.iter().filter(|layers| layers.len() > MAX_LAYERS).min_by_key(|layers| layers.len())?;
            Some((names.clone(), entry))
        };
        let entries = caches::by_last_use(self.caches.store()).await?;
        let mut deep: Vec<(Vec<String>, Entry)> = entries.into_iter().filter_map(too_many).collect();
        // Those with more have mostly the same ones below.
        deep.sort_by_key(|(names, _)| names.len());
        for (names, entry) in deep {
            let volumes = names.iter().map(|name| VolumeName::new(name.as_str()).ok());
            let Some(layers) = volumes.collect::<Option<Vec<_>>>() else { continue };
            let begun = Instant::now();
            let flat = match self.executor.flatten_layers(&layers).await {
                Ok(flat) => flat,
                // An entry that cannot be copied now can never be, and each pass would try it again.
                Err(error @ (EngineError::Local { .. } | EngineError::VolumeGone(_))) => {
                    tracing::warn!(key = entry.key, %error, "a cache cannot be flattened");
                    self.release(&Lasting::Cache(entry), "it cannot be flattened").await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut tx = self.caches.store().write().await?;
            let changed = caches::flatten(&mut tx, &names, flat.as_str()).await?;
            tx.commit().await?;
            tracing::debug!(key = entry.key, changed, ms = begun.elapsed().as_millis(), "flattened a cache");
            if changed == 0 {
                self.executor.remove_volume(&flat).await;
            }
            self.caches.changed.notify_one();
            return Ok(());
        }
        Ok(())
    }
}

/// Returns the volumes of caches whose sizes nobody knows yet. Shared caches change all the time, and do not count.
pub(crate) async fn unmeasured(store: &Store) -> Result<BTreeSet<String>, StoreError> {
    Ok(without_size(&caches::by_last_use(store).await?, &caches::volume_sizes(store).await?))
}

fn without_size(entries: &[Entry], known: &BTreeMap<String, u64>) -> BTreeSet<String> {
    let volumes = entries.iter().filter(|entry| !entry.shared).flat_map(|entry| entry.layers.iter().flatten());
    volumes.filter(|volume| !known.contains_key(*volume)).cloned().collect()
}

/// Ends the uses of runs that ended long ago without saying so.
pub(crate) async fn end_old_uses(store: &Store, older_than: Duration) -> Result<(), StoreError> {
    let before = Timestamp::now().as_millis() - i64::try_from(older_than.as_millis()).unwrap_or(i64::MAX);
    let mut tx = store.write().await?;
    caches::end_before(&mut tx, Timestamp::from_millis(before)).await?;
    tx.commit().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_cache_is_measured_again_after_it_was_used_and_seldom_while_it_is() {
        let begun = Instant::now();
        let last = |used_at, is_over, seconds| LastUse {
            used_at: Timestamp::from_millis(used_at),
            is_over,
            measured: begun + Duration::from_secs(seconds),
        };
        let measured = last(1, true, 0);
        assert!(!last(1, true, 1000).may_have_grown(measured), "nobody has used it");
        assert!(last(2, true, 1).may_have_grown(measured), "a job has used it and is over");
        assert!(!last(2, false, 299).may_have_grown(measured) && last(2, false, 300).may_have_grown(measured));
        let while_used = last(2, false, 0);
        assert!(last(2, true, 1).may_have_grown(while_used), "the job that used it is over");
        assert!(!last(2, false, 299).may_have_grown(while_used) && last(3, false, 300).may_have_grown(while_used));
    }
}
