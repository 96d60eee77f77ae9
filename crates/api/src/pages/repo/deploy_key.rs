//! `/repos/{repo}/deploy-key`: the buttons that make and remove a repository's deploy key. Its settings page shows it.

use axum::{extract::State, response::Response};
use longshore_core::{RepoId, access::Action};
use longshore_scheduler::Scheduler;

use super::settings::{Form, refused_page};
use crate::{
    error::ApiError,
    pages::{
        post::{NoFields, Post, see_other},
        site::Site,
    },
    params::Path,
    repo_changes,
};

pub(crate) async fn create(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<RepoId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    visitor.caller.repo_to(&site.store, Action::ChangeRepo, id).await?;
    if let Err(error) = scheduler.make_deploy_key(id).await {
        return refused_page(&site, &visitor, id, Form::DeployKey, error.into()).await;
    }
    tracing::info!(repo = %id, by = visitor.caller.name(), "a deploy key was created");
    Ok(see_other(&format!("/repos/{id}/settings")))
}

pub(crate) async fn remove(
    State(site): State<Site>,
    Path(id): Path<RepoId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    repo_changes::remove_deploy_key(&site.store, &visitor.caller, id).await?;
    Ok(see_other(&format!("/repos/{id}/settings")))
}
