//! Adds, lists, tests and removes notifications, of the whole server or of one repository. Responses never contain an
//! address with which others could send messages.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    NotificationEvent, NotificationId, RepoId, Timestamp,
    access::{Action, Object},
};
use longshore_store::{
    Store,
    notifications::{self, Notification, Standing},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    json_request::JsonRequest,
    notifier::{NotificationRequest, Notifier},
    params::{Path, PathPair},
    views::Page,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationView {
    #[schema(value_type = String, format = "uuid")]
    id: NotificationId,
    /// `email`, `slack`, `discord`, `matrix`, `mattermost`, `teams` or `webhook`
    kind: String,
    name: String,
    /// The address; of a webhook only its host
    address: String,
    /// The events it reports: `failure`, `fixed`, `approval`, `anomaly`
    #[schema(value_type = Vec<String>)]
    on: Vec<NotificationEvent>,
    /// Globs of branches; all if empty
    branches: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The name of the token that added it.
    created_by: String,
    /// When the last message arrived
    #[schema(value_type = Option<String>, format = DateTime)]
    last_told_at: Option<Timestamp>,
    /// How many messages wait to be sent
    waiting: u64,
    /// Why the oldest waiting message has not been sent, or why the newest one was given up; `null` if there is no problem
    problem: Option<String>,
    /// The key that signs this notification's webhooks. Present only in the response that adds it
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key: Option<String>,
}

impl NotificationView {
    fn new(notification: Notification, standing: Standing, signing_key: Option<String>) -> Self {
        let Notification { id, kind, name, shown, events, branches, created_at, created_by, .. } = notification;
        let Standing { told_at, waiting, problem } = standing;
        Self {
            id,
            kind,
            name,
            address: shown,
            on: events,
            branches,
            created_at,
            created_by,
            last_told_at: told_at,
            waiting,
            problem,
            signing_key,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddNotification {
    /// `email`, `slack`, `discord`, `matrix`, `mattermost`, `teams` or `webhook`
    kind: String,
    /// Mailboxes separated by commas, the URL of a webhook, or a Matrix room as `https://matrix.example/!room:example`
    address: String,
    /// Of Matrix: an access token. Of `webhook`: the key to sign with, `whsec_…`; a new one if not given. Never shown again
    secret: Option<String>,
    /// The kind if not given
    name: Option<String>,
    /// `failure`, `fixed`, `approval` and `anomaly`; all if not given
    on: Option<Vec<String>>,
    /// Globs of branches, and of full names of tags (`refs/tags/v*`); all if not given
    #[serde(default)]
    branches: Vec<String>,
}

impl AddNotification {
    fn into_request(self) -> NotificationRequest {
        let Self { kind, address, secret, name, on, branches } = self;
        let all = || NotificationEvent::ALL.map(|event| event.as_str().to_owned()).to_vec();
        NotificationRequest { kind, address, secret, name, on: on.unwrap_or_else(all), branches }
    }
}

/// Lists the notifications about all repositories
#[utoipa::path(
    get, path = "/api/v1/notifications", tag = "notifications", security(("token" = ["admin"])),
    responses((status = 200, body = Page<NotificationView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn list(State(store): State<Store>, caller: Caller) -> Result<Json<Page<NotificationView>>, ApiError> {
    caller.require(Action::ManageNotifications, Object::Server)?;
    list_of(&store, None).await
}

/// Adds a notification about all repositories
#[utoipa::path(
    post, path = "/api/v1/notifications", tag = "notifications", security(("token" = ["admin"])), request_body = AddNotification,
    responses(
        (status = 201, body = NotificationView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 422, description = "The server has no mail server", body = ErrorBody),
        (status = 503, description = "The server's encryption key does not belong to this database", body = ErrorBody),
    ),
)]
pub(crate) async fn add(
    State(notifier): State<Notifier>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<NotificationView>), ApiError> {
    let (caller, new): (_, AddNotification) = request.parse(Action::ManageNotifications, Object::Server).await?;
    added(&notifier, None, new, &caller).await
}

/// Removes a notification about all repositories
#[utoipa::path(
    delete, path = "/api/v1/notifications/{notification}", tag = "notifications", security(("token" = ["admin"])),
    params(("notification" = String, Path, description = "The notification's ID")),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn delete(
    State(notifier): State<Notifier>,
    caller: Caller,
    id: Result<Path<NotificationId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageNotifications, Object::Server)?;
    let Path(id) = id?;
    notifier.remove(None, id, caller.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test message, and waits until it has arrived
#[utoipa::path(
    post, path = "/api/v1/notifications/{notification}/test", tag = "notifications", security(("token" = ["admin"])),
    params(("notification" = String, Path, description = "The notification's ID")),
    responses(
        (status = 204), (status = 404, body = ErrorBody),
        (status = 422, description = "The receiver refused the message", body = ErrorBody),
        (status = 429, description = "It was tried too often within a minute", body = ErrorBody),
        (status = 502, description = "The receiver cannot be reached", body = ErrorBody),
    ),
)]
pub(crate) async fn test(
    State(notifier): State<Notifier>,
    caller: Caller,
    id: Result<Path<NotificationId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageNotifications, Object::Server)?;
    let Path(id) = id?;
    notifier.test(None, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a repository's own notifications
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/notifications", tag = "notifications", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses((status = 200, body = Page<NotificationView>), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list_of_repo(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<Json<Page<NotificationView>>, ApiError> {
    caller.require(Action::ManageNotifications, Object::SomeRepo)?;
    let Path(id) = id?;
    caller.repo_to(&store, Action::ManageNotifications, id).await?;
    list_of(&store, Some(id)).await
}

/// Adds a notification about a repository. Only an administrator of the server may name an address of the server's own network
#[utoipa::path(
    post, path = "/api/v1/repos/{repo}/notifications", tag = "notifications", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")), request_body = AddNotification,
    responses(
        (status = 201, body = NotificationView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, description = "The server has no mail server, or the address is not the caller's to name", body = ErrorBody),
        (status = 503, description = "The server's encryption key does not belong to this database", body = ErrorBody),
    ),
)]
pub(crate) async fn add_to_repo(
    State(notifier): State<Notifier>,
    id: Result<Path<RepoId>, ApiError>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<NotificationView>), ApiError> {
    let (caller, new): (_, AddNotification) = request.parse(Action::ManageNotifications, Object::SomeRepo).await?;
    let Path(id) = id?;
    caller.repo_to(&notifier.store, Action::ManageNotifications, id).await?;
    added(&notifier, Some(id), new, &caller).await
}

/// Removes a repository's own notification
#[utoipa::path(
    delete, path = "/api/v1/repos/{repo}/notifications/{notification}", tag = "notifications", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's ID"),
        ("notification" = String, Path, description = "The notification's ID"),
    ),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn delete_of_repo(
    State(notifier): State<Notifier>,
    caller: Caller,
    path: Result<PathPair<RepoId, NotificationId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageNotifications, Object::SomeRepo)?;
    let PathPair(repo, id) = path?;
    caller.repo_to(&notifier.store, Action::ManageNotifications, repo).await?;
    notifier.remove(Some(repo), id, caller.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test message for a repository's own notification, and waits until it has arrived
#[utoipa::path(
    post, path = "/api/v1/repos/{repo}/notifications/{notification}/test", tag = "notifications", security(("token" = ["admin"])),
    params(
        ("repo" = String, Path, description = "The repository's ID"),
        ("notification" = String, Path, description = "The notification's ID"),
    ),
    responses(
        (status = 204), (status = 404, body = ErrorBody),
        (status = 422, description = "The receiver refused the message", body = ErrorBody),
        (status = 429, description = "It was tried too often within a minute", body = ErrorBody),
        (status = 502, description = "The receiver cannot be reached", body = ErrorBody),
    ),
)]
pub(crate) async fn test_of_repo(
    State(notifier): State<Notifier>,
    caller: Caller,
    path: Result<PathPair<RepoId, NotificationId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageNotifications, Object::SomeRepo)?;
    let PathPair(repo, id) = path?;
    caller.repo_to(&notifier.store, Action::ManageNotifications, repo).await?;
    notifier.test(Some(repo), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_of(store: &Store, repo: Option<RepoId>) -> Result<Json<Page<NotificationView>>, ApiError> {
    let all = notifications::list(store, repo).await?;
    let views = all.into_iter().map(|(found, standing)| NotificationView::new(found, standing, None));
    Ok(Json(Page::complete(views.collect())))
}

async fn added(
    notifier: &Notifier,
    repo: Option<RepoId>,
    new: AddNotification,
    caller: &Caller,
) -> Result<(StatusCode, Json<NotificationView>), ApiError> {
    let (added, key) = notifier.add(repo, new.into_request(), caller).await?;
    let standing = Standing { told_at: None, waiting: 0, problem: None };
    Ok((StatusCode::CREATED, Json(NotificationView::new(added, standing, key))))
}
