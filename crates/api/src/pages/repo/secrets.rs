//! `/repos/{repo}/secrets`: sets and removes a repository's secrets. Its settings page shows them.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use longshore_core::{RepoId, access::Action};
use longshore_store::secrets;
use serde::Deserialize;

use super::{
    secret_form::SecretForm,
    settings::{Form, page},
};
use crate::{
    error::ApiError,
    pages::{
        html::Html,
        post::{Post, Refused, refused, see_other},
        site::Site,
        visitor::Visitor,
    },
    params::Path,
    secret_changes::{parse_name, set_secret},
};

pub(crate) async fn set(
    State(site): State<Site>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<SecretForm>,
) -> Result<Response, ApiError> {
    visitor.caller.repo_to(&site.store, Action::ManageSecrets, id).await?;
    let notes = match keep_secret(&site, &visitor, id, &form).await {
        Ok(notes) => notes,
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            let secret = SecretForm { value: String::new(), ..form };
            let mut page = page(&site, &visitor, id).await?;
            (page.secret, page.refused) = (secret, Some((Form::Secret, why)));
            return Ok((status, Html(page)).into_response());
        }
    };
    if notes.is_empty() {
        return Ok(see_other(&format!("/repos/{id}/settings")));
    }
    let mut page = page(&site, &visitor, id).await?;
    page.unmasked = Some((form.name, notes));
    Ok(Html(page).into_response())
}

async fn keep_secret(site: &Site, visitor: &Visitor, id: RepoId, form: &SecretForm) -> Result<Vec<String>, ApiError> {
    let name = parse_name(form.name.trim())?;
    let (_, _, notes) = set_secret(&site.store, id, &name, &form.patch()?, visitor.caller.name()).await?;
    Ok(notes)
}

#[derive(Debug, Deserialize)]
pub(crate) struct SecretName {
    name: String,
}

pub(crate) async fn remove(
    State(site): State<Site>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<SecretName>,
) -> Result<Response, ApiError> {
    visitor.caller.repo_to(&site.store, Action::ManageSecrets, id).await?;
    let name = parse_name(&form.name)?;
    let mut tx = site.store.write().await?;
    secrets::remove(&mut tx, id, &name).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, %name, by = visitor.caller.name(), "a secret was removed");
    Ok(see_other(&format!("/repos/{id}/settings")))
}
