//! Follows a repository of a connection to the name that it has at its forge now: the forge redirects from its old
//! name, and redirects are not followed.
//!
//! A delivery is only the occasion. Anyone who knows the webhook's secret can write any name into one, and the
//! connection's login, which may read other repositories too, is sent to the address. So the forge is asked, and its
//! answer counts.

use longshore_core::limits::check_repo_name;
use longshore_forge::ForgeRepository;
use longshore_forge_client::{self as forge_client, CallError, Http};
use longshore_store::{
    Store, StoreError,
    connections::{self, Connection},
    repos::Repo,
};

/// The outcome of checking a name that a delivery reported.
pub(crate) enum Renamed {
    /// The repository is where it was.
    No,
    /// It has moved, and this is it now.
    Followed(Box<Repo>),
    /// The forge does not call it so: nothing has changed.
    Refused(String),
    /// The forge does not answer now: nothing has changed.
    Unanswered(String),
}

/// Finds out whether a delivery reports another name, and adopts it if the forge confirms that it is this repository's.
pub(crate) async fn follow(
    store: &Store,
    http: &Http,
    repo: &Repo,
    told: &ForgeRepository,
) -> Result<Renamed, StoreError> {
    let (Some(id), Some(forge_id), Some(name)) = (repo.connection, &repo.forge_id, told.full_name.as_deref()) else {
        return Ok(Renamed::No);
    };
    // A name that cannot be part of an address is not followed.
    let Some(connection) = connections::get(store, id).await?.filter(|_| check_repo_name(name).is_ok()) else {
        return Ok(Renamed::No);
    };
    if told.id.as_ref() != Some(forge_id) || connection.renamed_address(repo, name).is_none() {
        return Ok(Renamed::No);
    }
    match id_at_forge(store, http, &connection, name).await? {
        Ok(id) if id == *forge_id => {}
        Err(error) if error.may_pass() || matches!(error, CallError::BadToken { .. }) => {
            tracing::warn!(repo = repo.name, name, %error, "the forge cannot be asked for the new name of a repository");
            return Ok(Renamed::Unanswered(format!("the forge has to confirm the repository's new name: {error}")));
        }
        // The same text in every case, so that it does not reveal whether such a repository exists. Everybody who sees
        // this repository can read it, so the names are only in the server's log.
        Ok(_) | Err(_) => {
            let connection = &connection.name;
            tracing::warn!(repo = repo.name, name, connection, "the forge does not confirm a repository's new name");
            return Ok(Renamed::Refused(format!(
                "refused: the delivery gives the repository a new name, and the forge does not say through the connection \
                 that this is repository {forge_id}: if it has that name now, let the connection's account read it and \
                 deliver this again. The server's log has the names"
            )));
        }
    }
    let mut tx = store.write().await?;
    let Some(moved) = connections::follow_rename(&mut tx, &connection, repo, name).await? else {
        return Ok(Renamed::No);
    };
    tx.commit().await?;
    tracing::info!(repo = repo.name, name, "a repository has another name at its forge");
    Ok(Renamed::Followed(Box::new(moved)))
}

/// Asks the forge for the number of the repository that has this name.
async fn id_at_forge(
    store: &Store,
    http: &Http,
    connection: &Connection,
    name: &str,
) -> Result<Result<String, CallError>, StoreError> {
    let token = match connections::open(store, connection.id).await {
        Ok(Some((_, token))) => token,
        Ok(None) => return Err(StoreError::NotFound("connection")),
        // The key of secrets is missing, or the token is damaged: setting it again repairs both.
        Err(error) => {
            let message = error.into_unusable()?;
            return Ok(Err(CallError::BadToken { host: connection.url.clone(), message }));
        }
    };
    let kind = connection.kind.parse().map_err(|error| StoreError::Corrupt(format!("{error}")))?;
    let client = forge_client::Connection::new(kind, &connection.url, &token)
        .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let (http, name) = (http.clone(), name.to_owned());
    let asked = tokio::task::spawn_blocking(move || client.api(&http).repo(&name).map(|remote| remote.id)).await;
    Ok(asked.unwrap_or_else(|error| {
        Err(CallError::Unreachable { host: connection.url.clone(), detail: format!("the call broke off: {error}") })
    }))
}
