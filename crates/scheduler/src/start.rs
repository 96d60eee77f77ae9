//! Which commit a start by hand means. It is asked of the git host, before anything of the commit is read.

use longshore_forge::{
    CommitId, InvalidRevision, RefName,
    git::{GitError, Wanted},
};
use longshore_store::repos::Repo;

use crate::{
    prepare::{Planner, clone_url},
    scheduler::RequestError,
};

/// A branch or tag, and a commit on it that is here.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) git_ref: RefName,
    pub(crate) commit: CommitId,
}

/// Finds what is named: the newest commit of the branch or tag, or that commit on it. One that stands elsewhere, a fork's pull request's
/// say, is refused: nobody who may push has said that it is theirs, and a start by hand gets secrets.
pub(crate) async fn find(
    planner: &Planner,
    repo: &Repo,
    git_ref: Option<&str>,
    commit: Option<&str>,
) -> Result<Found, RequestError> {
    let git_ref = full_ref(git_ref, repo.default_branch.as_deref())?;
    let commit = commit.map(str::parse::<CommitId>).transpose().map_err(invalid)?;
    let mirror = planner.mirrors.mirror(repo.id).await.map_err(of_git)?;
    let url = clone_url(repo).map_err(of_git)?;
    let newest = mirror.fetch(&url, &Wanted::Ref(git_ref.clone())).await.map_err(of_git)?;
    let commit = match commit {
        None => newest,
        Some(commit) if mirror.is_on(&commit, &newest).await.map_err(of_git)? => commit,
        Some(commit) => {
            let message = format!("{commit} is not on {git_ref}: name the branch or tag that it is on");
            return Err(RequestError::unusable(message));
        }
    };
    Ok(Found { git_ref, commit })
}

/// `main` as `refs/heads/main`; a full name as it is.
pub(crate) fn full_ref(asked: Option<&str>, default_branch: Option<&str>) -> Result<RefName, RequestError> {
    let name = asked.or(default_branch).unwrap_or("main");
    let full = if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") };
    full.parse().map_err(invalid)
}

fn invalid(error: InvalidRevision) -> RequestError {
    RequestError::unusable(error.to_string())
}

pub(crate) fn of_git(error: GitError) -> RequestError {
    match error {
        GitError::UnknownRevision { .. } => RequestError::unusable(error.to_string()),
        other => RequestError::GitHost(other.to_string()),
    }
}
