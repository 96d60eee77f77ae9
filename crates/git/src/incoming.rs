//! Receives commits that are on no branch or tag: a pull request's, one replaced by a forced push, or a submodule's
//! that a stranger names. Since anyone who may open a pull request may have created the commit, it is received outside
//! the mirror, within limits that apply during the transfer, and then taken over completely or not at all.

use std::{io, path::Path, time::Duration};

use longshore_forge::{CloneUrl, CommitId, Revision};

use super::{GitError, Mirror, mirror::FETCH, pruning::KEPT};

/// The most bytes, packed. The kernel enforces it during the transfer.
pub(super) const MAX_BYTES: u64 = 1 << 30;
/// The most objects.
pub(super) const MAX_OBJECTS: u64 = 1_000_000;
/// The most processor time of each process of git. A small pack can unpack to terabytes, all of which git hashes.
pub(super) const MAX_PROCESSOR: Duration = Duration::from_secs(120);
/// The most memory that git may allocate at once. No object may be larger except files, which git streams from
/// [`STREAMED`] on. It also refuses a pack that declares several times [`MAX_OBJECTS`] before any object arrives.
const MAX_ALLOCATION: &str = "256m";
const STREAMED: &str = "64m";
/// The subfolder of the mirror that receives commits.
pub(super) const FOLDER: &str = "incoming";

impl Mirror {
    /// Fetches a commit by its name, with the missing part of its history. The caller holds the lock of fetches.
    pub(super) async fn fetch_commit(
        &self,
        url: &CloneUrl,
        commit: &CommitId,
        is_strangers: bool,
    ) -> Result<CommitId, GitError> {
        if is_strangers {
            self.check_room(commit).await?;
        }
        let folder = self.folder().join(FOLDER);
        let received = self.receive(url, commit, &folder, is_strangers).await;
        remove_folder(&folder).await?;
        received?;
        self.resolve(&Revision::Commit(commit.clone())).await
    }

    async fn receive(
        &self,
        url: &CloneUrl,
        commit: &CommitId,
        folder: &Path,
        is_strangers: bool,
    ) -> Result<(), GitError> {
        remove_folder(folder).await?;
        for part in ["info", "pack"] {
            tokio::fs::create_dir_all(folder.join(part)).await.map_err(GitError::io(RECEIVING))?;
        }
        let alternates = folder.join("info/alternates");
        tokio::fs::write(alternates, "../objects\n").await.map_err(GitError::io(RECEIVING))?;

        let mut fetch = self.git().bounded(self.folder()).remote(url, self.git().remote_limit());
        // As one pack, however small.
        fetch.config("fetch.unpackLimit", "1");
        fetch.config("core.bigFileThreshold", STREAMED);
        // A stranger's pack leaves the other cores to others.
        fetch.config("pack.threads", "1");
        let fetch = fetch.env("GIT_OBJECT_DIRECTORY", folder).env("GIT_ALLOC_LIMIT", MAX_ALLOCATION);
        let fetch = fetch.args(FETCH).args(["--end-of-options", url.address(), commit.as_str()]);
        let (bytes, objects) = self.git().receive_limits();
        let refused = |what| GitError::TooMuch { commit: commit.to_string(), what };
        let too_much = || refused(format!("brings more than {bytes} packed bytes or more than {objects} objects"));
        let ended = match fetch.run("fetch", &[]).await {
            // Another try would take as long. A host that says nothing is given up earlier, and asked again.
            Err(GitError::Timeout { limit, .. }) => {
                return Err(refused(format!("is not received within {} s", limit.as_secs())));
            }
            ended => ended?,
        };
        if ended.used_up_processor || ended.message.starts_with(ENDED_BY_KERNEL) && largest_file(folder).await < bytes {
            let limit = self.git().processor_limit().as_secs();
            return Err(refused(format!("takes git more than {limit} s of processor time, or too much memory")));
        }
        if !ended.success {
            let has = |words: &[&str]| words.iter().any(|words| ended.message.contains(words));
            // A process that the kernel kills prints nothing, but leaves the file that it wrote. On the memory limit,
            // git prints a message.
            if largest_file(folder).await >= bytes || has(&["over limit"]) {
                return Err(too_much());
            }
            let has_room = !has(&["No space left on device", "Disk quota exceeded"]);
            let error = GitError::from_remote(url, ended.message);
            return Err(match error.is_temporary() || !has_room {
                true => error,
                false => GitError::UnknownRevision { revision: commit.to_string() },
            });
        }
        if self.received_objects(folder).await? > objects {
            return Err(too_much());
        }
        if is_strangers {
            self.check_size_in(folder, commit).await?;
            self.note_received(commit, largest_file(folder).await).await?;
        }
        let (from, to) = (folder.join("pack"), self.folder().join("objects/pack"));
        let moved = tokio::task::spawn_blocking(move || move_packs(&from, &to)).await;
        moved.map_err(io::Error::other).flatten().map_err(GitError::io(RECEIVING))?;
        let keep = self.git().in_repository(self.folder());
        let keep = keep.args(["update-ref", &format!("{KEPT}/{commit}"), commit.as_str()]);
        keep.output("keeping a commit", &[]).await.map(drop)
    }

    async fn received_objects(&self, folder: &Path) -> Result<u64, GitError> {
        let count = self.git().in_repository(self.folder()).env("GIT_OBJECT_DIRECTORY", folder);
        let counted = count.args(["count-objects", "-v"]).output("counting objects", &[]).await?;
        let counted = String::from_utf8_lossy(&counted);
        let number = |key: &str| counted.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        Ok(number("count:").unwrap_or(0) + number("in-pack:").unwrap_or(0))
    }
}

/// What a fetch says, and nothing before it, if the process that unpacks ended without a word.
const ENDED_BY_KERNEL: &str = "fatal: fetch-pack: invalid index-pack output";

const RECEIVING: &str = "receiving a commit";

async fn remove_folder(folder: &Path) -> Result<(), GitError> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(GitError::Io { what: RECEIVING, source }),
        _ => Ok(()),
    }
}

/// Returns the size of the largest received file, complete or not.
async fn largest_file(folder: &Path) -> u64 {
    let packs = folder.join("pack");
    let measure = move || {
        let files = std::fs::read_dir(packs).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or(0)
    };
    tokio::task::spawn_blocking(measure).await.unwrap_or(0)
}

/// Moves the packs into the mirror. Git finds a pack by its index, so the index comes last.
fn move_packs(from: &Path, to: &Path) -> io::Result<()> {
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
