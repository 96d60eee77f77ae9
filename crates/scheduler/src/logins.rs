//! The credentials that repositories are fetched with: the login in their clone address, their key, or a token that a
//! GitHub App makes for the moment.

use longshore_forge::{CloneUrl, SshLogin};
use longshore_forge_client::{Connection as Client, Http, Kind};
use longshore_git::GitError;
use longshore_store::{
    Store,
    connections::{self, with_login},
    repos::Repo,
};

/// Finds logins. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Logins {
    pub store: Store,
    /// The HTTP client for forges.
    pub http: Http,
}

impl Logins {
    /// Returns the address that a repository is fetched from, with its credentials or its key. A GitHub App's
    /// credentials are good for some minutes.
    ///
    /// # Errors
    /// If they cannot be decrypted, the address is invalid, or GitHub gives no token.
    pub async fn clone_url(&self, repo: &Repo) -> Result<CloneUrl, GitError> {
        let url = stored(repo)?;
        let Some(id) = repo.connection.filter(|_| !url.has_credentials() && !url.is_ssh()) else { return Ok(url) };
        let failed =
            |detail: String| GitError::Authentication { address: url.address().to_owned(), given: true, detail };
        let (connection, token) = match connections::open(&self.store, id).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(url),
            Err(error) => return Err(failed(error.into_unusable().unwrap_or_else(|error| error.to_string()))),
        };
        // A token goes to its own forge alone.
        let Some(path) = connection.path_of(url.address()) else { return Ok(url) };
        let name = path.trim_end_matches('/').trim_end_matches(".git").to_owned();
        let client = connection.kind.parse::<Kind>().ok();
        let client = client.and_then(|kind| Client::new(kind, &connection.url, &token).ok());
        let Some(client) = client.filter(Client::is_app) else { return Ok(url) };
        let http = self.http.clone();
        let asked = tokio::task::spawn_blocking(move || client.login_now(&http, &name));
        let login = match asked.await {
            Ok(Ok(login)) => login.unwrap_or_default(),
            Ok(Err(error)) if error.may_pass() => {
                return Err(GitError::Unreachable { address: url.address().to_owned(), detail: error.to_string() });
            }
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(error) => return Err(failed(error.to_string())),
        };
        with_login(url.address(), &login).parse().map_err(|_| failed("GitHub's token cannot be used".to_owned()))
    }

    /// Like [`clone_url`](Self::clone_url), for a commit that most likely is here: GitHub may be away.
    ///
    /// # Errors
    /// If what is stored cannot be decrypted, or the address is invalid.
    pub async fn clone_url_if_any(&self, repo: &Repo) -> Result<CloneUrl, GitError> {
        match self.clone_url(repo).await {
            Ok(url) => Ok(url),
            Err(_) => stored(repo),
        }
    }
}

/// Returns the credentials that are stored.
pub(crate) fn stored(repo: &Repo) -> Result<CloneUrl, GitError> {
    let closed = |detail: String| GitError::Authentication { address: repo.clone_url.clone(), given: true, detail };
    if repo.credentials_closed {
        return Err(closed("its credentials cannot be decrypted with the current key".to_owned()));
    }
    let url = repo.clone_url.parse::<CloneUrl>().map_err(|error| GitError::RefusedAddress {
        address: "the clone address".to_owned(),
        detail: error.to_string(),
    })?;
    let Some(key) = repo.deploy_key.as_ref().filter(|_| url.is_ssh()) else { return Ok(url) };
    let private = key.expose().map_err(|error| closed(error.to_string()))?;
    Ok(url.with_ssh_login(SshLogin::new(private.to_owned(), key.host_keys.clone())))
}
