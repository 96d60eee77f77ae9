//! `/`: every repository with its last builds, and the builds that run or wait now. On an empty server it shows the
//! steps to a first build.

use std::collections::HashMap;

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use longshore_core::{
    RepoId, Status,
    access::{Action, Object},
};
use longshore_store::{
    builds::{self, Build, BuildFilter},
    overview::{self, FirstSteps, RepoOverview},
};
use serde::Deserialize;

use super::{
    bars,
    head::{Head, Place},
    html::Html,
    post::see_other,
    show,
    site::Site,
    visitor::Visitor,
};
use crate::{build_views::repo_refs, error::ApiError, params::Query, views::RepoRef};

/// Repositories on a page: as many as the page has room for with their bars.
const REPOS_PER_PAGE: u32 = 15;
/// Bars of one repository.
const BARS_PER_REPO: u32 = 20;
/// How many builds that run or wait are listed.
const MAX_UNFINISHED_BUILDS: u32 = 10;

#[derive(Template)]
#[template(path = "home.html")]
pub(crate) struct Home {
    head: Head,
    /// The first steps, shown until a build has finished.
    steps: Option<FirstSteps>,
    may_add: bool,
    busy: Vec<Build>,
    more_busy: bool,
    busy_repos: HashMap<RepoId, RepoRef>,
    repos: Vec<RepoOverview>,
    /// The address of the first page, unless this is it, and of the next one.
    first: Option<String>,
    next: Option<String>,
    anonymous: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct HomeQuery {
    /// Part of a name.
    #[serde(default)]
    q: String,
    /// The last name on the previous page.
    #[serde(default)]
    after: String,
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Query(query): Query<HomeQuery>,
) -> Result<Html<Home>, ApiError> {
    let mut head = Head::new(&site, &visitor, Place::Repositories, "Longshore").follows("build repo delivery", None);
    head.search.clone_from(&query.q);
    let visible = visitor.caller.visible();

    let name_part = query.q.trim();
    let mut busy = Vec::new();
    for status in [Status::Running, Status::Canceling, Status::Queued, Status::Blocked] {
        let filter = BuildFilter { status: Some(status), visible: visible.clone(), ..BuildFilter::default() };
        busy.extend(builds::list(&site.store, &filter, None, MAX_UNFINISHED_BUILDS + 1).await?.items);
    }
    // In the order of their creation: a row stays where it is when its build starts.
    busy.sort_by_key(|build| build.seq);
    let more_busy = busy.len() > MAX_UNFINISHED_BUILDS as usize;
    busy.truncate(MAX_UNFINISHED_BUILDS as usize);
    let busy_repos = repo_refs(&site.store, &busy).await?;

    let mut repos =
        overview::of_repos(&site.store, &visible, name_part, &query.after, REPOS_PER_PAGE + 1, BARS_PER_REPO).await?;
    let more = repos.len() > REPOS_PER_PAGE as usize;
    repos.truncate(REPOS_PER_PAGE as usize);
    let address = |after: &str| show::address("/", &[("q", name_part), ("after", after)]);
    let next = repos.last().filter(|_| more).map(|last| address(&last.repo.name));
    let first = (!query.after.is_empty()).then(|| address(""));

    // The steps are about the whole server, so only those who may see its figures see them.
    let of_all = visitor.caller.may(Action::SeeFigures, Object::Server);
    let steps = match overview::first_steps(&site.store).await? {
        steps if !of_all || (steps.built && !first_build_runs(&repos, &busy)) => None,
        steps => Some(steps),
    };
    if let Some(build) = busy.iter().find(|build| !build.waits()).or(busy.first()) {
        head = head.status(show::standing(build));
    }
    // The results of a search replace everything else.
    let steps = steps.filter(|_| name_part.is_empty());
    if !name_part.is_empty() {
        busy.clear();
    }
    Ok(Html(Home {
        head,
        steps,
        may_add: visitor.caller.may(Action::AddRepo, Object::Server),
        busy,
        more_busy,
        busy_repos,
        repos,
        first,
        next,
        anonymous: visitor.caller.is_anonymous(),
    }))
}

/// Returns whether the only build still runs: the steps stay in view until it ends.
fn first_build_runs(repos: &[RepoOverview], busy: &[Build]) -> bool {
    let [build] = busy else { return false };
    build.number == 1 && repos.iter().map(|repo| repo.last.len()).sum::<usize>() == 1
}

/// Redirects from a bar's address, which is short because a page has hundreds of bars.
pub(crate) async fn build_by_place(
    State(site): State<Site>,
    visitor: Visitor,
    Path(seq): Path<String>,
) -> Result<Response, ApiError> {
    let nothing = || ApiError::not_found("build");
    let seq = seq.parse().map_err(|_| nothing())?;
    let build = overview::build_by_seq(&site.store, seq).await?.ok_or_else(nothing)?;
    visitor.caller.repo(&site.store, build.repo).await.map_err(|error| error.with_noun("build"))?;
    Ok(see_other(&format!("/builds/{}", build.id)))
}
