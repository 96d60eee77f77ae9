//! `/cc.xml`: how every repository stands, for desktop tools that show it beside the clock (CCMenu, BuildNotify, and
//! others that read CruiseControl's format).

use std::fmt::Write as _;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use longshore_core::Status;
use longshore_store::{
    Store,
    builds::{self, Build, BuildFilter},
    overview,
};

use crate::{auth::Caller, error::ApiError, public_url::PublicUrl};

/// Repositories that are listed.
const MAX_REPOS: u32 = 500;
/// The number of a branch's newest builds that are searched for one without a pull request.
const NEWEST_BUILDS: u32 = 20;

/// How repositories stand, as CCTray's XML
///
/// One project for each repository that the caller may see: of its default branch, or of any where that is not known. Tools that know
/// names and passwords only send a token as the password, with any name.
#[utoipa::path(
    get, path = "/cc.xml", tag = "repositories", security((), ("token" = ["read"])),
    responses((status = 200, body = String, content_type = "text/xml")),
)]
pub(crate) async fn show(
    State(store): State<Store>,
    State(public_url): State<PublicUrl>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let repos = overview::of_repos(&store, &caller.visible(), "", "", MAX_REPOS, 1).await?;
    let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Projects>\n".to_owned();
    for overview::RepoOverview { repo, newest, .. } in repos {
        let announced = newest.as_ref().and_then(|build| build.event.default_branch.clone());
        let branch = repo.default_branch.clone().or(announced);
        let finished = builds::latest_finished(&store, repo.id, branch.as_deref(), None).await?;
        let filter = BuildFilter { repo: Some(repo.id), branch, ..BuildFilter::default() };
        // Builds of pull requests count as their target branch's, and say nothing about it yet.
        let newest = builds::list(&store, &filter, None, NEWEST_BUILDS).await?.items;
        let last = newest.iter().find(|build| build.event.pull_request.is_none());
        let building = last.is_some_and(|build| !build.status.is_final());
        let url = format!("{public_url}/repos/{}", repo.id);
        project(&mut text, &repo.name, building, finished.as_ref(), &url);
    }
    text.push_str("</Projects>\n");
    let headers = [(header::CONTENT_TYPE, "text/xml; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, text).into_response())
}

fn project(text: &mut String, name: &str, building: bool, finished: Option<&Build>, url: &str) {
    let activity = if building { "Building" } else { "Sleeping" };
    let last = match finished.map(|build| build.status) {
        Some(Status::Success | Status::Skipped) => "Success",
        Some(Status::Failure | Status::TimedOut) => "Failure",
        Some(Status::Error) => "Exception",
        Some(Status::Canceled | Status::Blocked | Status::Queued | Status::Running | Status::Canceling) | None => {
            "Unknown"
        }
    };
    // Names, numbers, times and our own address need no escapes.
    let _ = write!(text, "<Project name=\"{name}\" activity=\"{activity}\" lastBuildStatus=\"{last}\"");
    if let Some(build) = finished {
        let at = build.finished_at.unwrap_or(build.created_at);
        let _ = write!(text, " lastBuildLabel=\"{}\" lastBuildTime=\"{at}\"", build.number);
    }
    let _ = writeln!(text, " webUrl=\"{}\"/>", url.replace('&', "&amp;").replace('"', "&quot;"));
}
