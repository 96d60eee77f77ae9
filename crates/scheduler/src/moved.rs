//! Follows a repository that its git host serves at another path now, as forges do when one is renamed. Git itself
//! follows no redirect, since its credentials would go wherever the host sends it. So the host is asked where it
//! redirects to, and only an address of the same scheme, host and port becomes the new clone address.

use longshore_forge::CloneUrl;
use longshore_forge_client::Http;
use longshore_store::{
    Store, StoreError,
    repos::{self, Repo, RepoPatch},
};

use crate::logins::stored;

/// The path that git requests first of a repository over http.
const FIRST: &str = "/info/refs";

/// Finds out where a repository is now whose address redirects, and stores that. `None` if the host leads elsewhere, or
/// does not say it. A repository of a connection is followed by what its forge's API says (`renames`).
pub(crate) async fn follow(store: &Store, http: &Http, repo: &Repo) -> Result<Option<Repo>, StoreError> {
    let url = match stored(repo) {
        Ok(url) if repo.connection.is_none() && !url.is_ssh() => url,
        Ok(_) | Err(_) => return Ok(None),
    };
    let asked = format!("{}{FIRST}?service=git-upload-pack", url.address().trim_end_matches('/'));
    let login = url.git_config().and_then(|(_, header)| Some(header.strip_prefix("Authorization: ")?.to_owned()));
    let http = http.clone();
    let location = tokio::task::spawn_blocking(move || http.redirect_of(&asked, login.as_deref())).await;
    let Some(moved) = location.ok().flatten().and_then(|location| moved_to(&repo.clone_url, &location)) else {
        return Ok(None);
    };
    let mut tx = store.write().await?;
    let moved = repos::patch(&mut tx, repo.id, &RepoPatch { clone_url: Some(moved), ..RepoPatch::default() }).await?;
    tx.commit().await?;
    tracing::info!(repo = repo.name, "the git host has the repository at another address now, which is followed");
    Ok(Some(moved))
}

/// Returns the clone address, with the credentials of `old`, that a redirect of git's first request leads to, if it is
/// on the same host.
fn moved_to(old: &str, location: &str) -> Option<String> {
    let (scheme, rest) = old.split_once("://")?;
    let (authority, _) = rest.split_once('/')?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = match location.strip_prefix('/') {
        // Two slashes begin another host.
        Some(path) if path.starts_with('/') => return None,
        Some(path) => path,
        None => location.strip_prefix(scheme)?.strip_prefix("://")?.strip_prefix(host)?.strip_prefix('/')?,
    };
    let path = path.split(['?', '#']).next()?.strip_suffix(FIRST)?;
    let moved = format!("{scheme}://{authority}/{path}");
    moved.parse::<CloneUrl>().ok().filter(|_| moved != old && !path.is_empty())?;
    Some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_on_the_same_host_with_the_same_credentials_and_nowhere_else() {
        let old = "https://me:s3cret@h:8443/team/old.git";
        let new = Some("https://me:s3cret@h:8443/team/new.git".to_owned());
        for location in [
            "/team/new.git/info/refs?service=git-upload-pack",
            "https://h:8443/team/new.git/info/refs?service=git-upload-pack",
            "/team/new.git/info/refs",
        ] {
            assert_eq!(moved_to(old, location), new, "{location}");
        }
        for location in [
            "http://h:8443/team/new.git/info/refs",
            "https://h/team/new.git/info/refs",
            "https://h:84431/team/new.git/info/refs",
            "https://h:8443@evil/team/new.git/info/refs",
            "https://evil/team/new.git/info/refs",
            "//evil/team/new.git/info/refs",
            "/login?next=/team/new.git/info/refs",
            "/team/old.git/info/refs",
            "/info/refs",
            "",
        ] {
            assert_eq!(moved_to(old, location), None, "{location}");
        }
    }
}
