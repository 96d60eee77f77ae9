//! Volumes that are kept for later jobs and may be removed when there is no room: entries of caches, and workspaces
//! that outlive their builds. Used by `cache_upkeep`, for the budget, and by `disk`, for the engine's disk.

use std::collections::BTreeMap;

use longshore_core::Timestamp;
use longshore_executor::{AttemptId, EngineError, Executor, names::VolumeName};
use longshore_store::{
    Store, StoreError,
    caches::{self, Entry},
    workspaces::{self, Lasting as LastingWorkspace},
};

/// A volume of this many bytes, or of an unknown number, may have so many files that the engine starts no jobs while it
/// deletes them.
const MANY_FILES_BYTES: u64 = 8 << 20;

/// Why work on kept volumes broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LastingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Something that is kept for later jobs.
#[derive(Debug)]
pub(crate) enum Lasting {
    Cache(Entry),
    Workspace(LastingWorkspace),
}

/// Returns all of them in the order in which they go: what strangers left, then the rest, each least recently used first.
pub(crate) async fn in_order_of_removal(store: &Store) -> Result<Vec<Lasting>, StoreError> {
    let entries = caches::by_last_use(store).await?.into_iter().map(Lasting::Cache);
    let workspaces = workspaces::by_last_use(store).await?.into_iter().map(Lasting::Workspace);
    let mut all: Vec<Lasting> = entries.chain(workspaces).collect();
    all.sort_by_key(Lasting::order_of_removal);
    Ok(all)
}

impl Lasting {
    /// Smaller is removed earlier. A stranger must not be able to push out what others left. Strangers save no caches.
    pub(crate) const fn order_of_removal(&self) -> (bool, Timestamp) {
        match self {
            Self::Cache(entry) => (true, entry.used_at),
            Self::Workspace(workspace) => (!workspace.of_stranger, workspace.used_at),
        }
    }

    /// Returns what it is, for people.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Cache(entry) => format!("cache {}", entry.key),
            Self::Workspace(workspace) => format!("workspace of {}", workspace.name),
        }
    }

    /// Returns its volumes on the engine. Entries may share some.
    pub(crate) fn volumes(&self) -> Vec<String> {
        match self {
            Self::Cache(entry) => entry.layers.iter().flatten().cloned().collect(),
            Self::Workspace(workspace) => vec![volume_of(workspace).to_string()],
        }
    }

    /// Deletes its record unless it is in use. Returns whether that was done: then its volumes may be removed if
    /// nothing else has them.
    pub(crate) async fn release(&self, store: &Store) -> Result<bool, StoreError> {
        let mut tx = store.write().await?;
        let released = match self {
            Self::Cache(entry) => caches::remove_unused(&mut tx, entry.id).await?,
            Self::Workspace(workspace) => workspaces::remove_unused(&mut tx, workspace.job, workspace.attempt).await?,
        };
        tx.commit().await?;
        Ok(released)
    }

    /// Removes its volumes that nothing else has. Called after [`Self::release`].
    pub(crate) async fn remove_volumes(&self, store: &Store, executor: &Executor) -> Result<(), StoreError> {
        let owned = match self {
            Self::Cache(_) => caches::owned(store).await?.volumes,
            Self::Workspace(_) => Default::default(),
        };
        let sizes = caches::volume_sizes(store).await?;
        for volume in self.volumes().into_iter().filter(|volume| !owned.contains(volume)) {
            if let Ok(name) = VolumeName::new(volume.as_str())
                && remove_volume(executor, &name, &sizes).await
            {
                let mut tx = store.write().await?;
                caches::forget_sizes(&mut tx, &[volume]).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }
}

/// Removes a volume that nothing is known to use. Returns whether it is gone.
pub(crate) async fn remove_volume(executor: &Executor, name: &VolumeName, sizes: &BTreeMap<String, u64>) -> bool {
    match sizes.get(name.as_str()).is_none_or(|bytes| *bytes >= MANY_FILES_BYTES) {
        true => executor.remove_large_volume(name).await,
        false => executor.remove_volume(name).await,
    }
}

fn volume_of(workspace: &LastingWorkspace) -> VolumeName {
    // A job with `reuse` begins on no other one's workspace, so its own is one volume.
    AttemptId { job: workspace.job, attempt: workspace.attempt }.volume_name()
}
