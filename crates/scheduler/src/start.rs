//! Finds the commit that a start by hand means. Asks the forge before anything of the commit is read.

use longshore_forge::{CommitId, InvalidRevision, RefName, Revision};
use longshore_git::{GitError, Mirror};
use longshore_store::repos::Repo;

use crate::{
    prepare::{MAIN, Planner, default_branch_of},
    scheduler::RequestError,
};

/// A branch or tag, and a commit on it that has been fetched.
#[derive(Debug)]
pub(crate) struct StartTarget {
    pub(crate) git_ref: RefName,
    pub(crate) commit: CommitId,
    /// `None` if nobody names one.
    pub(crate) default_branch: Option<String>,
}

/// Finds what is named: the newest commit of the branch or tag, or the given commit on it. Refuses a commit that is
/// elsewhere, for example on a fork's pull request: nobody who may push has accepted it, and a start by hand gets
/// secrets.
pub(crate) async fn find(
    planner: &Planner,
    repo: &Repo,
    git_ref: Option<&str>,
    commit: Option<&str>,
) -> Result<StartTarget, RequestError> {
    let commit = commit.map(str::parse::<CommitId>).transpose().map_err(invalid)?;
    let mirror = planner.mirrors.mirror(repo.id).await.map_err(git_error)?;
    let url = planner.logins.clone_url(repo).await.map_err(git_error)?;
    let lookup = async { Ok(default_branch_of(&mirror, &url, repo.default_branch.clone()).await) };
    let ((), default_branch) = tokio::try_join!(mirror.update(&url), lookup).map_err(git_error)?;
    let names = full_names(git_ref, default_branch.as_deref())?;
    let Some((git_ref, newest)) = newest_of(&mirror, &names).await.map_err(git_error)? else {
        let names: Vec<&str> = names.iter().map(RefName::as_str).collect();
        let message = format!("{} not found in the repository: it was deleted or never pushed", names.join(" and no "));
        return Err(RequestError::unusable(message));
    };
    let commit = match commit {
        None => newest,
        Some(commit) if mirror.is_on(&commit, &newest).await.map_err(git_error)? => commit,
        Some(commit) => {
            let message = format!("{commit} is not on {git_ref}: name a branch or tag that contains it");
            return Err(RequestError::unusable(message));
        }
    };
    Ok(StartTarget { git_ref, commit, default_branch })
}

/// Finds what is named without asking the forge. `None` if it has not been fetched.
pub(crate) async fn find_fetched(
    planner: &Planner,
    repo: &Repo,
    git_ref: Option<&str>,
    commit: Option<&str>,
) -> Result<Option<CommitId>, RequestError> {
    let commit = commit.map(str::parse::<CommitId>).transpose().map_err(invalid)?;
    let mirror = planner.mirrors.mirror(repo.id).await.map_err(git_error)?;
    let names = full_names(git_ref, repo.default_branch.as_deref())?;
    let Some((_, newest)) = newest_of(&mirror, &names).await.map_err(git_error)? else { return Ok(None) };
    match commit {
        None => Ok(Some(newest)),
        Some(commit) => Ok(mirror.is_on(&commit, &newest).await.map_err(git_error)?.then_some(commit)),
    }
}

/// Returns the first of these names that was fetched, and its newest commit.
async fn newest_of(mirror: &Mirror, names: &[RefName]) -> Result<Option<(RefName, CommitId)>, GitError> {
    for name in names {
        match mirror.resolve(&Revision::Ref(name.clone())).await {
            Ok(commit) => return Ok(Some((name.clone(), commit))),
            Err(GitError::UnknownRevision { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Returns the full names that a name may stand for: a short name is a branch or else a tag, `None` is the default
/// branch.
fn full_names(asked: Option<&str>, default_branch: Option<&str>) -> Result<Vec<RefName>, RequestError> {
    let names = match asked {
        Some(full) if full.starts_with("refs/") => vec![full.to_owned()],
        Some(short) => vec![format!("refs/heads/{short}"), format!("refs/tags/{short}")],
        None => vec![format!("refs/heads/{}", default_branch.unwrap_or(MAIN))],
    };
    names.iter().map(|name| name.parse().map_err(invalid)).collect()
}

fn invalid(error: InvalidRevision) -> RequestError {
    RequestError::unusable(error.to_string())
}

pub(crate) fn git_error(error: GitError) -> RequestError {
    match error {
        GitError::UnknownRevision { .. } | GitError::NotACommit { .. } => RequestError::unusable(error.to_string()),
        other => RequestError::GitHost(other.to_string()),
    }
}
