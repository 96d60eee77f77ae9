//! Looks at a repository for pushes that no webhook reported.

use axum::{Json, extract::State};
use longshore_core::{
    DeliveryId, RepoId,
    access::{Action, Object},
};
use longshore_scheduler::{Checked, FoundPush, Scheduler};
use longshore_store::Store;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    params::Path,
};

/// What a look at a repository found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LookView {
    /// The branches and tags that the git host has.
    refs: usize,
    /// The pushes that no webhook reported, each now a delivery that becomes its build.
    found: Vec<FoundPushView>,
    /// More of them than one look takes in, which are not built.
    left_out: usize,
}

/// A push that no webhook reported.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundPushView {
    #[serde(rename = "ref")]
    git_ref: String,
    /// Where it was last told to be; `null` for a new one.
    before: Option<String>,
    after: String,
    #[schema(value_type = String, format = "uuid")]
    delivery: DeliveryId,
}

impl From<FoundPush> for FoundPushView {
    fn from(push: FoundPush) -> Self {
        let FoundPush { git_ref, before, after, delivery } = push;
        Self { git_ref, before, after, delivery }
    }
}

/// Looks at a repository now
///
/// Compares its branches and tags with what webhooks reported. What none reported is built, marked as `found`. The server
/// does that by itself from time to time.
#[utoipa::path(
    post, path = "/api/v1/repos/{repo}/look", tag = "hooks", security(("token" = ["build"])),
    params(("repo" = String, Path, description = "The repository's id")),
    responses(
        (status = 200, body = LookView), (status = 404, body = ErrorBody),
        (status = 502, description = "The git host does not answer, or refuses", body = ErrorBody),
    ),
)]
pub(crate) async fn look(
    State(store): State<Store>,
    State(scheduler): State<Scheduler>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<Json<LookView>, ApiError> {
    caller.require(Action::Redeliver, Object::SomeRepo)?;
    let Path(id) = id?;
    caller.repo_to(&store, Action::Redeliver, id).await?;
    let Checked { refs, found, left_out } = scheduler.check_for_missed_pushes(id).await?;
    Ok(Json(LookView { refs, found: found.into_iter().map(FoundPushView::from).collect(), left_out }))
}
