//! Records of what runs make, so that the next run can remove what a killed one left: its containers and volumes on the
//! engine, and its folder.
//!
//! A run holds a lock on its record while it lives. A record that nobody holds is of a run that was killed, or that
//! left the engine to delete the last files. Records of other users, and of runs on other machines, are in other
//! folders.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_core::{BuildId, JobId};
use longshore_executor::{Executor, runtime_dir};
use serde::{Deserialize, Serialize};

/// How a record's name ends.
const ENDING: &str = "run";
/// How the name of a run's folder begins.
pub(super) const FOLDER: &str = "longshore-run-";
/// An unreadable record that is older than this is not being written.
const STALE_RECORD_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The record of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunObjects {
    pub(super) docker_host: String,
    /// The instance's name on the engine.
    pub(super) instance: String,
    pub(super) jobs: BTreeSet<JobId>,
    pub(super) folder: PathBuf,
}

/// The record of a run, locked.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    _lock: File,
}

impl Record {
    /// Writes the record of a run that begins.
    pub(super) fn write(dir: &Path, build: BuildId, made: &RunObjects) -> io::Result<Self> {
        runtime_dir::make(dir)?;
        let path = dir.join(format!("{build}.{ENDING}"));
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.lock()?;
        file.write_all(&serde_json::to_vec(made)?)?;
        Ok(Self { path, _lock: file })
    }

    /// Removes the record, because nothing is left.
    pub(super) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes what runs that were killed have left where `run` works, and their records. Objects that cannot be removed
/// now are left to the next run.
pub(super) async fn sweep(executor: Executor, dir: PathBuf, run: RunObjects) {
    let search = move || abandoned(&dir, &run.docker_host, &run.instance);
    let Ok(left) = tokio::task::spawn_blocking(search).await else { return };
    let jobs: BTreeSet<JobId> = left.iter().flat_map(|(_, made)| made.jobs.iter().copied()).collect();
    if jobs.is_empty() {
        return;
    }
    match executor.remove_jobs(&jobs).await {
        Ok(removed) => {
            if !removed.is_empty() {
                tracing::info!(?removed, "removed what earlier runs left");
            }
            let tidy = move || {
                for (record, made) in left {
                    remove_folder(&made.folder);
                    record.remove();
                }
            };
            let _ = tokio::task::spawn_blocking(tidy).await;
        }
        Err(error) => tracing::debug!(%error, "what earlier runs left is left to the next one"),
    }
}

/// Returns the records of runs that have ended without removing theirs.
fn abandoned(dir: &Path, docker_host: &str, instance: &str) -> Vec<(Record, RunObjects)> {
    // Records in a folder that is not this user's alone may be anybody's.
    let Ok(()) = runtime_dir::make(dir) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let records = paths.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
    let ours = |made: &RunObjects| made.docker_host == docker_host && made.instance == instance;
    records.filter_map(open).filter(|(_, made)| ours(made)).collect()
}

/// Opens a record, if nobody holds it.
fn open(path: PathBuf) -> Option<(Record, RunObjects)> {
    let mut file = File::open(&path).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    if let Ok(made) = serde_json::from_slice(&bytes) {
        return Some((Record { path, _lock: file }, made));
    }
    let age = file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
    if age.is_some_and(|age| age > STALE_RECORD_AGE) {
        let _ = std::fs::remove_file(&path);
    }
    None
}

/// Removes a run's folder, and nothing that has another name.
fn remove_folder(folder: &Path) {
    if folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(FOLDER.as_bytes())) {
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_any_more_is_abandoned_and_only_on_the_same_engine() {
        let dir = tempfile::tempdir().unwrap();
        let made = |host: &str| RunObjects {
            docker_host: host.to_owned(),
            instance: "run".to_owned(),
            jobs: [JobId::new()].into(),
            folder: dir.path().join("longshore-run-x"),
        };
        let (here, there) = (made("unix:///a"), made("unix:///b"));
        let lives = Record::write(dir.path(), BuildId::new(), &here).unwrap();
        assert!(abandoned(dir.path(), "unix:///a", "run").is_empty());
        // As a kill does.
        drop(lives);
        drop(Record::write(dir.path(), BuildId::new(), &there).unwrap());
        std::fs::write(dir.path().join("broken.run"), "{").unwrap();
        let found = abandoned(dir.path(), "unix:///a", "run");
        assert_eq!(found.iter().map(|(_, made)| made).collect::<Vec<_>>(), [&here]);
        assert!(abandoned(dir.path(), "unix:///a", "run").is_empty(), "it is held by whoever found it");
        found.into_iter().for_each(|(record, _)| record.remove());
        assert!(abandoned(dir.path(), "unix:///a", "run").is_empty());
        assert_eq!(abandoned(dir.path(), "unix:///b", "run").len(), 1);
    }
}
