//! Removes what builds leave outside of their own rows, once nothing refers to it any more: the files of logs and
//! artifacts, and the rows of reports.

pub(crate) mod artifacts;
pub(crate) mod logs;
pub(crate) mod reports;

use longshore_core::{BuildId, RepoId};

/// A build or a repository that is removed with all of its jobs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parent {
    Build(BuildId),
    Repo(RepoId),
}
