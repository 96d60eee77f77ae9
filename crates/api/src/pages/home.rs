//! `/`: what runs and waits, and the newest builds.

use std::{collections::HashMap, sync::Arc};

use askama::Template;
use axum::extract::State;
use longshore_core::{RepoId, Status};
use longshore_store::builds::{self, Build, BuildFilter};

use super::{Head, Html, Place, Visitor, show};
use crate::{
    ApiError,
    server::Server,
    views::{RepoRef, repo_refs_of},
};

/// Builds in one list.
const LISTED: u32 = 25;

#[derive(Template)]
#[template(path = "home.html")]
pub(crate) struct Home {
    head: Head,
    busy: Vec<Build>,
    newest: Vec<Build>,
    repos: HashMap<RepoId, RepoRef>,
    only_public: bool,
}

pub(crate) async fn show(State(server): State<Arc<Server>>, visitor: Visitor) -> Result<Html<Home>, ApiError> {
    let head = Head::new(&server, &visitor, Place::Repositories, "Longshore").follows("build", None);
    let only_public = visitor.caller.only_public();
    let list = async |status: Option<Status>| {
        let filter = BuildFilter { status, only_public, ..BuildFilter::default() };
        Ok::<_, ApiError>(builds::list(&server.store, &filter, None, LISTED).await?.items)
    };
    let mut busy = Vec::new();
    for status in [Status::Running, Status::Canceling, Status::Queued, Status::Blocked] {
        busy.extend(list(Some(status)).await?);
    }
    busy.truncate(LISTED as usize);
    let newest = list(None).await?;
    let mut repos = repo_refs_of(&server, &busy).await?;
    repos.extend(repo_refs_of(&server, &newest).await?);
    Ok(Html(Home { head, busy, newest, repos, only_public }))
}
