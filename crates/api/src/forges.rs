//! Connections to forges, for the API and the pages: adds them once the forge has shown that they work, lists what they
//! reach, and registers repositories through them, or attaches registered ones, with their webhooks.
//!
//! Calls block and may take half a minute, so each runs on a thread of its own. No transaction is open meanwhile.

use std::collections::HashMap;

use longshore_core::{ConnectionId, RepoId, Timestamp, limits::check_repo_name};
use longshore_forge::{CloneUrl, Forge};
use longshore_forge_client::{CallError, Connection as Client, ForgeApi, Http, Kind, NewHook, RemoteRepo, app_token};
use longshore_store::{
    Store,
    connections::{self, Connection, NewConnection},
    repos::{self, NewRepo, Repo},
};

use crate::{error::ApiError, public_url::PublicUrl, repo_changes::without_credentials};

/// The clients for calls to forges.
#[derive(Debug, Clone)]
pub(crate) struct Forges {
    pub(crate) store: Store,
    pub(crate) public_url: PublicUrl,
    pub(crate) http: Http,
}

/// A connection as somebody asks for it.
#[derive(Debug)]
pub(crate) struct ConnectionRequest<'a> {
    pub(crate) kind: &'a str,
    pub(crate) url: &'a str,
    /// A token, or the private key of a GitHub App.
    pub(crate) token: &'a str,
    /// The id of a GitHub App.
    pub(crate) app_id: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
}

/// The repositories that a connection reaches.
#[derive(Debug, Default)]
pub(crate) struct AllReached {
    pub(crate) repos: Vec<Reached>,
    /// Accounts that have suspended the connection's App.
    pub(crate) suspended_by: Vec<String>,
}

/// A repository that a connection reaches.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) remote: RemoteRepo,
    /// Under which id it is registered here.
    pub(crate) registered: Option<RepoId>,
}

impl Forges {
    /// Adds a connection, or gives one a new token, after the forge has said whose token it is and what it may do.
    pub(crate) async fn connect(
        &self,
        request: ConnectionRequest<'_>,
        by: &str,
    ) -> Result<(Connection, bool), ApiError> {
        let kind: Kind = request.kind.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
        // Its webhooks have to be understood too.
        kind.as_str().parse::<Forge>().map_err(|error| ApiError::bad_request(error.to_string()))?;
        let token = match request.app_id.map(str::trim).filter(|id| !id.is_empty()) {
            None => Ok(request.token.to_owned()),
            Some(_) if kind != Kind::Github => {
                return Err(ApiError::bad_request("only GitHub has Apps: leave out `app_id`"));
            }
            Some(id) => app_token(id, request.token),
        };
        let token = token.map_err(|error| ApiError::bad_request(error.to_string()))?;
        let client =
            Client::new(kind, request.url, &token).map_err(|error| ApiError::bad_request(error.to_string()))?;
        let account = call(&self.http, &client, |api| api.check()).await?;
        let new = NewConnection {
            name: request.name.map(str::to_owned),
            kind: kind.as_str().to_owned(),
            url: client.address().to_owned(),
            clone_login: client.clone_login(&account),
            token: client.expose_token().to_owned(),
            account: account.login,
        };
        let mut tx = self.store.write().await?;
        let (connection, is_new) = connections::set(&mut tx, &new, by, Timestamp::now()).await?;
        tx.commit().await?;
        tracing::info!(connection = connection.name, url = connection.url, is_new, by, "a connection was set");
        self.set_app_hook(&connection, &client).await;
        Ok((connection, is_new))
    }

    /// Has an App's webhook come here, by which people ask for reruns. Without it, reruns can only be requested here.
    async fn set_app_hook(&self, connection: &Connection, client: &Client) {
        let Some(secret) = client.app_hook_secret() else { return };
        let url = format!("{}/hooks/apps/{}", self.public_url, connection.id);
        let set = move |api: &dyn ForgeApi| api.set_app_hook(NewHook { url: &url, secret: &secret });
        match call(&self.http, client, set).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(
                connection = connection.name,
                "the webhook of the GitHub App leads elsewhere and stays so: GitHub's button to rerun does nothing here"
            ),
            Err(error) => tracing::warn!(
                connection = connection.name,
                error = error.message(),
                "the webhook of the GitHub App could not be set: GitHub's button to rerun does nothing here"
            ),
        }
    }

    /// Returns the secret of the webhook of a connection that is a GitHub App.
    pub(crate) async fn app_hook_secret(&self, id: ConnectionId) -> Result<Option<String>, ApiError> {
        let is_there = connections::get(&self.store, id).await?.is_some();
        if !is_there {
            return Ok(None);
        }
        Ok(self.open(id).await?.1.app_hook_secret())
    }

    /// Returns whether somebody may write to a repository at its forge.
    pub(crate) async fn may_write(&self, id: ConnectionId, repo: String, login: String) -> Result<bool, ApiError> {
        let (_, client) = self.open(id).await?;
        call(&self.http, &client, move |api| api.may_write(&repo, &login)).await
    }

    /// Removes a connection that no repository uses.
    pub(crate) async fn disconnect(&self, id: ConnectionId, by: &str) -> Result<(), ApiError> {
        let mut tx = self.store.write().await?;
        connections::remove(&mut tx, id).await?;
        tx.commit().await?;
        tracing::info!(connection = %id, by, "a connection was removed");
        Ok(())
    }

    /// Lists the repositories that a connection reaches, and which of them are registered.
    pub(crate) async fn reached_by(&self, id: ConnectionId) -> Result<AllReached, ApiError> {
        let (_, client) = self.open(id).await?;
        let asked = call(&self.http, &client, |api| Ok((api.repos()?, api.suspended_by()?)));
        let (mut remotes, suspended_by) = asked.await?;
        remotes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let registered: HashMap<String, RepoId> = connections::registered(&self.store, id).await?.into_iter().collect();
        let reached = |remote: RemoteRepo| Reached { registered: registered.get(&remote.id).copied(), remote };
        Ok(AllReached { repos: remotes.into_iter().map(reached).collect(), suspended_by })
    }

    /// Finds the connection that somebody calls by this word.
    pub(crate) async fn find(&self, word: &str) -> Result<Connection, ApiError> {
        connections::find(&self.store, word).await?.ok_or_else(|| {
            ApiError::bad_request(format!(
                "no connection `{}`, or more than one: see `longshore connection list`",
                word.chars().take(100).flat_map(char::escape_debug).collect::<String>()
            ))
        })
    }

    /// Registers a repository of a connection: looks it up at the forge, stores it, and sets up its webhook. If a kill
    /// or the forge came in between, the same request goes on where it stopped.
    pub(crate) async fn register(&self, id: ConnectionId, name: &str, public: bool) -> Result<Repo, ApiError> {
        check_repo_name(name)?;
        let (connection, client) = self.open(id).await?;
        let remote = self.administered(&connection, &client, name).await?;
        let (repo, is_new) = self.store_repo(&connection, &client, &remote, public).await?;
        match self.set_up_hook(&client, &remote.id, &repo).await {
            Ok(repo) => Ok(repo),
            Err(error) => {
                if is_new {
                    self.forget(repo.id).await;
                }
                Err(error)
            }
        }
    }

    /// Attaches a repository that was registered by hand to a connection: looks it up at the forge under `name`, or
    /// else where it is cloned from, sets up its webhook with the secret that it has, and clones it with the
    /// connection's token if its clone address is one of that forge. Nothing changes here unless the forge has done its
    /// part.
    pub(crate) async fn attach(&self, repo: &Repo, id: ConnectionId, name: Option<&str>) -> Result<Repo, ApiError> {
        if let Some(other) = repo.connection.filter(|other| *other != id || repo.hook_id.is_some()) {
            let other = connections::get(&self.store, other).await?.map(|other| other.name).unwrap_or_default();
            return Err(ApiError::conflict(format!("{} is already connected, through `{other}`", repo.name)));
        }
        let (connection, client) = self.open(id).await?;
        let address = without_credentials(&repo.clone_url);
        let name = match (name, connection.path_of(&address)) {
            (Some(name), _) => name,
            (None, Some(path)) => path.trim_end_matches('/').trim_end_matches(".git"),
            (None, None) if are_on_one_host(&address, &connection.url) => &repo.name,
            // Another forge may have another repository of that name.
            (None, None) => {
                return Err(ApiError::unprocessable(format!(
                    "{} is cloned from {address}, which is not on {}: if it is a repository of that forge all the same, say its name \
                     there (`--name`)",
                    repo.name, connection.url
                )));
            }
        };
        check_repo_name(name)?;
        let remote = self.administered(&connection, &client, name).await?;
        if let Some(known) = repo.forge_id.as_ref().filter(|known| **known != remote.id) {
            return Err(ApiError::conflict(format!(
                "{} is repository {known} at its forge, as its webhook says, and {} is repository {}: name the one that it is",
                repo.name, remote.name, remote.id
            )));
        }
        let registered = connections::registered(&self.store, id).await?;
        if registered.iter().any(|(forge_id, other)| *forge_id == remote.id && *other != repo.id) {
            return Err(ApiError::conflict(format!("{} is already registered, through this connection", remote.name)));
        }
        let hook = self.make_hook(&client, &remote.id, repo).await?;
        let account = longshore_forge_client::Account { login: connection.account.clone() };
        let mut tx = self.store.write().await?;
        connections::attach(&mut tx, repo.id, id, &remote.id).await?;
        connections::set_hook(&mut tx, repo.id, &hook).await?;
        connections::lend_login(&mut tx, &connection, repo.id, &address, &client.clone_login(&account)).await?;
        tx.commit().await?;
        repos::get(&self.store, repo.id).await?.ok_or_else(|| ApiError::not_found("repository"))
    }

    /// Returns a repository of the forge that the connection's account administers.
    async fn administered(&self, connection: &Connection, client: &Client, name: &str) -> Result<RemoteRepo, ApiError> {
        let name = name.to_owned();
        let remote = call(&self.http, client, move |api| api.repo(&name)).await?;
        if !remote.admin {
            return Err(ApiError::unprocessable(format!(
                "the account {} is not an admin of {} on {}, and only admins can set up webhooks",
                connection.account, remote.name, connection.url
            )));
        }
        Ok(remote)
    }

    /// Returns the repository, and whether it is new.
    async fn store_repo(
        &self,
        connection: &Connection,
        client: &Client,
        remote: &RemoteRepo,
        public: bool,
    ) -> Result<(Repo, bool), ApiError> {
        let registered = connections::registered(&self.store, connection.id).await?;
        if let Some((_, known)) = registered.iter().find(|(forge_id, _)| *forge_id == remote.id)
            && let Some(repo) = repos::get(&self.store, *known).await?
        {
            return match repo.hook_id {
                None => Ok((repo, false)),
                Some(_) => Err(ApiError::conflict(format!("{} is already registered, as {}", remote.name, repo.name))),
            };
        }
        if let Some(by_hand) = repos::by_name(&self.store, &remote.name).await?.filter(|repo| repo.connection.is_none())
        {
            let name = &by_hand.name;
            let address = without_credentials(&by_hand.clone_url);
            return Err(ApiError::conflict(if are_on_one_host(&address, &connection.url) {
                format!(
                    "{name} is already registered, without a connection: connect it on its settings page, or with \
                     `longshore repo connect {name} {}`",
                    connection.name
                )
            } else {
                format!(
                    "{name} is already registered, and cloned from {address}: if it is another repository, rename it with \
                     `longshore repo change {name} --name NAME`; if it is the same one, connect it with \
                     `longshore repo connect {name} {} --name {name}`",
                    connection.name
                )
            }));
        }
        let account = longshore_forge_client::Account { login: connection.account.clone() };
        let address = client.clone_address(&remote.name);
        let new = NewRepo {
            name: remote.name.clone(),
            forge: connection.kind.clone(),
            clone_url: connections::with_login(&address, &client.clone_login(&account)),
            public,
            default_branch: remote.default_branch.clone(),
        };
        let mut tx = self.store.write().await?;
        let repo = repos::create(&mut tx, &new, Timestamp::now()).await?;
        connections::attach(&mut tx, repo.id, connection.id, &remote.id).await?;
        tx.commit().await?;
        Ok((repo, true))
    }

    /// Sets up the webhook of a repository, in place of the present one.
    async fn set_up_hook(&self, client: &Client, forge_id: &str, repo: &Repo) -> Result<Repo, ApiError> {
        let hook = self.make_hook(client, forge_id, repo).await?;
        let mut tx = self.store.write().await?;
        connections::set_hook(&mut tx, repo.id, &hook).await?;
        tx.commit().await?;
        repos::get(&self.store, repo.id).await?.ok_or_else(|| ApiError::not_found("repository"))
    }

    /// Makes the webhook of a repository at the forge, in place of the present one. Returns its id.
    async fn make_hook(&self, client: &Client, forge_id: &str, repo: &Repo) -> Result<String, ApiError> {
        let (url, secret) = (format!("{}/hooks/{}", self.public_url, repo.id), repo.hook_secret.expose()?.to_owned());
        let forge_id = forge_id.to_owned();
        let set = move |api: &dyn ForgeApi| api.set_hook(&forge_id, NewHook { url: &url, secret: &secret });
        call(&self.http, client, set).await
    }

    /// Gives the forge the new secret of a repository's webhook, if it was registered through a connection. Returns
    /// whether it was.
    pub(crate) async fn renew_hook(&self, repo: &Repo) -> Result<bool, ApiError> {
        let (Some(id), Some(forge_id)) = (repo.connection, &repo.forge_id) else { return Ok(false) };
        let (_, client) = self.open(id).await?;
        match self.set_up_hook(&client, forge_id, repo).await {
            Ok(_) => Ok(true),
            Err(error) => Err(error.with_note(
                "The forge has not taken the new webhook secret, so the former one still works: create a new secret to try \
                 again, or reject the former one in the repository's settings",
            )),
        }
    }

    /// Removes a repository from the store; what the forge has is no longer reachable then.
    async fn forget(&self, id: RepoId) {
        let removed = async {
            let mut tx = self.store.write().await?;
            repos::delete(&mut tx, id).await?;
            tx.commit().await
        };
        if let Err(error) = removed.await {
            tracing::warn!(repo = %id, %error, "a repository without a webhook stays registered");
        }
    }

    /// Removes a repository with its builds, and its webhook if the forge lets us.
    pub(crate) async fn remove_repo(&self, repo: &Repo) -> Result<(), ApiError> {
        let mut tx = self.store.write().await?;
        repos::delete(&mut tx, repo.id).await?;
        tx.commit().await?;
        if let Err(error) = self.remove_hook(repo).await {
            tracing::warn!(repo = repo.name, error = error.message(), "its webhook at the forge could not be removed");
        }
        Ok(())
    }

    async fn remove_hook(&self, repo: &Repo) -> Result<(), ApiError> {
        let (Some(id), Some(forge_id), Some(hook)) = (repo.connection, repo.forge_id.clone(), repo.hook_id.clone())
        else {
            return Ok(());
        };
        let (_, client) = self.open(id).await?;
        call(&self.http, &client, move |api| api.remove_hook(&forge_id, &hook)).await
    }

    async fn open(&self, id: ConnectionId) -> Result<(Connection, Client), ApiError> {
        let found = connections::open(&self.store, id).await?;
        let (connection, token) = found.ok_or_else(|| ApiError::not_found("connection"))?;
        let kind: Kind = connection.kind.parse().map_err(ApiError::internal)?;
        let client = Client::new(kind, &connection.url, &token).map_err(ApiError::internal)?;
        Ok((connection, client))
    }
}

/// Returns whether a repository may be one of the forge by its clone address. SSH has another port than the forge's pages.
fn are_on_one_host(clone_address: &str, forge: &str) -> bool {
    let host_and_port = |address: &str| {
        let url: CloneUrl = format!("{}/x", address.trim_end_matches('/')).parse().ok()?;
        Some(url.host().to_ascii_lowercase())
    };
    let (Some(one), Some(other)) = (host_and_port(clone_address), host_and_port(forge)) else { return false };
    let name = |host: &str| {
        let name = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
        name.map(str::to_owned)
    };
    if clone_address.starts_with("http") { one == other } else { name(&one) == name(&other) }
}

async fn call<T: Send + 'static>(
    http: &Http,
    client: &Client,
    ask: impl FnOnce(&dyn ForgeApi) -> Result<T, CallError> + Send + 'static,
) -> Result<T, ApiError> {
    let (http, client) = (http.clone(), client.clone());
    let kind = client.kind();
    let asked = tokio::task::spawn_blocking(move || ask(&*client.api(&http))).await.map_err(ApiError::internal)?;
    asked.map_err(|error| match error {
        CallError::MissingRight { .. } | CallError::BadToken { .. } => {
            ApiError::unprocessable(format!("{error}. {} needs {}", kind.title(), kind.rights()))
        }
        error if error.may_pass() => ApiError::forge(error.to_string()),
        error => ApiError::unprocessable(error.to_string()),
    })
}
