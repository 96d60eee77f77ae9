//! `/connections`: the forges that the server may call, and at `/connections/{connection}` the repositories that one of
//! them reaches, each to be registered with one click.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use longshore_core::{
    ConnectionId,
    access::{Action, Object},
};
use longshore_forge::Forge;
use longshore_forge_client::Kind;
use longshore_store::connections::{self, Connection};
use serde::Deserialize;

use super::{
    head::{Head, Place},
    html::Html,
    post::{NoFields, Post, Refused, refused, see_other},
    show,
    site::Site,
    visitor::Visitor,
};
use crate::{
    error::ApiError,
    forges::{AllReached, ConnectionRequest, Forges, Reached},
    params::Path,
};

/// Repositories that are shown; the others are registered by their names.
const MAX_REPOS: usize = 100;

#[derive(Template)]
#[template(path = "connections.html")]
struct ConnectionsPage {
    head: Head,
    csrf: String,
    connections: Vec<Connection>,
    form: NewForm,
    /// Why a connection was not added or not removed.
    refused: Option<String>,
}

impl ConnectionsPage {
    /// Returns the kinds that can be connected, each with what its token needs.
    fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let known = Kind::ALL.into_iter().filter(|kind| kind.as_str().parse::<Forge>().is_ok());
        known.map(|kind| (kind.as_str(), kind.title(), kind.rights()))
    }
}

#[derive(Default, Deserialize)]
pub(crate) struct NewForm {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    token: String,
    /// The id of a GitHub App; `key` is its private key.
    #[serde(default)]
    app_id: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    name: String,
}

pub(crate) async fn show(State(site): State<Site>, visitor: Visitor) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see_other("/sign-in?next=/connections"));
    }
    Ok(Html(page(&site, &visitor).await?).into_response())
}

async fn page(site: &Site, visitor: &Visitor) -> Result<ConnectionsPage, ApiError> {
    visitor.caller.require(Action::ManageConnections, Object::Server)?;
    let head = Head::new(site, visitor, Place::Settings, "Forges");
    let connections = connections::list(&site.store).await?;
    Ok(ConnectionsPage { head, csrf: visitor.csrf(), connections, form: NewForm::default(), refused: None })
}

/// Leads to the repositories of the new connection.
pub(crate) async fn add(
    State(site): State<Site>,
    State(forges): State<Forges>,
    Post { visitor, form }: Post<NewForm>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Action::ManageConnections, Object::Server)?;
    let name = Some(form.name.trim()).filter(|name| !name.is_empty());
    let app_id = Some(form.app_id.trim()).filter(|id| !id.is_empty());
    let token = if app_id.is_some() { &form.key } else { &form.token };
    let request = ConnectionRequest { kind: &form.kind, url: &form.url, token, app_id, name };
    match forges.connect(request, visitor.caller.name()).await {
        Ok((connection, _)) => Ok(see_other(&format!("/connections/{}", connection.id))),
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            let form = NewForm { token: String::new(), key: String::new(), ..form };
            let page = ConnectionsPage { form, refused: Some(why), ..page(&site, &visitor).await? };
            Ok((status, Html(page)).into_response())
        }
    }
}

pub(crate) async fn remove(
    State(site): State<Site>,
    State(forges): State<Forges>,
    Path(id): Path<ConnectionId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Action::ManageConnections, Object::Server)?;
    match forges.disconnect(id, visitor.caller.name()).await {
        Ok(()) => Ok(see_other("/connections")),
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            let page = ConnectionsPage { refused: Some(why), ..page(&site, &visitor).await? };
            Ok((status, Html(page)).into_response())
        }
    }
}

#[derive(Template)]
#[template(path = "connection.html")]
struct ReposPage {
    head: Head,
    csrf: String,
    connection: Connection,
    repos: Vec<Reached>,
    more: usize,
    suspended_by: Vec<String>,
    /// Why the forge does not list them, or one was not registered.
    refused: Option<String>,
}

pub(crate) async fn repos(
    State(site): State<Site>,
    State(forges): State<Forges>,
    Path(id): Path<ConnectionId>,
    visitor: Visitor,
) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see_other(&format!("/sign-in?next=/connections/{id}")));
    }
    Ok(Html(repos_page(&site, &forges, &visitor, id, None).await?).into_response())
}

async fn repos_page(
    site: &Site,
    forges: &Forges,
    visitor: &Visitor,
    id: ConnectionId,
    mut why: Option<String>,
) -> Result<ReposPage, ApiError> {
    visitor.caller.require(Action::ManageConnections, Object::Server)?;
    let connection = connections::get(&site.store, id).await?.ok_or_else(|| ApiError::not_found("connection"))?;
    let head = Head::new(site, visitor, Place::Settings, format!("Repositories on {}", connection.name));
    let AllReached { mut repos, suspended_by } = match forges.reached_by(id).await {
        Ok(reached) => reached,
        Err(error) => {
            why = why.or(Some(refused(error)?.why));
            AllReached::default()
        }
    };
    // Repositories that can be registered come first.
    repos.sort_by_key(|repo| (repo.registered.is_some(), !repo.remote.admin));
    let more = repos.len().saturating_sub(MAX_REPOS);
    repos.truncate(MAX_REPOS);
    Ok(ReposPage { head, csrf: visitor.csrf(), connection, repos, more, suspended_by, refused: why })
}

#[derive(Debug, Deserialize)]
pub(crate) struct RegisterForm {
    #[serde(default)]
    name: String,
}

pub(crate) async fn register(
    State(site): State<Site>,
    State(forges): State<Forges>,
    Path(id): Path<ConnectionId>,
    Post { visitor, form }: Post<RegisterForm>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Action::ManageConnections, Object::Server)?;
    visitor.caller.require(Action::AddRepo, Object::Server)?;
    match forges.register(id, form.name.trim(), false).await {
        Ok(repo) => {
            tracing::info!(repo = %repo.id, name = repo.name, by = visitor.caller.name(), "a repository was registered");
            Ok(see_other(&format!("/repos/{}", repo.id)))
        }
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            let page = repos_page(&site, &forges, &visitor, id, Some(why)).await?;
            Ok((status, Html(page)).into_response())
        }
    }
}
