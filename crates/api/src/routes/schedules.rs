//! Shows when a repository's pipelines start by schedule.

use axum::extract::State;
use longshore_core::{BuildId, RepoId, Timestamp};
use longshore_store::{
    Store,
    schedules::{self, Schedule},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    params::Path,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    cron: String,
    #[schema(example = "Europe/Madrid")]
    timezone: String,
    /// The branch that is built.
    branch: String,
    /// Names of the pipelines that have it.
    pipelines: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    next_at: Timestamp,
    /// The last time that was carried out, or given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_due_at: Option<Timestamp>,
    /// The build that it became.
    #[schema(value_type = Option<String>, format = "uuid")]
    last_build: Option<BuildId>,
    /// Why it became none, or why it is tried again.
    reason: Option<String>,
    /// When a time that could not be carried out is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_try_at: Option<Timestamp>,
}

impl From<Schedule> for ScheduleView {
    fn from(schedule: Schedule) -> Self {
        let Schedule { key, pipelines, next_at, attempts, try_at, last_due_at, last_build, reason, repo: _ } = schedule;
        Self {
            cron: key.cron,
            timezone: key.timezone,
            branch: key.branch,
            pipelines,
            next_at,
            last_due_at,
            last_build,
            reason,
            next_try_at: (attempts > 0).then_some(try_at),
        }
    }
}

/// All of them: a repository has few.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedules {
    items: Vec<ScheduleView>,
}

/// A repository's schedules
///
/// As the pipelines of its default branch have them, from the first push or start by hand on.
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/schedules", tag = "builds", security((), ("token" = ["read"])),
    params(("repo" = String, Path, description = "The repository's id")),
    responses((status = 200, body = Schedules), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<RepoId>,
) -> Result<axum::Json<Schedules>, ApiError> {
    let repo = caller.repo(&store, id).await?;
    let all = schedules::of_repo(&store, repo.id).await?;
    Ok(axum::Json(Schedules { items: all.into_iter().map(ScheduleView::from).collect() }))
}
