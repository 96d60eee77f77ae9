//! `/repos/{repo}/settings`: a repository's clone address, visibility, webhook, secrets and badge, and its removal.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use longshore_core::{
    RepoId, SecretRules,
    access::{Action, Object},
    docker::DockerGrant,
};
use longshore_scheduler::Scheduler;
use longshore_store::{
    connections,
    repos::{Repo, RepoPatch},
    secrets::{self, Secret},
};
use serde::Deserialize;

use super::{
    frame::{Frame, Tab},
    new::{forges, webhook_page},
    secret_form::{SecretForm, split_words},
};
use crate::{
    auth::object_of,
    deploy_key_view,
    error::ApiError,
    forges::Forges,
    pages::{
        head::{Head, Place},
        html::Html,
        post::{NoFields, Post, Refused, refused, see_other},
        show,
        site::Site,
        visitor::Visitor,
    },
    params::Path,
    repo_changes::{
        self, apply_patch, check_branch, check_clone_url, check_docker, check_submodules, parse_forge, parse_statuses,
        parse_strangers, try_to_reach,
    },
};

#[derive(Template)]
#[template(path = "repo/settings.html")]
pub(crate) struct Settings {
    head: Head,
    repo: Frame,
    hook_url: String,
    /// Whether the webhook's former secret works, too, because the forge has not taken the new one yet.
    former_secret_works: bool,
    /// The connection that it belongs to.
    connected: Option<String>,
    /// The connections that it may be attached to, by their names; `None` if that is not for the visitor to do.
    connections: Option<Vec<String>>,
    connect: ConnectForm,
    deploy_key: Option<deploy_key_view::Part>,
    secrets: Vec<Secret>,
    form: SettingsForm,
    /// Whether the visitor may change its name, its forge and its clone address.
    may_change_address: bool,
    /// Whether the visitor may say which jobs have Docker.
    may_grant_docker: bool,
    /// The secret form as sent, without its value, which is shown to nobody, not even to its sender.
    pub(super) secret: SecretForm,
    /// The secret that was just set, with notes on what logs do not mask of its value.
    pub(super) unmasked: Option<(String, Vec<String>)>,
    /// The form that was refused, and why.
    pub(super) refused: Option<(Form, String)>,
}

/// The page's forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Settings,
    Connection,
    DeployKey,
    Secret,
    Remove,
}

impl Settings {
    fn forges(&self) -> [(&'static str, &'static str); 7] {
        forges()
    }

    fn refused(&self, form: Form) -> Option<&str> {
        self.refused.as_ref().filter(|(of, _)| *of == form).map(|(_, why)| why.as_str())
    }

    /// Returns a secret's rules in a few words.
    fn goes_to(secret: &Secret) -> String {
        let SecretRules { branches, tags, events, jobs } = &secret.rules;
        let events: Vec<String> = events.iter().map(ToString::to_string).collect();
        let kinds = [("branches", branches), ("tags", tags), ("events", &events), ("jobs", jobs)];
        let parts: Vec<String> = kinds
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(kind, list)| format!("{kind}: {}", list.join(", ")))
            .collect();
        if parts.is_empty() { "all jobs".to_owned() } else { parts.join("; ") }
    }
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<RepoId>,
) -> Result<Html<Settings>, ApiError> {
    page(&site, &visitor, id).await.map(Html)
}

pub(super) async fn page(site: &Site, visitor: &Visitor, id: RepoId) -> Result<Settings, ApiError> {
    let head = Head::new(site, visitor, Place::Elsewhere, "");
    let repo = visitor.caller.repo_to(&site.store, Action::ChangeRepo, id).await?;
    visitor.caller.require(Action::ManageSecrets, object_of(&repo))?;
    let form = SettingsForm {
        name: repo.name.clone(),
        forge: repo.forge.clone(),
        clone_url: String::new(),
        default_branch: repo.default_branch.clone().unwrap_or_default(),
        public: repo.public.then(String::new),
        strangers: repo.strangers.as_str().to_owned(),
        cancel_older: repo.cancel_older.then(String::new),
        statuses: repo.statuses.as_str().to_owned(),
        comments: if repo.comments { "yes" } else { "no" }.to_owned(),
        submodules: Some(repo.submodules.join(" ")),
        docker: match &repo.docker {
            DockerGrant::None => "none",
            DockerGrant::Branches { buildkit: false, .. } => "branches",
            DockerGrant::Branches { buildkit: true, .. } => "buildkit",
            DockerGrant::Raw => "raw",
        }
        .to_owned(),
        docker_branches: match &repo.docker {
            DockerGrant::Branches { branches, .. } => branches.join(" "),
            DockerGrant::None | DockerGrant::Raw => String::new(),
        },
    };
    let may_connect =
        repo.connection.is_none() && visitor.caller.require(Action::ManageConnections, Object::Server).is_ok();
    let connections = match may_connect {
        true => Some(connections::list(&site.store).await?.into_iter().map(|one| one.name).collect()),
        false => None,
    };
    let connected = match repo.connection {
        Some(id) => connections::get(&site.store, id).await?.map(|one| one.name),
        None => None,
    };
    let may_grant_docker = visitor.caller.require(Action::GrantDocker, Object::Server).is_ok();
    Ok(Settings {
        head: head.titled(format!("Settings of {}", repo.name)),
        hook_url: format!("{}/hooks/{id}", site.public_url),
        former_secret_works: repo.former_hook_secret.is_some(),
        connected,
        connections,
        connect: ConnectForm::default(),
        deploy_key: deploy_key_view::Part::of(&repo),
        secrets: secrets::list(&site.store, id).await?,
        repo: Frame::new(visitor, &repo, Tab::Settings),
        form,
        may_change_address: visitor.caller.require(Action::ChangeRepoAddress, Object::Server).is_ok(),
        may_grant_docker,
        secret: SecretForm::default(),
        unmasked: None,
        refused: None,
    })
}

/// Shows the page again with why a form was refused.
pub(super) async fn refused_page(
    site: &Site,
    visitor: &Visitor,
    id: RepoId,
    form: Form,
    error: ApiError,
) -> Result<Response, ApiError> {
    let Refused { status, why } = refused(error)?;
    let page = Settings { refused: Some((form, why)), ..page(site, visitor, id).await? };
    Ok((status, Html(page)).into_response())
}

#[derive(Debug, Deserialize)]
pub(crate) struct SettingsForm {
    /// Empty keeps the stored one.
    #[serde(default)]
    name: String,
    /// Empty keeps the stored one.
    #[serde(default)]
    forge: String,
    /// Empty keeps the stored one, whose credentials are not shown.
    #[serde(default)]
    clone_url: String,
    /// Empty for the forge's default.
    #[serde(default)]
    default_branch: String,
    public: Option<String>,
    /// Empty keeps the stored one.
    #[serde(default)]
    strangers: String,
    cancel_older: Option<String>,
    /// Empty keeps the stored one.
    #[serde(default)]
    statuses: String,
    /// `yes` or `no`; empty keeps the stored one.
    #[serde(default)]
    comments: String,
    /// Names separated by spaces or commas. A form without it keeps what is stored.
    submodules: Option<String>,
    /// `none`, `branches`, `buildkit` or `raw`; empty keeps the stored one.
    #[serde(default)]
    docker: String,
    #[serde(default)]
    docker_branches: String,
}

impl SettingsForm {
    /// Returns which jobs may have Docker, if the form says it.
    fn docker(&self) -> Result<Option<DockerGrant>, ApiError> {
        let branches = split_words(&self.docker_branches);
        match self.docker.as_str() {
            "" => Ok(None),
            "none" => Ok(Some(DockerGrant::None)),
            "raw" => Ok(Some(DockerGrant::Raw)),
            "branches" | "buildkit" if branches.is_empty() => {
                Err(ApiError::bad_request("write the branches whose jobs may have Docker, such as `main release/*`"))
            }
            word @ ("branches" | "buildkit") => {
                Ok(Some(DockerGrant::Branches { branches, buildkit: word == "buildkit" }))
            }
            _ => Err(ApiError::bad_request("`docker` is none, branches, buildkit or raw")),
        }
    }
}

pub(crate) async fn change(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<SettingsForm>,
) -> Result<Response, ApiError> {
    let repo = visitor.caller.repo_to(&site.store, Action::ChangeRepo, id).await?;
    if let Err(error) = save(&site, &scheduler, &visitor, repo, &form).await {
        let Refused { status, why } = refused(error)?;
        let page = Settings { form, refused: Some((Form::Settings, why)), ..page(&site, &visitor, id).await? };
        return Ok((status, Html(page)).into_response());
    }
    tracing::info!(repo = %id, by = visitor.caller.name(), "a repository was changed");
    Ok(see_other(&format!("/repos/{id}/settings")))
}

async fn save(
    site: &Site,
    scheduler: &Scheduler,
    visitor: &Visitor,
    repo: Repo,
    form: &SettingsForm,
) -> Result<(), ApiError> {
    let given = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let name = given(&form.name).filter(|name| *name != repo.name);
    let forge = given(&form.forge).filter(|forge| *forge != repo.forge);
    if name.is_some() || forge.is_some() {
        visitor.caller.require(Action::ChangeRepoAddress, Object::Server)?;
    }
    let (clone_url, default_branch) = (given(&form.clone_url), given(&form.default_branch));
    if let Some(url) = &clone_url {
        visitor.caller.require(Action::ChangeRepoAddress, Object::Server)?;
        check_clone_url(url)?;
    }
    check_branch(default_branch.as_deref())?;
    let words = |text: &str| -> Vec<String> {
        text.split([' ', ',', '\n', '\r']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let submodules = form.submodules.as_deref().map(words).filter(|named| *named != repo.submodules);
    if let Some(named) = &submodules {
        visitor.caller.require(Action::ChangeRepoAddress, Object::Server)?;
        check_submodules(named)?;
    }
    let docker = form.docker()?;
    if let Some(grant) = &docker {
        visitor.caller.require(Action::GrantDocker, Object::Server)?;
        check_docker(grant)?;
    }
    let has_new_address = clone_url.is_some();
    let patch = RepoPatch {
        name,
        forge: forge.as_deref().map(parse_forge).transpose()?.map(|forge| forge.as_str().to_owned()),
        clone_url,
        public: Some(form.public.is_some()),
        default_branch: Some(default_branch),
        strangers: given(&form.strangers).as_deref().map(parse_strangers).transpose()?,
        cancel_older: Some(form.cancel_older.is_some()),
        statuses: given(&form.statuses).as_deref().map(parse_statuses).transpose()?,
        comments: given(&form.comments).map(|word| word == "yes"),
        submodules,
        docker,
        renew_hook_secret: false,
    };
    let repo = apply_patch(&site.store, repo.id, &patch).await?;
    if has_new_address {
        // Its pages say whether it can be fetched.
        try_to_reach(&site.store, scheduler, repo).await?;
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ConnectForm {
    #[serde(default)]
    connection: String,
    /// At the forge; empty for where it is cloned from.
    #[serde(default)]
    name: String,
}

pub(crate) async fn connect(
    State(site): State<Site>,
    State(forges): State<Forges>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<ConnectForm>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Action::ManageConnections, Object::Server)?;
    let repo = visitor.caller.repo_to(&site.store, Action::ChangeRepo, id).await?;
    let name = Some(form.name.trim()).filter(|name| !name.is_empty());
    let attached = async {
        let connection = forges.find(&form.connection).await?;
        forges.attach(&repo, connection.id, name).await
    };
    if let Err(error) = attached.await {
        let Refused { status, why } = refused(error)?;
        let page =
            Settings { connect: form, refused: Some((Form::Connection, why)), ..page(&site, &visitor, id).await? };
        return Ok((status, Html(page)).into_response());
    }
    tracing::info!(repo = %id, connection = form.connection, by = visitor.caller.name(), "a repository was connected");
    Ok(see_other(&format!("/repos/{id}/settings")))
}

pub(crate) async fn renew_hook_secret(
    State(site): State<Site>,
    State(forges): State<Forges>,
    Path(id): Path<RepoId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    visitor.caller.repo_to(&site.store, Action::ChangeRepo, id).await?;
    let repo = apply_patch(&site.store, id, &RepoPatch { renew_hook_secret: true, ..RepoPatch::default() }).await?;
    if forges.renew_hook(&repo).await? {
        return Ok(see_other(&format!("/repos/{id}/settings")));
    }
    tracing::info!(repo = %id, by = visitor.caller.name(), "a hook secret was renewed");
    webhook_page(&site, &visitor, &repo, false)
}

pub(crate) async fn reject_former_hook_secret(
    State(site): State<Site>,
    Path(id): Path<RepoId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    repo_changes::reject_former_hook_secret(&site.store, &visitor.caller, id).await?;
    Ok(see_other(&format!("/repos/{id}/settings")))
}

#[derive(Debug, Deserialize)]
pub(crate) struct RemoveForm {
    /// The repository's name, so that nobody removes one by accident.
    name: String,
}

pub(crate) async fn remove(
    State(site): State<Site>,
    State(forges): State<Forges>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<RemoveForm>,
) -> Result<Response, ApiError> {
    visitor.caller.repo_to(&site.store, Action::RemoveRepo, id).await?;
    if let Err(error) = delete(&site, &forges, &visitor, id, &form).await {
        let Refused { status, why } = refused(error)?;
        let page = Settings { refused: Some((Form::Remove, why)), ..page(&site, &visitor, id).await? };
        return Ok((status, Html(page)).into_response());
    }
    tracing::info!(repo = %id, by = visitor.caller.name(), "a repository was removed");
    Ok(see_other("/"))
}

async fn delete(
    site: &Site,
    forges: &Forges,
    visitor: &Visitor,
    id: RepoId,
    form: &RemoveForm,
) -> Result<(), ApiError> {
    let repo = visitor.caller.repo_to(&site.store, Action::RemoveRepo, id).await?;
    if form.name.trim() != repo.name {
        return Err(ApiError::bad_request(format!("the name does not match: the repository is {}", repo.name)));
    }
    forges.remove_repo(&repo).await
}
