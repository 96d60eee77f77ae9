//! Statuses that a forge should show by now and does not: for the API and the page of a build.

use longshore_core::{
    BuildId, Timestamp,
    access::{Action, Object},
};
use longshore_store::{
    Store,
    commit_statuses::{self, Late},
    pull_request_comments,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{auth::Caller, error::ApiError};

/// A status is late after this many milliseconds. Until then it is on its way.
const LATE_AFTER_MS: i64 = 15_000;

/// A status of the build that its forge does not show yet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LateStatusView {
    pub(crate) context: String,
    /// Since when the forge shows an older one
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// Why the forge could not be told
    pub(crate) problem: Option<String>,
    /// Whether it is not tried again until the status changes or the connection has another token
    pub(crate) given_up: bool,
}

impl From<Late> for LateStatusView {
    fn from(late: Late) -> Self {
        let Late { context, owed_since, problem, given_up } = late;
        Self { context, since: owed_since, problem, given_up }
    }
}

/// Returns the late statuses of a build. Problems name the forge, so only administrators of the repository see them.
pub(crate) async fn late_statuses(
    store: &Store,
    caller: &Caller,
    object: Object,
    build: BuildId,
) -> Result<Vec<LateStatusView>, ApiError> {
    if !caller.may(Action::ChangeRepo, object) {
        return Ok(Vec::new());
    }
    let before = Timestamp::from_millis(Timestamp::now().as_millis() - LATE_AFTER_MS);
    let late = commit_statuses::late(store, build, before).await?;
    let comment = pull_request_comments::late(store, build, before).await?.map(|late| LateStatusView {
        context: format!("comment on pull request {}", late.pull_request),
        since: late.owed_since,
        problem: late.problem,
        given_up: late.given_up,
    });
    Ok(late.into_iter().map(LateStatusView::from).chain(comment).collect())
}
