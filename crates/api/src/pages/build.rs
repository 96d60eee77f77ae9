//! `/builds/{build}`: one build, its jobs and their steps.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use longshore_core::BuildId;

use super::{Head, Html, Place, Visitor, show};
use crate::{
    ApiError,
    builds::{find, view},
    params::Path,
    server::Server,
    views::BuildView,
};

#[derive(Template)]
#[template(path = "build.html")]
pub(crate) struct BuildPage {
    head: Head,
    build: BuildView,
    diagnostics: Vec<String>,
}

pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Path(id): Path<BuildId>,
) -> Result<Html<BuildPage>, ApiError> {
    let head = Head::new(&server, &visitor, Place::Elsewhere, "").follows_build(id, "build job step");
    let (build, repo) = find(&server, &visitor.caller, id).await?;
    let build = view(&server, build, repo).await?;
    let title = format!("{}: {}#{}", build.status, build.repo.name, build.number);
    let diagnostics = build.diagnostics.iter().map(|diagnostic| diagnostic.render()).collect();
    Ok(Html(BuildPage { head: head.titled(title).status(build.status), build, diagnostics }))
}
