//! How much a commit brings, before anything of it is unpacked.
//!
//! A tree of a few kilobytes can name one file a thousand times over, or itself be nested until its files are without number. Whoever may
//! push may do so; a stranger may not fill the server's disk and memory with it.

use std::{
    collections::HashMap,
    io::{self, BufReader},
    path::Path,
};

use super::{Git, GitError, Mirror, git_dir::IndexEntry};
use crate::CommitId;

/// Files and folders in a stranger's commit.
pub(super) const MAX_ENTRIES: u64 = 200_000;
/// Bytes of a stranger's files together.
pub(super) const MAX_BYTES: u64 = 2 << 30;

impl Mirror {
    /// Refuses a commit with more than [`MAX_ENTRIES`] or [`MAX_BYTES`], having read no more of it than that.
    ///
    /// # Errors
    /// [`GitError::TooLarge`], or when git fails.
    pub async fn check_size(&self, commit: &CommitId) -> Result<(), GitError> {
        let reading = "reading a commit's tree";
        let nothing = tempfile::tempfile().map_err(GitError::io(reading))?;
        let options = ["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", "--end-of-options", commit.as_str()];
        let listing = self.git().in_repository(self.folder()).args(options).stream(nothing)?;
        let output = listing.stdout.try_clone().map_err(GitError::io(reading))?;
        let fits = tokio::task::spawn_blocking(move || fits(BufReader::new(output))).await;
        match fits.map_err(io::Error::other).flatten().map_err(GitError::io(reading))? {
            true => listing.end(reading).await,
            // It is killed with this.
            false => Err(GitError::TooLarge { commit: commit.to_string() }),
        }
    }
}

/// Refuses files that together may have more than [`MAX_BYTES`] once they are checked out, each being as many times larger as `growth`
/// says of its path. Git writes them itself, so that only what it reads can be counted before.
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

/// Whether what `ls-tree -l -z` lists is within the limits: `<mode> <type> <object> <size>\t<path>` each.
fn fits(mut listing: impl io::BufRead) -> io::Result<bool> {
    let (mut entries, mut bytes, mut entry) = (0, 0_u64, Vec::new());
    loop {
        entry.clear();
        if listing.read_until(0, &mut entry)? == 0 {
            return Ok(true);
        }
        let facts = entry.split(|byte| *byte == b'\t').next().unwrap_or_default();
        let size = std::str::from_utf8(facts).ok().and_then(|facts| facts.split_whitespace().nth(3));
        entries += 1;
        // A folder has `-` for its size.
        bytes = bytes.saturating_add(size.and_then(|size| size.parse().ok()).unwrap_or(0));
        if entries > MAX_ENTRIES || bytes > MAX_BYTES {
            return Ok(false);
        }
    }
}
