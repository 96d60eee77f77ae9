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
    /// The branch that it builds.
    branch: String,
    /// Names of the pipelines with this schedule.
    pipelines: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    next_at: Timestamp,
    /// The last scheduled time that was processed.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_due_at: Option<Timestamp>,
    /// The build that was created.
    #[schema(value_type = Option<String>, format = "uuid")]
    last_build: Option<BuildId>,
    /// Why no build was created, or why it is retried.
    reason: Option<String>,
    /// When a failed scheduled time is retried.
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

/// All schedules of a repository.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedules {
    items: Vec<ScheduleView>,
}

/// Lists a repository's schedules
///
/// They come from the pipelines on the default branch, and are known after the first push or manual start.
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/schedules", tag = "builds", security((), ("token" = ["read"])),
    params(("repo" = String, Path, description = "The repository's ID")),
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
