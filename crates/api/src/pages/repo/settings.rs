//! `/repos/{repo}/settings`: where it is fetched from, who sees it, its webhook, its secrets, its badge, its end.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use longshore_core::{RepoId, Timestamp};
use longshore_store::{
    repos::{self, RepoPatch},
    secrets::{self, Secret, SecretValue},
    tokens::Scope,
};
use serde::Deserialize;

use super::{Frame, Tab, find, new::webhook};
use crate::{
    ApiError,
    pages::{
        Head, Html, Place, Visitor,
        post::{Nothing, Post, see},
        show,
    },
    params::Path,
    repos::{apply, check_branch, check_clone_url},
    server::Server,
};

#[derive(Template)]
#[template(path = "repo/settings.html")]
pub(crate) struct Settings {
    head: Head,
    repo: Frame,
    hook_url: String,
    badge: String,
    page: String,
    secrets: Vec<Secret>,
}

pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Path(id): Path<RepoId>,
) -> Result<Html<Settings>, ApiError> {
    let head = Head::new(&server, &visitor, Place::Elsewhere, "");
    let repo = find(&server, &visitor, id).await?;
    visitor.caller.require(Scope::Admin)?;
    let url = &server.config.public_url;
    Ok(Html(Settings {
        head: head.titled(format!("Settings of {}", repo.name)),
        hook_url: format!("{url}/hooks/{id}"),
        badge: format!("{url}/badges/{id}.svg"),
        page: format!("{url}/repos/{id}"),
        secrets: secrets::list(&server.store, id).await?,
        repo: Frame::of(&visitor, &repo, Tab::Settings),
    }))
}

#[derive(Debug, Deserialize)]
pub(crate) struct SettingsForm {
    /// Empty for the one that is kept, whose credentials are not shown.
    #[serde(default)]
    clone_url: String,
    #[serde(default)]
    default_branch: String,
    public: Option<String>,
}

pub(crate) async fn change(
    State(server): State<Arc<Server>>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<SettingsForm>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Admin)?;
    let given = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let patch = RepoPatch {
        clone_url: given(&form.clone_url),
        public: Some(form.public.is_some()),
        default_branch: given(&form.default_branch),
        renew_hook_secret: false,
    };
    if let Some(url) = &patch.clone_url {
        check_clone_url(url)?;
    }
    check_branch(patch.default_branch.as_deref())?;
    apply(&server, id, &patch).await?;
    tracing::info!(repo = %id, by = visitor.caller.name(), "a repository was changed");
    Ok(see(&format!("/repos/{id}/settings")))
}

pub(crate) async fn renew_hook_secret(
    State(server): State<Arc<Server>>,
    Path(id): Path<RepoId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Admin)?;
    let repo = apply(&server, id, &RepoPatch { renew_hook_secret: true, ..RepoPatch::default() }).await?;
    tracing::info!(repo = %id, by = visitor.caller.name(), "a hook secret was renewed");
    Ok(webhook(&server, &visitor, &repo, false))
}

#[derive(Deserialize)]
pub(crate) struct SecretForm {
    name: String,
    value: String,
}

pub(crate) async fn set_secret(
    State(server): State<Arc<Server>>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<SecretForm>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Admin)?;
    let name = crate::secrets::checked(form.name.trim())?;
    // Browsers send line ends as CRLF; a key's file has none of those.
    let value = SecretValue::new(form.value.replace("\r\n", "\n"))?;
    let mut tx = server.store.write().await?;
    secrets::set(&mut tx, id, &name, &value, visitor.caller.name(), Timestamp::now()).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, %name, by = visitor.caller.name(), "a secret was set");
    Ok(see(&format!("/repos/{id}/settings")))
}

#[derive(Debug, Deserialize)]
pub(crate) struct SecretName {
    name: String,
}

pub(crate) async fn remove_secret(
    State(server): State<Arc<Server>>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<SecretName>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Admin)?;
    let name = crate::secrets::checked(&form.name)?;
    let mut tx = server.store.write().await?;
    secrets::remove(&mut tx, id, &name).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, %name, by = visitor.caller.name(), "a secret was removed");
    Ok(see(&format!("/repos/{id}/settings")))
}

#[derive(Debug, Deserialize)]
pub(crate) struct RemoveForm {
    /// The repository's name, so that nobody removes one by accident.
    name: String,
}

pub(crate) async fn remove(
    State(server): State<Arc<Server>>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<RemoveForm>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Admin)?;
    let repo = find(&server, &visitor, id).await?;
    if form.name.trim() != repo.name {
        return Err(ApiError::bad_request(format!("to remove it, write its name: {}", repo.name)));
    }
    let mut tx = server.store.write().await?;
    repos::delete(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, by = visitor.caller.name(), "a repository was removed");
    Ok(see("/"))
}
