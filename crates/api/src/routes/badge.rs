//! `/badges/{repo}.svg`: the result of the newest finished build, as a small picture for a README.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use longshore_core::{RepoId, Status};
use longshore_store::{Store, builds};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    params::{Path, Query},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BadgeQuery {
    /// The branch's short name; the default branch by default
    branch: Option<String>,
    /// Of this pipeline only
    pipeline: Option<String>,
}

/// Returns a status badge
#[utoipa::path(
    get, path = "/badges/{file}", tag = "repositories", security((), ("token" = ["read"])),
    params(("file" = String, Path, description = "`{repo-id}.svg`"), BadgeQuery),
    responses((status = 200, body = String, content_type = "image/svg+xml"), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn show(
    State(store): State<Store>,
    caller: Caller,
    Path(file): Path<String>,
    Query(query): Query<BadgeQuery>,
) -> Result<Response, ApiError> {
    let id = file.strip_suffix(".svg").and_then(|id| id.parse::<RepoId>().ok());
    let id = id.ok_or_else(|| ApiError::not_found("badge"))?;
    let repo = caller.repo(&store, id).await.map_err(|error| error.with_noun("badge"))?;
    let pipeline = query.pipeline.as_deref();
    let newest = async |branch: Option<&str>| builds::latest_finished(&store, id, branch, pipeline).await;
    let build = match query.branch.or(repo.default_branch) {
        Some(branch) => newest(Some(&branch)).await?,
        None => {
            let any = newest(None).await?;
            match any.as_ref().and_then(|build| build.event.default_branch.as_deref()) {
                Some(told) => newest(Some(told)).await?,
                None => any,
            }
        }
    };
    let status = match (&build, pipeline) {
        (Some(build), Some(pipeline)) => {
            let pipelines = builds::of_pipelines(&store, build.id).await?;
            pipelines.into_iter().find(|(name, _)| name == pipeline).map(|(_, status)| status)
        }
        (build, _) => build.as_ref().map(|build| build.status),
    };
    let mut response = svg(status).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
    // Forges show badges through caches of their own, which must ask again each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // The picture needs nothing but its own style attributes.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    Ok(response)
}

/// Draws two words side by side. Their widths are those of 11 px sans-serif, rounded up a little.
fn svg(status: Option<Status>) -> String {
    let (word, colour) = match status {
        Some(Status::Success) => ("success", "#2c7a3f"),
        Some(status @ (Status::Failure | Status::Error | Status::TimedOut)) => (status.as_str(), "#b3261e"),
        Some(
            status @ (Status::Blocked
            | Status::Queued
            | Status::Running
            | Status::Canceling
            | Status::Canceled
            | Status::Skipped),
        ) => (status.as_str(), "#6b6b6b"),
        None => ("no builds", "#6b6b6b"),
    };
    let left = 42;
    let right = word.len() * 7 + 12;
    let width = left + right;
    let (left_middle, right_middle) = (left / 2, left + right / 2);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"20\" role=\"img\" \
         aria-label=\"build: {word}\"><title>build: {word}</title>\
         <rect width=\"{left}\" height=\"20\" fill=\"#3b3b3b\"/>\
         <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{colour}\"/>\
         <g fill=\"#fff\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\" text-anchor=\"middle\">\
         <text x=\"{left_middle}\" y=\"14\">build</text><text x=\"{right_middle}\" y=\"14\">{word}</text></g></svg>\n"
    )
}
