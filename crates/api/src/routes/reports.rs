//! Shows what a build's jobs reported: tests, coverage, annotations.

use axum::{Json, extract::State};
use longshore_core::BuildId;
use longshore_reports::TestStatus;
use longshore_store::{Store, annotations, coverage, tests};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    params::{self, Path, Query, page_limit, parse_before},
    report_views::{AnnotationView, CoverageView, TestHistoryView, TestsView},
    reports::{AnnotationCursor, BuildReports, find_build_reports, find_test, parse_cursor},
    views::{Page, PageQuery},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TestsQuery {
    /// Only tests with this status: `failed`, `passed` or `skipped`
    #[serde(default, deserialize_with = "params::parse_word")]
    #[param(value_type = Option<String>)]
    status: Option<TestStatus>,
    /// The `next` of the previous page
    before: Option<String>,
    /// Maximum number of items to return: 50 by default, at most 200
    limit: Option<u32>,
}

/// Lists a build's tests, failures first
#[utoipa::path(
    get, path = "/api/v1/builds/{build}/tests", tag = "reports", security((), ("token" = ["read"])),
    params(("build" = String, Path, description = "The build's ID"), TestsQuery),
    responses((status = 200, body = TestsView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn tests(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<BuildId>,
    Query(query): Query<TestsQuery>,
) -> Result<Json<TestsView>, ApiError> {
    let BuildReports { runs, .. } = find_build_reports(&store, &caller, id).await?;
    let after = parse_cursor(query.before.as_deref())?;
    let page = tests::list(&store, &runs, query.status, after, page_limit(query.limit)?).await?;
    Ok(Json(TestsView::new(&runs, page)))
}

/// Lists the results of a test in all builds, newest first
#[utoipa::path(
    get, path = "/api/v1/tests/{test}/history", tag = "reports", security((), ("token" = ["read"])),
    params(("test" = String, Path, description = "The test's ID"), PageQuery),
    responses((status = 200, body = TestHistoryView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn history(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<i64>,
    Query(query): Query<PageQuery>,
) -> Result<Json<TestHistoryView>, ApiError> {
    let (test, _) = find_test(&store, &caller, id).await?;
    let before = parse_before(query.before.as_deref())?;
    let page = tests::history(&store, id, before, page_limit(query.limit)?).await?;
    Ok(Json(TestHistoryView::new(test, page)))
}

/// Returns a build's coverage, with its files ordered by path; `null` if no job reported any
#[utoipa::path(
    get, path = "/api/v1/builds/{build}/coverage", tag = "reports", security((), ("token" = ["read"])),
    params(("build" = String, Path, description = "The build's ID"), PageQuery),
    responses((status = 200, body = Option<CoverageView>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn coverage(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<BuildId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Option<CoverageView>>, ApiError> {
    let BuildReports { runs, .. } = find_build_reports(&store, &caller, id).await?;
    let limit = page_limit(query.limit)?;
    let Some(found) = coverage::of_build(&store, &runs).await? else { return Ok(Json(None)) };
    let (files, next) = coverage::files(&store, &runs, query.before.as_deref(), limit).await?;
    Ok(Json(Some(CoverageView::new(&found, files, next))))
}

/// Lists a build's annotations with file and line: job by job, the most serious first
#[utoipa::path(
    get, path = "/api/v1/builds/{build}/annotations", tag = "reports", security((), ("token" = ["read"])),
    params(("build" = String, Path, description = "The build's ID"), PageQuery),
    responses((status = 200, body = Page<AnnotationView>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn annotations(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<BuildId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AnnotationView>>, ApiError> {
    let BuildReports { runs, .. } = find_build_reports(&store, &caller, id).await?;
    let after = parse_cursor::<AnnotationCursor>(query.before.as_deref())?.map(|cursor| cursor.0);
    let (items, next) = annotations::list(&store, &runs, after, page_limit(query.limit)?).await?;
    let items = items.into_iter().map(AnnotationView::from).collect();
    Ok(Json(Page::with_next(items, next.map(|next| AnnotationCursor(next).to_string()))))
}
