//! A job's caches: prepares their volumes before its container is created, and has them kept or removed after its end.
//!
//! A folder that begins with an entry is an overlay over the entry's volumes: there at once, whatever its size, and
//! what the job writes goes into a volume of its own. Where the engine has no overlays, the entry is copied into that
//! volume. Saving is keeping the job's own volume, as a new layer over the entry that it began with. Which entry is
//! saved where, and who reads it, is decided by the implementation of [`CacheRecords`](crate::CacheRecords).
//!
//! Every step can be repeated: the names of an attempt's volumes follow from the attempt, and the ones that exist show
//! what was mounted.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use longshore_core::outcome::human_bytes;
use longshore_core::plan::CacheSave;
use longshore_core::{BuildId, CachePath, Outcome};
use tokio::time::Instant;

use crate::accounts::User;
use crate::attempt::AttemptId;
use crate::engine::{Engine, Mounted, ToolSpec, VolumeContent, VolumeSpec};
use crate::error::EngineError;
use crate::lasting::job_caches::{JobCache, JobCaches, MAX_LAYERS};
use crate::names::VolumeName;
use crate::objects::ObjectId;
use crate::removing::removal::{Removals, ask_while_away, remove_patiently};
use crate::request::JobRequest;

/// The names of the volumes for one folder.
struct Names {
    /// What the job writes.
    own: VolumeName,
    /// What the kernel needs beside it.
    work: VolumeName,
    /// The overlay.
    view: VolumeName,
}

fn names(attempt: AttemptId, cache: usize, path: usize) -> Names {
    let name = |what: &str| {
        VolumeName::made(format!("longshore-cache-{}-{}-{cache}-{path}{what}", attempt.job.short(), attempt.attempt))
    };
    Names { own: name(""), work: name("-work"), view: name("-view") }
}

/// The volumes that an attempt's caches need.
pub(crate) struct Caches<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) build: BuildId,
    pub(crate) attempt: AttemptId,
    /// The most bytes in a volume.
    pub(crate) disk: Option<u64>,
    pub(crate) caches: &'a JobCaches,
}

impl<'a> Caches<'a> {
    pub(crate) fn of(engine: &'a dyn Engine, request: &'a JobRequest) -> Self {
        let (build, attempt, disk) = (request.build, request.attempt_id(), request.limits.disk);
        Self { engine, build, attempt, disk, caches: &request.caches }
    }

    /// Creates the volumes. Returns their mounts, and a line for each cache for the job's log.
    pub(crate) async fn prepare(&self, user: &User) -> Result<(Vec<Mounted>, Vec<String>), EngineError> {
        let (mut mounts, mut lines) = (Vec::new(), Vec::new());
        if self.caches.wanted.is_empty() {
            return Ok((mounts, lines));
        }
        if user.uid != 0
            && let Some(records) = &self.caches.records
        {
            records.owner(user.uid).await;
        }
        for (at, cache) in self.caches.wanted.iter().enumerate() {
            let begun = Instant::now();
            let targets = targets(cache, user)?;
            let (volumes, line) = self.prepare_one(at, cache).await?;
            mounts.extend(volumes.into_iter().zip(targets).zip(&cache.paths).map(|((volume, target), path)| Mounted {
                volume,
                target,
                fill_from_image: cache.found.is_none() && !path.is_in_workspace(),
            }));
            lines.push(line.replace("{ms}", &begun.elapsed().as_millis().to_string()));
        }
        Ok((mounts, lines))
    }

    async fn prepare_one(&self, at: usize, cache: &JobCache) -> Result<(Vec<VolumeName>, String), EngineError> {
        let key = &cache.key;
        let Some(found) = &cache.found else {
            let line = match cache.shared {
                true => {
                    format!("cache {key}: shared caches are only for this repository's own jobs, so it is empty here")
                }
                false => format!("cache {key}: nothing found"),
            };
            return Ok((self.fresh(at, cache).await?, line));
        };
        let size = found.bytes.map(|bytes| format!(" {}", human_bytes(bytes))).unwrap_or_default();
        if cache.shared {
            let volumes: Vec<VolumeName> = found.layers.iter().flatten().cloned().collect();
            try_join_all(volumes.iter().map(|name| self.create(name, VolumeContent::Lasting))).await?;
            return Ok((volumes, format!("cache {key}: shared,{size} in {{ms}} ms")));
        }
        let overlays = self.engine.has_overlays().await?;
        let layers = found.layers.iter().enumerate();
        let made = if overlays {
            try_join_all(layers.map(|(path, lower)| self.overlay(names(self.attempt, at, path), lower))).await
        } else {
            try_join_all(layers.map(|(path, lower)| self.copy(names(self.attempt, at, path), lower))).await
        };
        let how = if overlays { "restored" } else { "copied (this engine has no overlays)," };
        match made {
            Ok(volumes) if found.key == *key => Ok((volumes, format!("cache {key}: {how}{size} in {{ms}} ms"))),
            Ok(volumes) => Ok((volumes, format!("cache {key}: {how}{size} of {} in {{ms}} ms", found.key))),
            Err(EngineError::VolumeGone(why)) => {
                tracing::warn!(key, why, "the volumes of a cache are gone");
                if let Some(records) = &self.caches.records {
                    records.lost(at).await;
                }
                for path in 0..cache.paths.len() {
                    self.remove_overlay(&names(self.attempt, at, path)).await;
                }
                let line = format!("cache {key}: its volumes were deleted from the engine, so it starts empty");
                Ok((self.fresh(at, cache).await?, line))
            }
            Err(error) => Err(error),
        }
    }

    async fn fresh(&self, at: usize, cache: &JobCache) -> Result<Vec<VolumeName>, EngineError> {
        let all = (0..cache.paths.len()).map(|path| async move {
            let own = names(self.attempt, at, path).own;
            self.create(&own, VolumeContent::Lasting).await.map(|()| own)
        });
        try_join_all(all).await
    }

    async fn overlay(&self, names: Names, lower: &[VolumeName]) -> Result<VolumeName, EngineError> {
        tokio::try_join!(
            self.create(&names.own, VolumeContent::Lasting),
            self.create(&names.work, VolumeContent::Passing)
        )?;
        let content = VolumeContent::Overlay { upper: &names.own, work: &names.work, lower };
        self.create(&names.view, content).await?;
        Ok(names.view)
    }

    async fn copy(&self, names: Names, lower: &[VolumeName]) -> Result<VolumeName, EngineError> {
        let [lower] = lower else {
            return Err(EngineError::VolumeGone("it consists of layers, and this engine has no overlays".to_owned()));
        };
        self.create(&names.own, VolumeContent::Lasting).await?;
        copy(self.engine, lower, &names.own).await?;
        Ok(names.own)
    }

    async fn create(&self, name: &VolumeName, content: VolumeContent<'_>) -> Result<(), EngineError> {
        let owner = Some((self.build, self.attempt));
        let owner = owner.filter(|_| name.as_str().starts_with("longshore-cache-"));
        self.engine.create_volume(&VolumeSpec { name, owner, content, disk: self.disk }).await
    }

    async fn remove_overlay(&self, names: &Names) {
        for name in [&names.view, &names.work] {
            let volume = ObjectId::Volume(name.clone());
            // What is left is the attempt's, and goes with it.
            let _ = remove_patiently(&volume, || self.engine.remove(&volume)).await;
        }
    }

    /// Returns the mounts of what was prepared, for a container of another user.
    pub(crate) async fn mounts(&self, user: &User) -> Result<Vec<Mounted>, EngineError> {
        let mut mounts = Vec::new();
        if self.caches.wanted.is_empty() {
            return Ok(mounts);
        }
        let there = self.existing_volumes().await?;
        for (at, cache) in self.caches.wanted.iter().enumerate() {
            for (path, target) in targets(cache, user)?.into_iter().enumerate() {
                let names = names(self.attempt, at, path);
                let of_entry = || cache.found.as_ref()?.layers.get(path)?.first().cloned();
                let volume = match of_entry().filter(|_| cache.shared) {
                    Some(shared) => shared,
                    None if there.contains(&names.view) => names.view,
                    None => names.own,
                };
                mounts.push(Mounted { volume, target, fill_from_image: false });
            }
        }
        Ok(mounts)
    }

    async fn existing_volumes(&self) -> Result<BTreeSet<VolumeName>, EngineError> {
        Ok(self.engine.list_volumes(self.attempt).await?.into_iter().map(|volume| volume.name).collect())
    }

    /// Has the caches kept or removed, after every container of the attempt is gone. `outcome` is `None` for a job that
    /// nobody followed to its end.
    pub(crate) async fn finish(&self, removals: &Removals, outcome: Option<&Outcome>, patience: Duration) {
        let Some(records) = self.caches.records.clone().filter(|_| !self.caches.wanted.is_empty()) else { return };
        let Ok(there) = ask_while_away(patience, || self.existing_volumes()).await else {
            records.ended(Vec::new()).await;
            return;
        };
        let (mut own, mut above, mut passing) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (at, cache) in self.caches.wanted.iter().enumerate() {
            let mut layers = Vec::new();
            for path in 0..cache.paths.len() {
                let names = names(self.attempt, at, path);
                let mut of_path = vec![names.own.clone()];
                if there.contains(&names.view)
                    && let Some(lower) = cache.found.as_ref().and_then(|found| found.layers.get(path))
                {
                    of_path.extend(lower.iter().cloned());
                    above.insert(names.own.clone());
                }
                layers.push(of_path);
                own.extend([names.own].into_iter().filter(|name| there.contains(name)));
                passing.extend([names.view, names.work].into_iter().filter(|name| there.contains(name)));
            }
            let whole = layers.iter().all(|of_path| there.contains(&of_path[0]) && of_path.len() <= MAX_LAYERS);
            let is_exact = cache.found.as_ref().is_some_and(|found| found.key == cache.key);
            if whole && !is_exact && saves(cache, outcome) {
                records.save(at, layers).await;
            }
        }
        for name in passing {
            removals.now(&ObjectId::Volume(name), patience).await;
        }
        for name in records.ended(own).await.unwrap_or_default() {
            // One that is no layer above an entry has all files of the cache, and not only what the job has changed.
            if outcome.is_some() && !above.contains(&name) {
                removals.delete_files(&name).await;
            }
            removals.now(&ObjectId::Volume(name), patience).await;
        }
    }

    /// Removes what the attempt has written so far, because it is about to start once more.
    pub(crate) async fn discard(&self, removals: &Removals, patience: Duration) {
        if self.caches.wanted.is_empty() {
            return;
        }
        for at in 0..self.caches.wanted.len() {
            for path in 0..self.caches.wanted[at].paths.len() {
                let names = names(self.attempt, at, path);
                for name in [names.view, names.work, names.own] {
                    removals.now(&ObjectId::Volume(name), patience).await;
                }
            }
        }
    }
}

/// Returns whether a job with this outcome saves a cache, if there is something new in it.
fn saves(cache: &JobCache, outcome: Option<&Outcome>) -> bool {
    let wants = match (cache.save, outcome) {
        (CacheSave::Never, _) | (_, None) => false,
        (CacheSave::Always, Some(Outcome::Success | Outcome::Failure { .. } | Outcome::TimedOut { .. })) => true,
        (CacheSave::Success, Some(Outcome::Success)) => true,
        (CacheSave::Always | CacheSave::Success, Some(_)) => false,
    };
    wants && cache.may_save && !cache.shared
}

fn targets(cache: &JobCache, user: &User) -> Result<Vec<String>, EngineError> {
    let target = |path: &CachePath| {
        path.within_home(&user.home).ok_or_else(|| EngineError::Local {
            what: "a cache has no place in the container",
            reason: format!("`{path}`, where the user's home is `{}`: write another path", user.home),
        })
    };
    cache.paths.iter().map(target).collect()
}

/// Copies all files of a volume into another.
pub(crate) async fn copy(engine: &dyn Engine, from: &VolumeName, to: &VolumeName) -> Result<(), EngineError> {
    let tool = ToolSpec {
        arguments: &["copy", "/longshore/volumes/0", "/longshore/volumes/1"],
        read: std::slice::from_ref(from),
        write: std::slice::from_ref(to),
    };
    engine.run_tool(&tool).await.map(drop)
}
