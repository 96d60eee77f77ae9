//! `/builds/{build}/annotations`: what tools said about places in the source code.

use askama::Template;
use axum::extract::State;
use longshore_core::BuildId;
use longshore_store::annotations::{self, JobAnnotation};
use serde::Deserialize;

use crate::{
    error::ApiError,
    pages::{
        head::{Head, Place},
        html::Html,
        site::Site,
        visitor::Visitor,
    },
    params::{Path, Query},
    reports::{AnnotationCursor, BuildReports, find_build_reports, parse_cursor},
    views::RepoRef,
};

/// Annotations on a page.
const ANNOTATIONS_PER_PAGE: u32 = 40;

#[derive(Template)]
#[template(path = "reports/annotations.html")]
pub(crate) struct AnnotationsPage {
    head: Head,
    repo: RepoRef,
    build: BuildId,
    number: u64,
    items: Vec<JobAnnotation>,
    several_jobs: bool,
    next: Option<AnnotationCursor>,
    first_page: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnnotationsQuery {
    before: Option<String>,
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<BuildId>,
    Query(query): Query<AnnotationsQuery>,
) -> Result<Html<AnnotationsPage>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let BuildReports { build, repo, runs } = find_build_reports(&site.store, &visitor.caller, id).await?;
    let after: Option<AnnotationCursor> = parse_cursor(query.before.as_deref())?;
    let (items, next) = annotations::list(&site.store, &runs, after.map(|after| after.0), ANNOTATIONS_PER_PAGE).await?;
    Ok(Html(AnnotationsPage {
        head: head.titled(format!("Annotations: {} #{}", repo.name, build.number)),
        repo: RepoRef::from(&repo),
        build: id,
        number: build.number,
        several_jobs: runs.len() > 1,
        items,
        next: next.map(AnnotationCursor),
        first_page: after.is_none(),
    }))
}
