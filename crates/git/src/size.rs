//! Checks the size of a commit before any of it is unpacked.
//!
//! A tree of a few kilobytes can name one file a thousand times, or be nested until its files are countless. Those who
//! may push may do that; a stranger may not fill the server's disk and memory with it.

use std::{
    collections::HashMap,
    io::{self, BufReader},
    path::Path,
};

use longshore_forge::CommitId;

use super::{Git, GitError, Mirror, git_dir::IndexEntry};

/// The most files and folders in a stranger's commit.
pub(super) const MAX_ENTRIES: u64 = 200_000;
/// The most bytes of a stranger's files together.
pub(super) const MAX_BYTES: u64 = 2 << 30;

impl Mirror {
    /// Refuses a commit with more than [`MAX_ENTRIES`] or [`MAX_BYTES`], and reads no more of it than that.
    ///
    /// # Errors
    /// [`GitError::TooLarge`], or if git fails.
    pub async fn check_size(&self, commit: &CommitId) -> Result<(), GitError> {
        self.check_size_in(&self.folder().join("objects"), commit).await
    }

    /// As [`Self::check_size`], of a commit among these objects.
    pub(super) async fn check_size_in(&self, objects: &Path, commit: &CommitId) -> Result<(), GitError> {
        let reading = "reading a commit's tree";
        let nothing = tempfile::tempfile().map_err(GitError::io(reading))?;
        let options = ["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", "--end-of-options", commit.as_str()];
        let listing = self.git().in_repository(self.folder()).env("GIT_OBJECT_DIRECTORY", objects);
        let listing = listing.args(options).stream(nothing)?;
        let output = listing.stdout.try_clone().map_err(GitError::io(reading))?;
        let fits = tokio::task::spawn_blocking(move || is_within_limits(BufReader::new(output))).await;
        match fits.map_err(io::Error::other).flatten().map_err(GitError::io(reading))? {
            true => listing.end(reading).await,
            // Dropping `listing` kills git.
            false => Err(GitError::TooLarge { commit: commit.to_string() }),
        }
    }
}

/// Refuses files that may have more than [`MAX_BYTES`] together once they are checked out. `growth` is the factor by
/// which a path's file may grow. Git writes these files itself, so only its input can be counted beforehand.
pub(super) async fn check_grown(
    git: &Git,
    git_dir: &Path,
    commit: &CommitId,
    entries: &[IndexEntry],
    growth: &HashMap<Vec<u8>, u64>,
) -> Result<(), GitError> {
    let files: Vec<&IndexEntry> = entries.iter().filter(|entry| entry.is_file()).collect();
    let objects: String = files.iter().map(|entry| format!("{}\n", entry.object)).collect();
    let ask = git.in_repository(git_dir).args(["cat-file", "--batch-check=%(objectsize)", "--buffer"]);
    let sizes = ask.output("reading the files' sizes", objects.as_bytes()).await?;
    let sizes = sizes.split(|byte| *byte == b'\n').map(|size| std::str::from_utf8(size).ok()?.parse::<u64>().ok());
    let grown = files.iter().zip(sizes).map(|(file, size)| {
        let times = growth.get(&file.path).copied().unwrap_or(1);
        size.unwrap_or(0).saturating_mul(times)
    });
    match grown.fold(0, u64::saturating_add) {
        0..=MAX_BYTES => Ok(()),
        _ => Err(GitError::TooLarge { commit: commit.to_string() }),
    }
}

/// Returns whether the listing of `ls-tree -l -z` is within the limits. Each entry is `<mode> <type> <object>
/// <size>\t<path>`.
fn is_within_limits(mut listing: impl io::BufRead) -> io::Result<bool> {
    let (mut entries, mut bytes, mut entry) = (0, 0_u64, Vec::new());
    loop {
        entry.clear();
        if listing.read_until(0, &mut entry)? == 0 {
            return Ok(true);
        }
        let facts = entry.split(|byte| *byte == b'\t').next().unwrap_or_default();
        let size = std::str::from_utf8(facts).ok().and_then(|facts| facts.split_whitespace().nth(3));
        entries += 1;
        // A folder's size is `-`.
        bytes = bytes.saturating_add(size.and_then(|size| size.parse().ok()).unwrap_or(0));
        if entries > MAX_ENTRIES || bytes > MAX_BYTES {
            return Ok(false);
        }
    }
}
