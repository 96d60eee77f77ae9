//! `/notifications` and `/repos/{repo}/notifications`: who is notified of builds, with a form to add a place, and
//! buttons to try and remove one.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use longshore_core::{
    NotificationEvent, NotificationId, RepoId,
    access::{Action, Object},
};
use longshore_notification::Kind;
use longshore_store::{
    notifications::{self, Notification, Standing},
    repos::Repo,
};
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
    notifier::{NotificationRequest, Notifier},
    params::{Path, PathPair},
};

#[derive(Template)]
#[template(path = "notifications.html")]
struct NotificationsPage {
    head: Head,
    csrf: String,
    /// The repository; `None` for the server's own.
    repo: Option<Repo>,
    /// Without the base path and a slash at the end.
    address: String,
    notifications: Vec<Row>,
    form: NewForm,
    has_mail: bool,
    /// The webhook that was just added, with its key.
    added: Option<(String, String)>,
    /// The place whose test arrived.
    tested: Option<String>,
    /// The action that failed, and why.
    refused: Option<(&'static str, String)>,
}

/// A place in the list.
struct Row {
    place: Notification,
    standing: Standing,
    events: String,
    branches: String,
}

impl Row {
    fn new((place, standing): (Notification, Standing)) -> Self {
        let events = place.events.iter().map(|event| event.as_str()).collect::<Vec<_>>().join(", ");
        let branches = place.branches.join(" ");
        Self { place, standing, events, branches }
    }
}

impl NotificationsPage {
    /// Returns what people call a kind.
    fn title(kind: &str) -> &str {
        Self::kinds().iter().find(|one| one.as_str() == kind).map_or(kind, |one| one.title())
    }

    fn kinds() -> [Kind; 7] {
        Kind::ALL
    }

    fn events() -> [(NotificationEvent, &'static str); 4] {
        [
            (NotificationEvent::Failure, "A build failed"),
            (NotificationEvent::Fixed, "A pipeline works again"),
            (NotificationEvent::Approval, "A job awaiting approval"),
            (NotificationEvent::Anomaly, "An anomaly in the audit log"),
        ]
    }
}

#[derive(Default, Deserialize)]
pub(crate) struct NewForm {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    secret: String,
    failure: Option<String>,
    fixed: Option<String>,
    approval: Option<String>,
    anomaly: Option<String>,
    /// Globs separated by spaces.
    #[serde(default)]
    branches: String,
}

impl NewForm {
    /// The form before anybody has filled it in.
    fn empty() -> Self {
        let yes = || Some("yes".to_owned());
        Self { failure: yes(), fixed: yes(), approval: yes(), anomaly: yes(), ..Self::default() }
    }

    fn has(&self, event: NotificationEvent) -> bool {
        match event {
            NotificationEvent::Failure => self.failure.is_some(),
            NotificationEvent::Fixed => self.fixed.is_some(),
            NotificationEvent::Approval => self.approval.is_some(),
            NotificationEvent::Anomaly => self.anomaly.is_some(),
        }
    }

    fn request(&self) -> NotificationRequest {
        let events = NotificationEvent::ALL.into_iter().filter(|event| self.has(*event));
        NotificationRequest {
            kind: self.kind.clone(),
            address: self.address.clone(),
            secret: Some(self.secret.clone()).filter(|secret| !secret.is_empty()),
            name: Some(self.name.clone()),
            on: events.map(|event| event.as_str().to_owned()).collect(),
            branches: self.branches.split_whitespace().map(str::to_owned).collect(),
        }
    }
}

pub(crate) async fn show(
    State(site): State<Site>,
    State(notifier): State<Notifier>,
    visitor: Visitor,
) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see_other("/sign-in?next=/notifications"));
    }
    Ok(Html(page(&site, &notifier, &visitor, None).await?).into_response())
}

pub(crate) async fn show_of_repo(
    State(site): State<Site>,
    State(notifier): State<Notifier>,
    visitor: Visitor,
    Path(repo): Path<RepoId>,
) -> Result<Response, ApiError> {
    Ok(Html(page(&site, &notifier, &visitor, Some(repo)).await?).into_response())
}

async fn page(
    site: &Site,
    notifier: &Notifier,
    visitor: &Visitor,
    repo: Option<RepoId>,
) -> Result<NotificationsPage, ApiError> {
    let repo = allowed(notifier, visitor, repo).await?;
    let (place, title) = match &repo {
        Some(repo) => (Place::Elsewhere, format!("Notifications of {}", repo.name)),
        None => (Place::Settings, "Notifications".to_owned()),
    };
    let all = notifications::list(&site.store, repo.as_ref().map(|repo| repo.id)).await?;
    Ok(NotificationsPage {
        head: Head::new(site, visitor, place, title),
        csrf: visitor.csrf(),
        address: address(repo.as_ref().map(|repo| repo.id)),
        notifications: all.into_iter().map(Row::new).collect(),
        repo,
        form: NewForm::empty(),
        has_mail: notifier.sender.has_mail(),
        added: None,
        tested: None,
        refused: None,
    })
}

/// Checks that the visitor may manage these notifications. Returns the repository.
async fn allowed(notifier: &Notifier, visitor: &Visitor, repo: Option<RepoId>) -> Result<Option<Repo>, ApiError> {
    match repo {
        Some(id) => visitor.caller.repo_to(&notifier.store, Action::ManageNotifications, id).await.map(Some),
        None => visitor.caller.require(Action::ManageNotifications, Object::Server).map(|()| None),
    }
}

fn address(repo: Option<RepoId>) -> String {
    repo.map(|repo| format!("/repos/{repo}")).unwrap_or_default() + "/notifications"
}

pub(crate) async fn add(
    State(site): State<Site>,
    State(notifier): State<Notifier>,
    Post { visitor, form }: Post<NewForm>,
) -> Result<Response, ApiError> {
    added(&site, &notifier, &visitor, None, form).await
}

pub(crate) async fn add_to_repo(
    State(site): State<Site>,
    State(notifier): State<Notifier>,
    Path(repo): Path<RepoId>,
    Post { visitor, form }: Post<NewForm>,
) -> Result<Response, ApiError> {
    added(&site, &notifier, &visitor, Some(repo), form).await
}

async fn added(
    site: &Site,
    notifier: &Notifier,
    visitor: &Visitor,
    repo: Option<RepoId>,
    form: NewForm,
) -> Result<Response, ApiError> {
    allowed(notifier, visitor, repo).await?;
    match notifier.add(repo, form.request(), &visitor.caller).await {
        Ok((_, None)) => Ok(see_other(&address(repo))),
        Ok((added, Some(key))) => {
            let page =
                NotificationsPage { added: Some((added.name, key)), ..page(site, notifier, visitor, repo).await? };
            Ok(Html(page).into_response())
        }
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            // A webhook's address is as good as a password.
            let form = NewForm { secret: String::new(), ..form };
            let refused = Some(("Notification not added", why));
            let page = NotificationsPage { form, refused, ..page(site, notifier, visitor, repo).await? };
            Ok((status, Html(page)).into_response())
        }
    }
}

pub(crate) async fn test(
    State(site): State<Site>,
    State(notifier): State<Notifier>,
    Path(id): Path<NotificationId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    tested(&site, &notifier, &visitor, None, id).await
}

pub(crate) async fn test_of_repo(
    State(site): State<Site>,
    State(notifier): State<Notifier>,
    PathPair(repo, id): PathPair<RepoId, NotificationId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    tested(&site, &notifier, &visitor, Some(repo), id).await
}

async fn tested(
    site: &Site,
    notifier: &Notifier,
    visitor: &Visitor,
    repo: Option<RepoId>,
    id: NotificationId,
) -> Result<Response, ApiError> {
    allowed(notifier, visitor, repo).await?;
    match notifier.test(repo, id).await {
        Ok(()) => {
            let page = page(site, notifier, visitor, repo).await?;
            let name = page.notifications.iter().find(|row| row.place.id == id).map(|row| row.place.name.clone());
            Ok(Html(NotificationsPage { tested: name, ..page }).into_response())
        }
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            let refused = Some(("The test did not arrive", why));
            let page = NotificationsPage { refused, ..page(site, notifier, visitor, repo).await? };
            Ok((status, Html(page)).into_response())
        }
    }
}

pub(crate) async fn remove(
    State(notifier): State<Notifier>,
    Path(id): Path<NotificationId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    removed(&notifier, &visitor, None, id).await
}

pub(crate) async fn remove_of_repo(
    State(notifier): State<Notifier>,
    PathPair(repo, id): PathPair<RepoId, NotificationId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    removed(&notifier, &visitor, Some(repo), id).await
}

async fn removed(
    notifier: &Notifier,
    visitor: &Visitor,
    repo: Option<RepoId>,
    id: NotificationId,
) -> Result<Response, ApiError> {
    allowed(notifier, visitor, repo).await?;
    notifier.remove(repo, id, visitor.caller.name()).await?;
    Ok(see_other(&address(repo)))
}
