//! Makes the keys that repositories are fetched with over ssh, and pins the keys that their hosts show.

use longshore_core::RepoId;
use longshore_forge::CloneUrl;
use longshore_git::{host_keys, new_key};
use longshore_store::{
    Store,
    deploy_keys::{self, DeployKey},
    repos,
};

use crate::{
    scheduler::{RequestError, not_found},
    start::git_error,
};

/// Makes a key for a repository, which replaces the one that it has, and pins the keys that its host shows now.
pub(crate) async fn make(store: &Store, repo: RepoId) -> Result<DeployKey, RequestError> {
    let repo = repos::get(store, repo).await?.ok_or_else(|| not_found("repository"))?;
    let url = repo.clone_url.parse::<CloneUrl>().map_err(|error| RequestError::unusable(error.to_string()))?;
    if !url.is_ssh() {
        let why = format!(
            "{} is cloned from {url}, which does not use SSH: set its SSH clone URL first, such as `git@host:{}.git`",
            repo.name, repo.name
        );
        return Err(RequestError::unusable(why));
    }
    let host_keys = host_keys(&url).await.map_err(git_error)?;
    let new = new_key(&format!("longshore-{}", repo.name.replace('/', "-"))).map_err(git_error)?;
    let key = DeployKey::new(new.public, new.private, host_keys);
    let mut tx = store.write().await?;
    deploy_keys::set(&mut tx, repo.id, &key).await?;
    tx.commit().await?;
    Ok(key)
}
