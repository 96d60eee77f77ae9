//! Measures how much of the engine's disk a job uses besides its images, and ends its containers once that exceeds the
//! budget.
//!
//! The engine reports the size of the containers' own files. What it keeps of containers besides, and volumes, is read
//! in the folders that hold those of all containers and of all volumes, which no request of the job has to wait for: a
//! volume that one of Longshore's containers had mounted could not be removed. Measuring reads all their folders, so it
//! is done once a minute, and as soon as the disk has lost what the job has left. The free bytes of a disk are read
//! every second, which costs nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_guard::Policy;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::folder_bytes;
use crate::proxy::Proxy;

/// The longest time between two measurements.
const PERIOD: Duration = Duration::from_secs(60);
/// How often the disk's free bytes are read, and how often the containers of a job over its budget are ended again.
const LOOK: Duration = Duration::from_secs(1);
/// How long the engine may take to end a container.
const KILL: Duration = Duration::from_secs(30);
/// The guard measures for at most one part in this many of the time.
const SHARE: u32 = 5;

/// The folders in which the guard reads what the engine keeps.
struct Folders {
    volumes: PathBuf,
    containers: PathBuf,
}

impl Proxy {
    /// Measures again and again, until `stop`. Returns if there is nothing to measure.
    pub(crate) async fn watch_disk(self: Arc<Self>, stop: CancellationToken) {
        let disk = match self.guard().policy() {
            Policy::Job(policy) => policy.disk.clone().map(|disk| {
                (Folders { volumes: disk.folder.into(), containers: disk.containers.into() }, policy.budget.disk_bytes)
            }),
            Policy::Server(_) => None,
        };
        let Some((folders, most)) = disk.filter(|(_, most)| *most < u64::MAX) else { return };
        loop {
            let (begun, free) = (Instant::now(), free_bytes(&folders.volumes));
            let left = match self.measure_disk(&folders, &stop).await {
                Ok(bytes) => most.saturating_sub(bytes),
                Err(reason) => {
                    tracing::warn!(reason, "what the job takes of the disk cannot be measured now");
                    most
                }
            };
            let may_measure = begun + (begun.elapsed() * SHARE).max(LOOK);
            loop {
                tokio::time::sleep(LOOK).await;
                let lost = free.saturating_sub(free_bytes(&folders.volumes));
                if (lost >= left || begun.elapsed() >= PERIOD) && Instant::now() >= may_measure {
                    break;
                }
            }
        }
    }

    /// Returns how much the job uses. Over the budget, reports why the job ends, and from the next time on also ends
    /// its containers: by then a running server has ended the job, and does not take the end of a container for the
    /// reason.
    async fn measure_disk(&self, folders: &Folders, stop: &CancellationToken) -> Result<u64, String> {
        let Some(path) = self.guard().sizes_path() else { return Ok(0) };
        let list = self.engine.get(&path).await?.unwrap_or_default();
        let known = self.guard().over_disk();
        let over = match known {
            Some(refusal) => {
                // Whoever reads an archive of a container, and does not read on, keeps the engine from ending it.
                self.cut_clients(stop);
                self.end_containers(&list).await;
                refusal.reason
            }
            None => match self.judge_disk(folders, &path, &list).await? {
                Ok(bytes) => return Ok(bytes),
                Err(over) => over,
            },
        };
        self.over_disk.send_replace(Some(over));
        Ok(u64::MAX)
    }

    /// Ends the job's containers. One that starts meanwhile is ended the next time.
    async fn end_containers(&self, list: &Value) {
        let kills = self.guard().kills(list);
        let killed = kills.iter().map(async |kill| match tokio::time::timeout(KILL, self.engine.done(kill)).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => tracing::debug!(reason, "a container of the job goes on for now"),
            Err(_) => tracing::warn!(call = kill.path, "the engine does not end a container of the job"),
        });
        futures_util::future::join_all(killed).await;
    }

    /// Returns how much the job uses, or why it ends.
    async fn judge_disk(&self, folders: &Folders, path: &str, list: &Value) -> Result<Result<u64, String>, String> {
        let measured = self.guard().measured(list);
        if !measured.unmeasured.is_empty() {
            // A container that was about to be removed is gone by now, or said to be.
            let again = self.engine.get(path).await?.unwrap_or_default();
            if !self.guard().measured(&again).unmeasured.is_disjoint(&measured.unmeasured) {
                return Ok(Err(self.too_deep("its containers")));
            }
        }
        let of_volumes = measured.volumes.iter().map(|name| folders.volumes.join(name).join("_data"));
        let of_containers = measured.containers.iter().map(|id| folders.containers.join(id));
        let read: Vec<PathBuf> = of_volumes.chain(of_containers).collect();
        let read = tokio::task::spawn_blocking(move || {
            read.iter().map(|folder| folder_bytes::measure(folder)).sum::<io::Result<u64>>()
        });
        match read.await.map_err(|error| error.to_string())? {
            Ok(read) => {
                let bytes = read.saturating_add(measured.container_bytes);
                Ok(self.guard().judge_disk_bytes(bytes).map_or(Ok(bytes), Err))
            }
            // A job that nests folders this deep hides from the budget.
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Ok(Err(self.too_deep("its volumes"))),
            Err(error) => Err(error.to_string()),
        }
    }

    fn too_deep(&self, place: &str) -> String {
        self.guard().end_for_disk(format!("folders in {place} are nested too deep to be measured"))
    }
}

/// Returns the bytes that are free where the volumes are and where the containers' own files are. On one disk, the
/// bytes count twice, so it is only measured earlier.
fn free_bytes(volumes: &Path) -> u64 {
    let free = |path: &Path| rustix::fs::statvfs(path).map_or(0, |disk| disk.f_bfree.saturating_mul(disk.f_frsize));
    free(volumes).saturating_add(free(Path::new("/")))
}
