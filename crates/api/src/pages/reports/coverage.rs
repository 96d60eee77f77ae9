//! `/builds/{build}/coverage`: a build's coverage, file by file.

use askama::Template;
use axum::extract::State;
use longshore_core::BuildId;
use longshore_store::coverage::{self, BuildCoverage, FileCoverage};
use serde::Deserialize;

use crate::{
    error::ApiError,
    pages::{
        head::{Head, Place},
        html::Html,
        reports, show,
        site::Site,
        visitor::Visitor,
    },
    params::{Path, Query},
    reports::{BuildReports, find_build_reports},
    views::RepoRef,
};

/// Files on a page.
const FILES_PER_PAGE: u32 = 60;

#[derive(Template)]
#[template(path = "reports/coverage.html")]
pub(crate) struct CoveragePage {
    head: Head,
    repo: RepoRef,
    build: BuildId,
    number: u64,
    coverage: Option<BuildCoverage>,
    files: Vec<FileCoverage>,
    /// The address of the next page, below the base path.
    next: Option<String>,
    first_page: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CoverageQuery {
    before: Option<String>,
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<BuildId>,
    Query(query): Query<CoverageQuery>,
) -> Result<Html<CoveragePage>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let BuildReports { build, repo, runs } = find_build_reports(&site.store, &visitor.caller, id).await?;
    let found = coverage::of_build(&site.store, &runs).await?;
    let (files, next) = coverage::files(&site.store, &runs, query.before.as_deref(), FILES_PER_PAGE).await?;
    let next = next.map(|next| show::address(&format!("/builds/{id}/coverage"), &[("before", &next)]));
    Ok(Html(CoveragePage {
        head: head.titled(format!("Coverage: {} #{}", repo.name, build.number)),
        repo: RepoRef::from(&repo),
        build: id,
        number: build.number,
        coverage: found,
        files,
        next,
        first_page: query.before.is_none(),
    }))
}
