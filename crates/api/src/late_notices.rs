//! Messages about a build that should have arrived by now and have not: for the API and the page of the build.

use longshore_core::{
    BuildId, NotificationEvent, Timestamp,
    access::{Action, Object},
};
use longshore_store::{
    Store,
    notices::{self, Late},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{auth::Caller, error::ApiError};

/// A message is late after this many milliseconds. Until then it is on its way.
const LATE_AFTER_MS: i64 = 60_000;

/// A message about the build that has not arrived.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LateNotificationView {
    /// The notification's name
    pub(crate) name: String,
    /// What it tells: `failure`, `fixed`, `approval` or `anomaly`
    #[schema(value_type = String)]
    pub(crate) event: NotificationEvent,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// Why it has not arrived
    pub(crate) problem: Option<String>,
    /// Whether it is not tried again
    pub(crate) given_up: bool,
}

impl From<Late> for LateNotificationView {
    fn from(late: Late) -> Self {
        let Late { name, event, owed_since, problem, given_up, .. } = late;
        Self { name, event, since: owed_since, problem, given_up }
    }
}

/// Returns the late messages about a build. Problems name hosts, so administrators of the repository see those of its
/// own notifications alone, and administrators of the server those of the server's too.
pub(crate) async fn late_notices(
    store: &Store,
    caller: &Caller,
    object: Object,
    build: BuildId,
) -> Result<Vec<LateNotificationView>, ApiError> {
    if !caller.may(Action::ManageNotifications, object) {
        return Ok(Vec::new());
    }
    let before = Timestamp::from_millis(Timestamp::now().as_millis() - LATE_AFTER_MS);
    let late = notices::late(store, build, before).await?;
    let sees_all = caller.may(Action::ManageNotifications, Object::Server);
    let late = late.into_iter().filter(|late| sees_all || !late.of_server);
    Ok(late.map(LateNotificationView::from).collect())
}
