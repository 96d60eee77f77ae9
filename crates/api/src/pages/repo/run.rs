//! `/repos/{repo}/run`: a build by hand.

use std::{collections::BTreeMap, sync::Arc};

use askama::Template;
use axum::{extract::State, response::Response};
use longshore_core::RepoId;
use longshore_scheduler::StartRequest;
use longshore_store::tokens::Scope;
use serde::Deserialize;

use super::{Frame, Tab, find};
use crate::{
    ApiError,
    pages::{
        Head, Html, Place, Visitor,
        post::{Post, see},
        show,
    },
    params::Path,
    server::Server,
};

#[derive(Template)]
#[template(path = "repo/run.html")]
pub(crate) struct Run {
    head: Head,
    repo: Frame,
}

pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Path(id): Path<RepoId>,
) -> Result<Html<Run>, ApiError> {
    let head = Head::new(&server, &visitor, Place::Elsewhere, "");
    let repo = find(&server, &visitor, id).await?;
    visitor.caller.require(Scope::Build)?;
    Ok(Html(Run { head: head.titled(format!("Run {}", repo.name)), repo: Frame::of(&visitor, &repo, Tab::Run) }))
}

#[derive(Debug, Deserialize)]
pub(crate) struct RunForm {
    #[serde(default, rename = "ref")]
    git_ref: String,
    #[serde(default)]
    commit: String,
    /// `key=value`, one a line.
    #[serde(default)]
    inputs: String,
}

pub(crate) async fn start(
    State(server): State<Arc<Server>>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<RunForm>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Build)?;
    let given = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let request = StartRequest {
        git_ref: given(&form.git_ref),
        commit: given(&form.commit),
        inputs: inputs(&form.inputs)?,
        sender: visitor.caller.name().to_owned(),
    };
    let build = server.scheduler.start_build(id, request).await?;
    Ok(see(&format!("/builds/{build}")))
}

fn inputs(text: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let mut inputs = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let Some((key, value)) = line.split_once('=') else {
            return Err(ApiError::bad_request("an input is `name=value`, one a line"));
        };
        inputs.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_stand_one_a_line() {
        let read = inputs("a=1\r\n\r\n b = x=y \r\n").unwrap();
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [("a", "1"), ("b", "x=y")].map(|(k, v)| (k.into(), v.into())));
        assert!(inputs("a").is_err());
    }
}
