//! `/builds/{build}/tests`: all tests of a build, failures first.

use askama::Template;
use axum::extract::State;
use longshore_core::BuildId;
use longshore_reports::TestStatus;
use longshore_store::tests::{self, Counts, TestCursor};
use serde::Deserialize;

use super::{MAX_OUTPUT_BYTES, Row};
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
    reports::{BuildReports, find_build_reports, parse_cursor},
    views::RepoRef,
};

/// Tests on a page, and the bytes that their outputs take.
const TESTS_PER_PAGE: u32 = 25;
const OUTPUTS_BYTES: usize = 20 << 10;

#[derive(Template)]
#[template(path = "reports/tests.html")]
pub(crate) struct TestsPage {
    head: Head,
    repo: RepoRef,
    build: BuildId,
    number: u64,
    counts: Counts,
    several_jobs: bool,
    status: Option<TestStatus>,
    rows: Vec<Row>,
    next: Option<TestCursor>,
    first_page: bool,
}

impl TestsPage {
    /// Returns the links that choose a status: the word, the count, the query, and whether it is chosen.
    fn choices(&self) -> [(&'static str, u64, &'static str, bool); 4] {
        let chosen = |status| self.status == status;
        [
            ("All", self.counts.total(), "", chosen(None)),
            ("Failed", self.counts.failed, "?status=failed", chosen(Some(TestStatus::Failed))),
            ("Passed", self.counts.passed, "?status=passed", chosen(Some(TestStatus::Passed))),
            ("Skipped", self.counts.skipped, "?status=skipped", chosen(Some(TestStatus::Skipped))),
        ]
    }

    /// Returns the address of another page of the same choice.
    fn page(&self, before: &str) -> String {
        let status = self.status.map_or("", TestStatus::as_str);
        show::address(&format!("/builds/{}/tests", self.build), &[("status", status), ("before", before)])
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestsQuery {
    #[serde(default, deserialize_with = "params::parse_word")]
    status: Option<TestStatus>,
    before: Option<String>,
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<BuildId>,
    Query(query): Query<TestsQuery>,
) -> Result<Html<TestsPage>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let BuildReports { build, repo, runs } = find_build_reports(&site.store, &visitor.caller, id).await?;
    let after = parse_cursor(query.before.as_deref())?;
    let page = tests::list(&site.store, &runs, query.status, after, TESTS_PER_PAGE).await?;
    let mut bytes = OUTPUTS_BYTES;
    Ok(Html(TestsPage {
        head: head.titled(format!("Tests: {} #{}", repo.name, build.number)),
        repo: RepoRef::from(&repo),
        build: id,
        number: build.number,
        counts: tests::sum(&runs),
        several_jobs: runs.len() > 1,
        status: query.status,
        rows: page.items.into_iter().map(|test| Row::new(test, MAX_OUTPUT_BYTES, &mut bytes)).collect(),
        next: page.next,
        first_page: after.is_none(),
    }))
}
