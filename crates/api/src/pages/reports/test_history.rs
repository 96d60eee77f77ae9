//! `/tests/{test}`: the results of one test in past builds, newest first.

use askama::Template;
use axum::extract::State;
use longshore_store::tests::{self, PastResult, Test};
use serde::Deserialize;

use crate::{
    error::ApiError,
    pages::{
        head::{Head, Place},
        html::Html,
        show,
        site::Site,
        visitor::Visitor,
    },
    params::{self, Path, Query},
    reports::find_test,
    views::RepoRef,
};

/// Results on a page.
const RESULTS_PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "reports/test_history.html")]
pub(crate) struct TestHistoryPage {
    head: Head,
    repo: RepoRef,
    test: Test,
    is_flaky: bool,
    items: Vec<PastResult>,
    next: Option<i64>,
    first_page: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestHistoryQuery {
    before: Option<String>,
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<i64>,
    Query(query): Query<TestHistoryQuery>,
) -> Result<Html<TestHistoryPage>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let (test, repo) = find_test(&site.store, &visitor.caller, id).await?;
    let before = params::parse_before(query.before.as_deref())?;
    let page = tests::history(&site.store, id, before, RESULTS_PER_PAGE).await?;
    Ok(Html(TestHistoryPage {
        is_flaky: test.is_flaky(head.now),
        head: head.titled(format!("{} in {}", show::cut(&test.name, 80), repo.name)),
        repo: RepoRef::from(&repo),
        test,
        items: page.items,
        next: page.next,
        first_page: before.is_none(),
    }))
}
