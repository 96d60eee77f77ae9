//! Checks and writes a repository's settings, for the API and the pages.

use std::time::Duration;

use longshore_core::{
    RepoId, StatusDetail, Strangers, access::Action, commit_status::NotAStatusDetail, docker::DockerGrant,
    limits::check_repo_name, stranger::NotStrangers,
};
use longshore_forge::{CloneUrl, Forge, NotAForge, RefName};
use longshore_scheduler::{RequestError, Scheduler};
use longshore_store::{
    Store, connections, deploy_keys,
    repos::{self, Repo, RepoPatch},
};

use crate::{auth::Caller, error::ApiError};

/// The most repositories of submodules that are named, each a repository or all of an owner.
const MAX_SUBMODULES: usize = 200;

/// How long registering a repository waits for its git host.
const REACHED_WITHIN: Duration = Duration::from_secs(20);

/// Asks the git host for the repository's branches and tags, as its clone address was just given. Returns the
/// repository with why it cannot be fetched, if so.
pub(crate) async fn try_to_reach(store: &Store, scheduler: &Scheduler, repo: Repo) -> Result<Repo, ApiError> {
    match tokio::time::timeout(REACHED_WITHIN, scheduler.check_for_missed_pushes(repo.id)).await {
        Ok(Ok(_) | Err(RequestError::GitHost(_))) => {}
        Ok(Err(error)) => return Err(error.into()),
        // It is asked again in the background.
        Err(_) => {
            let look_error = format!("its git host has not answered within {} s", REACHED_WITHIN.as_secs());
            return Ok(Repo { look_error: Some(look_error), ..repo });
        }
    }
    Ok(repos::get(store, repo.id).await?.unwrap_or(repo))
}

/// Parses the word for a forge.
pub(crate) fn parse_forge(word: &str) -> Result<Forge, ApiError> {
    word.parse().map_err(|error: NotAForge| ApiError::bad_request(error.to_string()))
}

pub(crate) async fn apply_patch(store: &Store, id: RepoId, patch: &RepoPatch) -> Result<Repo, ApiError> {
    let mut tx = store.write().await?;
    let repo = repos::patch(&mut tx, id, patch).await?;
    tx.commit().await?;
    Ok(repo)
}

/// Rejects the former webhook secret, although the forge has not confirmed the new one.
pub(crate) async fn reject_former_hook_secret(store: &Store, caller: &Caller, id: RepoId) -> Result<(), ApiError> {
    caller.repo_to(store, Action::ChangeRepo, id).await?;
    let mut tx = store.write().await?;
    connections::reject_former_hook_secret(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, by = caller.name(), "a former hook secret is rejected");
    Ok(())
}

/// Removes a repository's deploy key. It is then fetched with the server's own keys.
pub(crate) async fn remove_deploy_key(store: &Store, caller: &Caller, id: RepoId) -> Result<(), ApiError> {
    caller.repo_to(store, Action::ChangeRepo, id).await?;
    let mut tx = store.write().await?;
    deploy_keys::remove(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, by = caller.name(), "a deploy key was removed");
    Ok(())
}

/// Parses which pull requests of forks wait for approval: `none`, `first-time` or `all`.
pub(crate) fn parse_strangers(word: &str) -> Result<Strangers, ApiError> {
    word.parse().map_err(|error: NotStrangers| ApiError::bad_request(error.to_string()))
}

/// Checks which jobs may have Docker.
pub(crate) fn check_docker(grant: &DockerGrant) -> Result<(), ApiError> {
    longshore_pipeline::docker_rules::check(grant).map_err(ApiError::bad_request)
}

/// Parses which statuses the forge shows: `pipeline`, `job` or `none`.
pub(crate) fn parse_statuses(word: &str) -> Result<StatusDetail, ApiError> {
    word.parse().map_err(|error: NotAStatusDetail| ApiError::bad_request(error.to_string()))
}

/// Returns a clone address without its credentials. Empty if the address is not valid: earlier versions stored some
/// that are not.
pub(crate) fn without_credentials(clone_url: &str) -> String {
    clone_url.parse::<CloneUrl>().map_or_else(|_| String::new(), |url| url.address().to_owned())
}

/// Returns why a repository cannot be fetched. The reason may name hosts, so only those read it who may change the
/// repository.
pub(crate) fn shown_look_error(repo: &Repo, may_change: bool) -> Option<String> {
    let why = repo.look_error.clone()?;
    Some(if may_change { why } else { "its administrators see the reason".to_owned() })
}

pub(crate) fn check_clone_url(text: &str) -> Result<(), ApiError> {
    text.parse::<CloneUrl>().map(drop).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// Checks the repositories that a clone address's credentials are used for when they are submodules.
pub(crate) fn check_submodules(named: &[String]) -> Result<(), ApiError> {
    if named.len() > MAX_SUBMODULES {
        return Err(ApiError::bad_request(format!("at most {MAX_SUBMODULES} submodules can be listed")));
    }
    for name in named {
        let of_owner = name.strip_suffix("/*").unwrap_or(name);
        if check_repo_name(of_owner).is_err() || of_owner.ends_with(".git") {
            let name: String = name.chars().take(60).flat_map(char::escape_debug).collect();
            return Err(ApiError::bad_request(format!(
                "`{name}` is not a repository: write `owner/name`, or `owner/*` for all of an owner"
            )));
        }
    }
    Ok(())
}

/// Checks a default branch's short name, if one is given.
pub(crate) fn check_branch(name: Option<&str>) -> Result<(), ApiError> {
    let Some(name) = name else { return Ok(()) };
    match format!("refs/heads/{name}").parse::<RefName>() {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::bad_request("`default_branch` must be a branch's short name, such as `main`")),
    }
}
