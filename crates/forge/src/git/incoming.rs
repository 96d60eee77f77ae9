//! What comes on no branch or tag: a pull request's commit, one that was pushed away, a submodule's that a stranger names. Whoever may open a
//! pull request may have made it, so it is received beside the mirror, within limits that hold while it comes, and taken in whole or not at
//! all.

use std::{io, path::Path};

use super::{CloneUrl, GitError, Mirror, mirror::FETCH, pruning::KEPT};
use crate::{CommitId, Revision};

/// Bytes that it may bring, packed. The kernel holds it while they come.
pub(super) const MAX_BYTES: u64 = 1 << 30;
/// Objects that it may bring.
pub(super) const MAX_OBJECTS: u64 = 1_000_000;
/// The most that git takes of memory at once. No object may be larger but files, which git streams from [`STREAMED`] on; and a pack that is said
/// to have several times [`MAX_OBJECTS`] is refused before any of them comes.
const MAX_ALLOCATION: &str = "256m";
const STREAMED: &str = "64m";
/// Where it is received, in the mirror's folder.
pub(super) const FOLDER: &str = "incoming";

impl Mirror {
    /// Brings a commit here by its name, with what of its history is not here. The caller holds the lock of fetches.
    pub(super) async fn bring(&self, url: &CloneUrl, commit: &CommitId) -> Result<CommitId, GitError> {
        let folder = self.folder().join(FOLDER);
        let received = self.receive(url, commit, &folder).await;
        remove(&folder).await?;
        received?;
        self.resolve(&Revision::Commit(commit.clone())).await
    }

    async fn receive(&self, url: &CloneUrl, commit: &CommitId, folder: &Path) -> Result<(), GitError> {
        remove(folder).await?;
        for part in ["info", "pack"] {
            tokio::fs::create_dir_all(folder.join(part)).await.map_err(GitError::io(RECEIVING))?;
        }
        let alternates = folder.join("info/alternates");
        tokio::fs::write(alternates, "../objects\n").await.map_err(GitError::io(RECEIVING))?;

        let mut fetch = self.git().bounded(self.folder()).remote(url, self.git().remote_limit());
        // As one pack, however small.
        fetch.config("fetch.unpackLimit", "1");
        fetch.config("core.bigFileThreshold", STREAMED);
        let fetch = fetch.env("GIT_OBJECT_DIRECTORY", folder).env("GIT_ALLOC_LIMIT", MAX_ALLOCATION);
        let fetch = fetch.args(FETCH).args(["--end-of-options", url.address(), commit.as_str()]);
        let (bytes, objects) = self.git().most_received();
        let too_much = || GitError::TooMuch { commit: commit.to_string(), bytes, objects };
        let ended = fetch.run("fetch", &[]).await?;
        if !ended.success {
            let has = |words: &[&str]| words.iter().any(|words| ended.complaint.contains(words));
            // Whoever is ended by the kernel says nothing: what it had written does. Of memory, git has words.
            if largest(folder).await >= bytes || has(&["over limit"]) {
                return Err(too_much());
            }
            let has_room = !has(&["No space left on device", "Disk quota exceeded"]);
            let error = GitError::of_remote(url.address(), ended.complaint);
            return Err(match error.is_temporary() || !has_room {
                true => error,
                false => GitError::UnknownRevision { revision: commit.to_string() },
            });
        }
        if self.received_objects(folder).await? > objects {
            return Err(too_much());
        }
        let (from, to) = (folder.join("pack"), self.folder().join("objects/pack"));
        let moved = tokio::task::spawn_blocking(move || take_in(&from, &to)).await;
        moved.map_err(io::Error::other).flatten().map_err(GitError::io(RECEIVING))?;
        let keep = self.git().in_repository(self.folder());
        let keep = keep.args(["update-ref", &format!("{KEPT}/{commit}"), commit.as_str()]);
        keep.output("keeping a commit", &[]).await.map(drop)
    }

    async fn received_objects(&self, folder: &Path) -> Result<u64, GitError> {
        let count = self.git().in_repository(self.folder()).env("GIT_OBJECT_DIRECTORY", folder);
        let counted = count.args(["count-objects", "-v"]).output("counting objects", &[]).await?;
        let counted = String::from_utf8_lossy(&counted);
        let of = |key: &str| counted.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        Ok(of("count:").unwrap_or(0) + of("in-pack:").unwrap_or(0))
    }
}

const RECEIVING: &str = "receiving a commit";

async fn remove(folder: &Path) -> Result<(), GitError> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(GitError::Io { what: RECEIVING, source }),
        _ => Ok(()),
    }
}

/// The size of the largest file that was received, whole or not.
async fn largest(folder: &Path) -> u64 {
    let packs = folder.join("pack");
    let look = move || {
        let files = std::fs::read_dir(packs).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or(0)
    };
    tokio::task::spawn_blocking(look).await.unwrap_or(0)
}

/// Moves the packs. Git finds a pack by its index, so that comes last.
fn take_in(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    let mut files = std::fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    let is =
        |file: &std::fs::DirEntry, extension: &str| file.path().extension().is_some_and(|found| found == extension);
    files.sort_by_key(|file| is(file, "idx"));
    for file in files.iter().filter(|file| ["pack", "rev", "idx"].iter().any(|extension| is(file, extension))) {
        std::fs::rename(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
