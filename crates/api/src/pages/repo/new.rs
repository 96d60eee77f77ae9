//! `/repos/new`: registers a repository, and shows what to enter at the forge, this once.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use longshore_core::{
    Timestamp,
    access::{Action, Object},
};
use longshore_forge::Forge;
use longshore_scheduler::Scheduler;
use longshore_store::repos::{self, NewRepo, Repo};
use serde::Deserialize;

use crate::{
    error::ApiError,
    pages::{
        head::{Head, Place},
        html::Html,
        post::{Post, refused, see_other},
        show,
        site::Site,
        visitor::Visitor,
    },
    repo_changes::{check_branch, check_clone_url, parse_forge, try_to_reach},
};

#[derive(Template)]
#[template(path = "repo/new.html")]
struct NewPage {
    head: Head,
    csrf: String,
    form: NewForm,
    /// Why it was not registered.
    refused: Option<String>,
}

pub(crate) async fn show(State(site): State<Site>, visitor: Visitor) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see_other("/sign-in?next=/repos/new"));
    }
    visitor.caller.require(Action::AddRepo, Object::Server)?;
    Ok(page(&site, &visitor, NewForm::default(), None).into_response())
}

fn page(site: &Site, visitor: &Visitor, form: NewForm, refused: Option<String>) -> Html<NewPage> {
    let head = Head::new(site, visitor, Place::Repositories, "Register a repository");
    Html(NewPage { head, csrf: visitor.csrf(), form, refused })
}

impl NewPage {
    fn forges(&self) -> [(&'static str, &'static str); 7] {
        forges()
    }
}

/// Returns each forge's identifier and name, as forms list them.
pub(super) fn forges() -> [(&'static str, &'static str); 7] {
    let in_order =
        [Forge::Forgejo, Forge::Gitea, Forge::Github, Forge::Gitlab, Forge::Bitbucket, Forge::Gogs, Forge::Git];
    in_order.map(|forge| (forge.as_str(), forge.shown()))
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct NewForm {
    name: String,
    clone_url: String,
    forge: String,
    #[serde(default)]
    default_branch: String,
    public: Option<String>,
}

pub(crate) async fn create(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Post { visitor, form }: Post<NewForm>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Action::AddRepo, Object::Server)?;
    match register(&site, &form).await {
        Ok(repo) => {
            tracing::info!(repo = %repo.id, name = repo.name, by = visitor.caller.name(), "a repository was registered");
            let hook_secret = repo.hook_secret.clone();
            let repo = Repo { hook_secret, ..try_to_reach(&site.store, &scheduler, repo).await? };
            webhook_page(&site, &visitor, &repo, true)
        }
        Err(error) => {
            let refused = refused(error)?;
            Ok((refused.status, page(&site, &visitor, form, Some(refused.why))).into_response())
        }
    }
}

async fn register(site: &Site, form: &NewForm) -> Result<Repo, ApiError> {
    let forge = parse_forge(&form.forge)?;
    let default_branch = Some(form.default_branch.trim()).filter(|branch| !branch.is_empty());
    let clone_url = form.clone_url.trim().to_owned();
    check_clone_url(&clone_url)?;
    check_branch(default_branch)?;
    let new = NewRepo {
        name: form.name.trim().to_owned(),
        forge: forge.as_str().to_owned(),
        clone_url,
        public: form.public.is_some(),
        default_branch: default_branch.map(str::to_owned),
    };
    let mut tx = site.store.write().await?;
    let repo = repos::create(&mut tx, &new, Timestamp::now()).await?;
    tx.commit().await?;
    Ok(repo)
}

#[derive(Template)]
#[template(path = "repo/webhook.html")]
struct WebhookPage {
    head: Head,
    repo: Repo,
    hook_url: String,
    secret: String,
    new: bool,
}

/// Shows what to enter at the forge: address and secret, and where.
pub(super) fn webhook_page(site: &Site, visitor: &Visitor, repo: &Repo, new: bool) -> Result<Response, ApiError> {
    let title = format!("Webhook of {}", repo.name);
    let head = Head::new(site, visitor, Place::Repositories, title);
    let hook_url = format!("{}/hooks/{}", site.public_url, repo.id);
    let secret = repo.hook_secret.expose()?.to_owned();
    Ok(Html(WebhookPage { head, repo: repo.clone(), hook_url, secret, new }).into_response())
}
