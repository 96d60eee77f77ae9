//! Builds and jobs, as they are read.

use std::sync::Arc;

use axum::{Json, extract::State};
use longshore_core::{
    BuildId, EventName, JobId, RepoId, Status,
    access::{Action, Object},
};
use longshore_store::{
    acts,
    builds::{self, Build, BuildFilter},
    jobs::{self, Job},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use utoipa::IntoParams;

use crate::{
    ApiError,
    auth::Caller,
    error::ErrorBody,
    params::{self, Path, Query, before, limit},
    server::Server,
    views::{BuildView, JobView, Page, RepoRef, repo_refs_of},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only this branch, by its short name
    branch: Option<String>,
    /// Only `push`, `tag`, `pull-request`, `schedule` or `manual`
    #[serde(default, deserialize_with = "event")]
    #[param(value_type = Option<String>)]
    event: Option<EventName>,
    /// Only those that stand so
    #[serde(default, deserialize_with = "params::word")]
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// Only this commit
    commit: Option<String>,
    /// `next` of the page before
    before: Option<String>,
    /// Items at most: 50 where it is not given, never more than 200
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListOfRepoQuery {
    /// Only the build of this number
    number: Option<u64>,
    /// Only this branch, by its short name
    branch: Option<String>,
    /// Only `push`, `tag`, `pull-request`, `schedule` or `manual`
    #[serde(default, deserialize_with = "event")]
    #[param(value_type = Option<String>)]
    event: Option<EventName>,
    /// Only those that stand so
    #[serde(default, deserialize_with = "params::word")]
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// Only this commit
    commit: Option<String>,
    /// `next` of the page before
    before: Option<String>,
    /// Items at most: 50 where it is not given, never more than 200
    limit: Option<u32>,
}

/// Builds of all repositories
#[utoipa::path(
    get, path = "/api/v1/builds", tag = "builds", security((), ("token" = ["read"])), params(ListQuery),
    responses((status = 200, body = Page<BuildView>), (status = 400, body = ErrorBody)),
)]
pub(crate) async fn list(
    State(server): State<Arc<Server>>,
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
    page(&server, &filter, query.before.as_deref(), query.limit).await
}

/// A repository's builds
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/builds", tag = "builds", security((), ("token" = ["read"])),
    params(("repo" = String, Path, description = "The repository's id"), ListOfRepoQuery),
    responses((status = 200, body = Page<BuildView>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list_of_repo(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<RepoId>,
    Query(query): Query<ListOfRepoQuery>,
) -> Result<Json<Page<BuildView>>, ApiError> {
    let repo = caller.repo(&server, id).await?;
    if let Some(number) = query.number {
        let view = match builds::by_number(&server.store, id, number).await? {
            Some(build) => Some(view(&server, build, RepoRef::from(&repo)).await?),
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
    page(&server, &filter, query.before.as_deref(), query.limit).await
}

/// One build with its jobs and their steps
#[utoipa::path(
    get, path = "/api/v1/builds/{build}", tag = "builds", security((), ("token" = ["read"])),
    params(("build" = String, Path, description = "The build's id")),
    responses((status = 200, body = BuildView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn get(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<BuildId>,
) -> Result<Json<BuildView>, ApiError> {
    let (build, repo) = find(&server, &caller, id).await?;
    Ok(Json(view(&server, build, repo).await?))
}

/// One job with its steps
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}", tag = "jobs", security((), ("token" = ["read"])),
    params(("job" = String, Path, description = "The job's id")),
    responses((status = 200, body = JobView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn get_job(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Json<JobView>, ApiError> {
    let job = find_job(&server, &caller, id).await?;
    let acts = acts::of_builds(&server.store, &[job.build]).await?;
    Ok(Json(JobView::new(job, &acts)))
}

/// The build, if the caller may see it.
pub(crate) async fn find(server: &Server, caller: &Caller, id: BuildId) -> Result<(Build, RepoRef), ApiError> {
    find_to(server, caller, Action::See, id).await
}

/// The build, if the caller may do that with it.
pub(crate) async fn find_to(
    server: &Server,
    caller: &Caller,
    action: Action,
    id: BuildId,
) -> Result<(Build, RepoRef), ApiError> {
    caller.require(action, Object::SomeRepo)?;
    let build = builds::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("build"))?;
    let repo = caller.repo_to(server, action, build.repo).await.map_err(|error| error.about("build"))?;
    Ok((build, RepoRef::from(&repo)))
}

/// The job, if the caller may see it.
pub(crate) async fn find_job(server: &Server, caller: &Caller, id: JobId) -> Result<Job, ApiError> {
    find_job_to(server, caller, Action::See, id).await
}

/// The job, if the caller may do that with it.
pub(crate) async fn find_job_to(server: &Server, caller: &Caller, action: Action, id: JobId) -> Result<Job, ApiError> {
    caller.require(action, Object::SomeRepo)?;
    let job = jobs::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("job"))?;
    caller.repo_to(server, action, job.repo).await.map_err(|error| error.about("job"))?;
    Ok(job)
}

/// A build with its jobs.
pub(crate) async fn view(server: &Server, build: Build, repo: RepoRef) -> Result<BuildView, ApiError> {
    let jobs = jobs::of_build(&server.store, build.id).await?;
    let acts = acts::of_builds(&server.store, &[build.id]).await?;
    Ok(BuildView::new(build, repo, jobs, &acts))
}

/// Builds with their jobs, in few queries for all of the page.
pub(crate) async fn views(server: &Server, builds: Vec<Build>) -> Result<Vec<BuildView>, ApiError> {
    let ids: Vec<BuildId> = builds.iter().map(|build| build.id).collect();
    let repos = repo_refs_of(server, &builds).await?;
    let acts = acts::of_builds(&server.store, &ids).await?;
    let mut jobs_of = std::collections::HashMap::<BuildId, Vec<Job>>::new();
    for job in jobs::of_builds(&server.store, &ids).await? {
        jobs_of.entry(job.build).or_default().push(job);
    }
    let view = |build: Build| {
        let jobs = jobs_of.remove(&build.id).unwrap_or_default();
        Some(BuildView::new(build.clone(), repos.get(&build.repo)?.clone(), jobs, &acts))
    };
    Ok(builds.into_iter().filter_map(view).collect())
}

async fn page(
    server: &Server,
    filter: &BuildFilter,
    from: Option<&str>,
    asked: Option<u32>,
) -> Result<Json<Page<BuildView>>, ApiError> {
    let page = builds::list(&server.store, filter, before(from)?, limit(asked)?).await?;
    let items = views(server, page.items).await?;
    Ok(Json(Page::of(longshore_store::Page { items, next: page.next }, |view| view)))
}

fn event<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventName>, D::Error> {
    let Some(word) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let known = [EventName::Push, EventName::Tag, EventName::PullRequest, EventName::Schedule, EventName::Manual];
    let found = known.into_iter().find(|event| event.as_str() == word);
    found.map(Some).ok_or_else(|| D::Error::custom(format_args!("`{word}` is not an event")))
}
