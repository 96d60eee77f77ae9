//! Limits what commits of strangers take of the disk while their builds wait: pull requests from forks are received
//! before anybody has approved anything. What a mirror has received of them is noted beside its objects, and forgotten
//! once a branch has it or pruning has removed it.

use std::{collections::BTreeMap, fmt::Write as _, io};

use longshore_forge::CommitId;
use tokio::io::AsyncWriteExt as _;

use super::{GitError, Mirror};

/// Beyond this many bytes of strangers' packs, a mirror receives nothing more of strangers.
pub(super) const MAX_BYTES: u64 = 4 << 30;
/// With less free space than this, nothing of strangers is received: a pack of theirs, and as much for all others.
pub(super) const MIN_FREE: u64 = 2 << 30;
/// The file of the mirror with a line for each commit: `<commit> <bytes>`.
const RECEIVED: &str = "strangers";
const NOTING: &str = "noting what strangers have sent";

impl Mirror {
    /// Refuses a stranger's commit while there is no room for it.
    pub(super) async fn check_room(&self, commit: &CommitId) -> Result<(), GitError> {
        let refused = |why| Err(GitError::NoRoom { commit: commit.to_string(), why });
        let (most, min_free) = self.git().strangers_limits();
        let disk =
            rustix::fs::statvfs(self.folder()).map_err(|error| GitError::Io { what: NOTING, source: error.into() })?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < min_free {
            return refused(format!(
                "the disk of the data folder has {} MiB free, and {} MiB have to be: free some space",
                free >> 20,
                min_free >> 20
            ));
        }
        let taken: u64 = self.received().await?.values().sum();
        if taken >= most {
            return refused(format!(
                "commits from forks take {} MiB of this repository's mirror, and may take {} MiB: approve or cancel builds \
                 that wait; what they brought is removed a day after they are over",
                taken >> 20,
                most >> 20
            ));
        }
        Ok(())
    }

    /// Notes what a stranger's commit takes. The caller moves it into the mirror afterwards.
    pub(super) async fn note_received(&self, commit: &CommitId, bytes: u64) -> Result<(), GitError> {
        let file = tokio::fs::OpenOptions::new().create(true).append(true).open(self.folder().join(RECEIVED)).await;
        let mut file = file.map_err(GitError::io(NOTING))?;
        file.write_all(format!("{commit} {bytes}\n").as_bytes()).await.map_err(GitError::io(NOTING))?;
        file.flush().await.map_err(GitError::io(NOTING))
    }

    /// Forgets the commits that are gone or on a branch or tag.
    pub(super) async fn forget_received(&self) -> Result<(), GitError> {
        let _one = self.fetching.lock().await;
        let mut left = String::new();
        for (commit, bytes) in self.received().await? {
            let args = ["rev-list", "--max-count=1", &commit, "--not", "--branches", "--tags", "--"];
            let found = self.git().in_repository(self.folder()).args(args).run(NOTING, &[]).await?;
            if found.success && !found.stdout.is_empty() {
                let _ = writeln!(left, "{commit} {bytes}");
            }
        }
        tokio::fs::write(self.folder().join(RECEIVED), left).await.map_err(GitError::io(NOTING))
    }

    async fn received(&self) -> Result<BTreeMap<String, u64>, GitError> {
        let text = match tokio::fs::read_to_string(self.folder().join(RECEIVED)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(GitError::io(NOTING))?,
        };
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Ok(lines.filter_map(|(commit, bytes)| Some((commit.to_owned(), bytes.parse().ok()?))).collect())
    }
}
