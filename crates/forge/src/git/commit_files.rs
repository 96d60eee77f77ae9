//! Single files of a commit, and which files a push changed: what a pipeline may ask of a repository besides itself.

use super::{GitError, Mirror};
use crate::CommitId;

/// A template is a pipeline file.
const MAX_FILE_LEN: u64 = 256 * 1024;

/// More changed files than filters by path are for.
const MAX_CHANGED: usize = 20_000;

impl Mirror {
    /// The bytes of a file at `commit`, or why there are none: it is not there, a link, a folder, or too large. `path` is
    /// relative to the repository's root.
    ///
    /// # Errors
    /// When git fails.
    pub async fn file(&self, commit: &CommitId, path: &str) -> Result<Result<Vec<u8>, String>, GitError> {
        let list = self.git().in_repository(self.folder()).args([
            "ls-tree",
            "-z",
            "--long",
            "--full-tree",
            "--end-of-options",
            commit.as_str(),
            // Whatever it begins with, it is a path.
            &format!(":(literal){path}"),
        ]);
        let list = list.output("looking for a file", &[]).await?;
        let record = list.split(|byte| *byte == 0).next().unwrap_or_default();
        let Some(tab) = record.iter().position(|byte| *byte == b'\t') else {
            return Ok(Err("is not in the repository at this commit".to_owned()));
        };
        let facts = String::from_utf8_lossy(&record[..tab]).into_owned();
        let words: Vec<&str> = facts.split_ascii_whitespace().collect();
        let &[mode, _, object, size] = words.as_slice() else {
            return Ok(Err("cannot be read".to_owned()));
        };
        if !matches!(mode, "100644" | "100755") {
            return Ok(Err("is no plain file: links and folders are refused".to_owned()));
        }
        if size.parse::<u64>().is_ok_and(|size| size > MAX_FILE_LEN) {
            return Ok(Err("has more than 256 KiB".to_owned()));
        }
        let read = self.git().in_repository(self.folder()).args(["cat-file", "blob", object]);
        read.output("reading a file", &[]).await.map(Ok)
    }

    /// The paths of the files that differ between `before` and `commit`; from the first parent on where `before` is
    /// not given or not here (a new branch, a forced push), all files of a first commit. Nothing where there are too many.
    ///
    /// # Errors
    /// When git fails.
    pub async fn changed_files(
        &self,
        commit: &CommitId,
        before: Option<&CommitId>,
    ) -> Result<Option<Vec<String>>, GitError> {
        let parent = format!("{}^1", commit.as_str());
        let from = before.map(CommitId::as_str).into_iter().chain([parent.as_str()]);
        for from in from {
            let diff = self.diff().args(["--end-of-options", from, commit.as_str()]);
            let ended = diff.run("looking for changed files", &[]).await?;
            if ended.success {
                return Ok(paths(&ended.stdout));
            }
        }
        let first = self.diff().args(["--root", "--no-commit-id", "--end-of-options", commit.as_str()]);
        Ok(paths(&first.output("looking for changed files", &[]).await?))
    }

    /// The paths of the files that `commit` changes beyond what it has in common with `target`. Nothing where there are too many, or
    /// where the two have nothing in common.
    ///
    /// # Errors
    /// When git fails.
    pub async fn changed_since_merge_base(
        &self,
        commit: &CommitId,
        target: &CommitId,
    ) -> Result<Option<Vec<String>>, GitError> {
        let base = self.git().in_repository(self.folder()).args([
            "merge-base",
            "--end-of-options",
            target.as_str(),
            commit.as_str(),
        ]);
        let base = base.run("looking for a merge base", &[]).await?;
        let base = std::str::from_utf8(&base.stdout).ok().and_then(|line| line.trim_end().parse::<CommitId>().ok());
        let Some(base) = base else { return Ok(None) };
        let diff = self.diff().args(["--end-of-options", base.as_str(), commit.as_str()]);
        Ok(paths(&diff.output("looking for changed files", &[]).await?))
    }

    fn diff(&self) -> super::command::Invocation {
        self.git().in_repository(self.folder()).args([
            "diff-tree",
            "-r",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--name-only",
        ])
    }
}

fn paths(output: &[u8]) -> Option<Vec<String>> {
    let paths: Vec<String> = output
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .take(MAX_CHANGED + 1)
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect();
    (paths.len() <= MAX_CHANGED).then_some(paths)
}
