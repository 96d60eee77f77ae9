//! The default branch of a repository, and the newest commits of its branches.

use longshore_core::Event;
use longshore_forge::{CloneUrl, CommitId, Revision};
use longshore_git::{GitError, Mirror};

/// The default branch if neither the forge, nor the repository's setting, nor the remote names one.
pub(crate) const MAIN: &str = "main";

/// Returns the default branch: the one that was named, or else the one that the remote names. A remote that names
/// none is not an error.
pub(crate) async fn default_branch_of(mirror: &Mirror, url: &CloneUrl, named: Option<String>) -> Option<String> {
    if named.is_some() {
        return named;
    }
    mirror.default_branch(url).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot ask for the default branch");
        None
    })
}

pub(super) fn default_branch_or_main(event: &Event) -> &str {
    event.default_branch.as_deref().unwrap_or(MAIN)
}

/// Returns whether the commit is the newest of the default branch. Deliveries may be processed out of order: only the
/// newest commit says what is scheduled.
pub(super) async fn is_newest_of_default_branch(
    mirror: &Mirror,
    commit: &CommitId,
    event: &Event,
) -> Result<bool, GitError> {
    let branch = default_branch_or_main(event);
    if event.git_ref.strip_prefix("refs/heads/") != Some(branch) {
        return Ok(false);
    }
    match newest(mirror, branch).await {
        Ok(newest) => Ok(newest == *commit),
        Err(GitError::UnknownRevision { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the newest commit of the default branch, from which the event's branch was created. `None` for the default
/// branch itself, and if there is no default branch.
pub(super) async fn default_branch_head(mirror: &Mirror, event: &Event) -> Result<Option<CommitId>, GitError> {
    let default = default_branch_or_main(event);
    if event.branch() == Some(default) {
        return Ok(None);
    }
    match newest(mirror, default).await {
        Ok(newest) => Ok(Some(newest)),
        Err(GitError::UnknownRevision { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the newest commit of a branch, as it was fetched.
pub(super) async fn newest(mirror: &Mirror, branch: &str) -> Result<CommitId, GitError> {
    let name = format!("refs/heads/{branch}");
    match name.parse() {
        Ok(name) => mirror.resolve(&Revision::Ref(name)).await,
        Err(_) => Err(GitError::UnknownRevision { revision: name }),
    }
}
