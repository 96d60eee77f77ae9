//! Reads single files of a commit, and finds the files that a push changed.

use std::collections::BTreeSet;

use longshore_forge::{CommitId, Revision};

use super::{GitError, Mirror};

/// A template has the size limit of a pipeline file.
const MAX_FILE_LEN: u64 = 256 * 1024;

/// Path filters are not meant for more changed files.
const MAX_CHANGED: usize = 20_000;

/// The paths of the files that a push or a pull request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    Files(BTreeSet<String>),
    /// The files cannot be determined; the reason is for people.
    Unknown(&'static str),
}

impl Changed {
    fn from_files(files: BTreeSet<String>) -> Self {
        if files.len() > MAX_CHANGED { Self::Unknown("it changes more than 20,000 files") } else { Self::Files(files) }
    }

    /// Returns the union of both.
    fn union(self, other: Self) -> Self {
        match (self, other) {
            (Self::Files(one), Self::Files(other)) => Self::from_files(one.into_iter().chain(other).collect()),
            (Self::Unknown(why), _) | (_, Self::Unknown(why)) => Self::Unknown(why),
        }
    }
}

impl Mirror {
    /// Returns the bytes of a file at `commit`, or why there are none: it is missing, a link, a folder, or too large.
    /// `path` is relative to the repository's root.
    ///
    /// # Errors
    /// If git fails.
    pub async fn file(&self, commit: &CommitId, path: &str) -> Result<Result<Vec<u8>, String>, GitError> {
        let list = self.git().in_repository(self.folder()).args([
            "ls-tree",
            "-z",
            "--long",
            "--full-tree",
            "--end-of-options",
            commit.as_str(),
            // Even if it looks like another kind of pathspec.
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
            return Ok(Err("is not a plain file: links and folders are refused".to_owned()));
        }
        if size.parse::<u64>().is_ok_and(|size| size > MAX_FILE_LEN) {
            return Ok(Err("has more than 256 KiB".to_owned()));
        }
        let read = self.git().in_repository(self.folder()).args(["cat-file", "blob", object]);
        read.output("reading a file", &[]).await.map(Ok)
    }

    /// Returns the files that a push of `commit` to a branch changes. If `before` is an ancestor of the commit, these
    /// are the differences between the two. On a new branch, after a forced push, or if `before` is not in the mirror,
    /// these are the files that the branch changed since it left `default`, the newest commit of the default branch;
    /// after a forced push also the differences from `before`, if it is in the mirror. On the default branch itself,
    /// `default` is `None`.
    ///
    /// # Errors
    /// If git fails.
    pub async fn changed_by_push(
        &self,
        commit: &CommitId,
        before: Option<&CommitId>,
        default: Option<&CommitId>,
    ) -> Result<Changed, GitError> {
        let before = match before {
            Some(before) => self.find_commit(before).await?,
            None => None,
        };
        let since_before = match &before {
            Some(before) => self.changed_between(before, commit).await?,
            None => Changed::Unknown("the commit before the push is not known"),
        };
        let went_on = match &before {
            Some(before) => self.is_on(before, commit).await?,
            None => false,
        };
        match default {
            Some(default) if !went_on => {
                let since_left = self.changed_since_merge_base(commit, default).await?;
                // Without a previous commit, the push brings the whole branch.
                Ok(if before.is_some() { since_before.union(since_left) } else { since_left })
            }
            Some(_) | None => Ok(since_before),
        }
    }

    /// Returns the files that `commit` changes since its merge base with `target`.
    ///
    /// # Errors
    /// If git fails.
    pub async fn changed_since_merge_base(&self, commit: &CommitId, target: &CommitId) -> Result<Changed, GitError> {
        let base = ["merge-base", "--end-of-options", target.as_str(), commit.as_str()];
        let base = self.git().in_repository(self.folder()).args(base).run("looking for a merge base", &[]).await?;
        let base = std::str::from_utf8(&base.stdout).ok().and_then(|line| line.trim_end().parse::<CommitId>().ok());
        match base {
            Some(base) => self.changed_between(&base, commit).await,
            None => Ok(Changed::Unknown("it has no commit in common with the branch that it is compared with")),
        }
    }

    /// Returns the commit if the mirror has it.
    async fn find_commit(&self, commit: &CommitId) -> Result<Option<CommitId>, GitError> {
        match self.resolve(&Revision::Commit(commit.clone())).await {
            Ok(commit) => Ok(Some(commit)),
            Err(GitError::UnknownRevision { .. } | GitError::NotACommit { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn changed_between(&self, from: &CommitId, to: &CommitId) -> Result<Changed, GitError> {
        let diff = self.diff().args(["--end-of-options", from.as_str(), to.as_str()]);
        Ok(parse_changed(&diff.output("looking for changed files", &[]).await?))
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

fn parse_changed(output: &[u8]) -> Changed {
    let paths = output.split(|byte| *byte == 0).filter(|path| !path.is_empty()).take(MAX_CHANGED + 1);
    Changed::from_files(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
}
