//! Lists builds, and shows one build or one job.

use axum::{Json, extract::State};
use longshore_core::{BuildId, EventName, JobId, RepoId, Status};
use longshore_store::{
    Store, acts,
    builds::{self, BuildFilter},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use utoipa::IntoParams;

use crate::{
    auth::{Caller, object_of},
    build_views::{view_build, view_builds},
    error::{ApiError, ErrorBody},
    late_notices::late_notices,
    late_statuses::late_statuses,
    lookup::{find_build, find_job},
    params::{self, Path, Query, page_limit, parse_before},
    views::{BuildView, JobView, Page, RepoRef},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only builds of this branch (its short name)
    branch: Option<String>,
    /// Only builds of this event: `push`, `tag`, `pull-request`, `schedule` or `manual`
    #[serde(default, deserialize_with = "parse_event")]
    #[param(value_type = Option<String>)]
    event: Option<EventName>,
    /// Only builds with this status
    #[serde(default, deserialize_with = "params::parse_word")]
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// Only builds of this commit
    commit: Option<String>,
    /// The `next` of the previous page
    before: Option<String>,
    /// Maximum number of items to return: 50 by default, at most 200
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListOfRepoQuery {
    /// Only the build with this number
    number: Option<u64>,
    /// Only builds of this branch (its short name)
    branch: Option<String>,
    /// Only builds of this event: `push`, `tag`, `pull-request`, `schedule` or `manual`
    #[serde(default, deserialize_with = "parse_event")]
    #[param(value_type = Option<String>)]
    event: Option<EventName>,
    /// Only builds with this status
    #[serde(default, deserialize_with = "params::parse_word")]
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// Only builds of this commit
    commit: Option<String>,
    /// The `next` of the previous page
    before: Option<String>,
    /// Maximum number of items to return: 50 by default, at most 200
    limit: Option<u32>,
}

/// Lists the builds of all repositories
#[utoipa::path(
    get, path = "/api/v1/builds", tag = "builds", security((), ("token" = ["read"])), params(ListQuery),
    responses((status = 200, body = Page<BuildView>), (status = 400, body = ErrorBody)),
)]
pub(crate) async fn list(
    State(store): State<Store>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<BuildView>>, ApiError> {
    let filter = BuildFilter {
        repo: None,
        status: query.status,
        event: query.event,
        branch: query.branch,
        commit: query.commit,
        waiting: None,
        visible: caller.visible(),
    };
    page(&store, &filter, query.before.as_deref(), query.limit).await
}

/// Lists a repository's builds
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/builds", tag = "builds", security((), ("token" = ["read"])),
    params(("repo" = String, Path, description = "The repository's ID"), ListOfRepoQuery),
    responses((status = 200, body = Page<BuildView>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list_of_repo(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<RepoId>,
    Query(query): Query<ListOfRepoQuery>,
) -> Result<Json<Page<BuildView>>, ApiError> {
    let repo = caller.repo(&store, id).await?;
    if let Some(number) = query.number {
        let view = match builds::by_number(&store, id, number).await? {
            Some(build) => Some(view_build(&store, build, RepoRef::from(&repo)).await?),
            None => None,
        };
        return Ok(Json(Page::single(view)));
    }
    let filter = BuildFilter {
        repo: Some(id),
        status: query.status,
        event: query.event,
        branch: query.branch,
        commit: query.commit,
        waiting: None,
        visible: caller.visible(),
    };
    page(&store, &filter, query.before.as_deref(), query.limit).await
}

/// Returns a build with its jobs and their steps
#[utoipa::path(
    get, path = "/api/v1/builds/{build}", tag = "builds", security((), ("token" = ["read"])),
    params(("build" = String, Path, description = "The build's ID")),
    responses((status = 200, body = BuildView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn get(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<BuildId>,
) -> Result<Json<BuildView>, ApiError> {
    let (build, repo) = find_build(&store, &caller, id).await?;
    let mut build = view_build(&store, build, RepoRef::from(&repo)).await?;
    build.late_statuses = late_statuses(&store, &caller, object_of(&repo), id).await?;
    build.late_notifications = late_notices(&store, &caller, object_of(&repo), id).await?;
    Ok(Json(build))
}

/// Returns a job with its steps
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}", tag = "jobs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's ID")),
    responses((status = 200, body = JobView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn get_job(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Json<JobView>, ApiError> {
    let job = find_job(&store, &caller, id).await?;
    let acts = acts::of_builds(&store, &[job.build]).await?;
    Ok(Json(JobView::new(job, &acts)))
}

async fn page(
    store: &Store,
    filter: &BuildFilter,
    from: Option<&str>,
    asked: Option<u32>,
) -> Result<Json<Page<BuildView>>, ApiError> {
    let page = builds::list(store, filter, parse_before(from)?, page_limit(asked)?).await?;
    let items = view_builds(store, page.items).await?;
    Ok(Json(Page::from_page(longshore_store::Page { items, next: page.next }, |view| view)))
}

fn parse_event<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventName>, D::Error> {
    let Some(word) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let known = EventName::ALL;
    let found = known.into_iter().find(|event| event.as_str() == word);
    found.map(Some).ok_or_else(|| D::Error::custom(format_args!("unknown event `{word}`")))
}
