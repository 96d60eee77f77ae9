//! Which commit a start by hand means. It is asked of the git host, before anything of the commit is read.

use longshore_forge::{CommitId, InvalidRevision, RefName, Revision, git::GitError};
use longshore_store::repos::Repo;

use crate::{
    prepare::{MAIN, Planner, clone_url, default_branch_of},
    scheduler::RequestError,
};

/// A branch or tag, and a commit on it that is here.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) git_ref: RefName,
    pub(crate) commit: CommitId,
    /// As far as anybody says.
    pub(crate) default_branch: Option<String>,
}

/// Finds what is named: the newest commit of the branch or tag, or that commit on it. One that stands elsewhere, a fork's pull request's
/// say, is refused: nobody who may push has said that it is theirs, and a start by hand gets secrets.
pub(crate) async fn find(
    planner: &Planner,
    repo: &Repo,
    git_ref: Option<&str>,
    commit: Option<&str>,
) -> Result<Found, RequestError> {
    let commit = commit.map(str::parse::<CommitId>).transpose().map_err(invalid)?;
    let mirror = planner.mirrors.mirror(repo.id).await.map_err(of_git)?;
    let url = clone_url(repo).map_err(of_git)?;
    let asked = async { Ok(default_branch_of(&mirror, &url, repo.default_branch.clone()).await) };
    let ((), default_branch) = tokio::try_join!(mirror.update(&url), asked).map_err(of_git)?;
    let git_ref = full_ref(git_ref.or(default_branch.as_deref()))?;
    let newest = mirror.resolve(&Revision::Ref(git_ref.clone())).await.map_err(of_git)?;
    let commit = match commit {
        None => newest,
        Some(commit) if mirror.is_on(&commit, &newest).await.map_err(of_git)? => commit,
        Some(commit) => {
            let message = format!("{commit} is not on {git_ref}: name the branch or tag that it is on");
            return Err(RequestError::unusable(message));
        }
    };
    Ok(Found { git_ref, commit, default_branch })
}

/// What is named, if it is here already; nothing where it is not.
pub(crate) async fn find_here(
    planner: &Planner,
    repo: &Repo,
    git_ref: Option<&str>,
) -> Result<Option<CommitId>, RequestError> {
    let git_ref = full_ref(git_ref.or(repo.default_branch.as_deref()))?;
    let mirror = planner.mirrors.mirror(repo.id).await.map_err(of_git)?;
    match mirror.resolve(&Revision::Ref(git_ref)).await {
        Ok(commit) => Ok(Some(commit)),
        Err(GitError::UnknownRevision { .. }) => Ok(None),
        Err(error) => Err(of_git(error)),
    }
}

/// `main` as `refs/heads/main`; a full name as it is.
fn full_ref(name: Option<&str>) -> Result<RefName, RequestError> {
    let name = name.unwrap_or(MAIN);
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
