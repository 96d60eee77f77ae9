//! `/repos/{repo}/run`: starts a build by hand. The inputs that its pipelines declare are fields of their types; an
//! error in one is shown beside it.
//!
//! The page itself shows what is known here of the repository, without asking the git host. Looking at another branch,
//! and starting a build, ask the git host for the newest commit.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use longshore_core::{RepoId, access::Action, expression::Value};
use longshore_pipeline::{Input, InputKind};
use longshore_scheduler::{ManualStart, RequestError, Scheduler, StartRequest};

use super::frame::{Frame, Tab};
use crate::{
    error::ApiError,
    pages::{
        head::{Head, Place},
        html::Html,
        post::{Post, Refused, refused, see_other},
        show,
        site::Site,
        visitor::Visitor,
    },
    params::Path,
};

/// The prefix of an input's name in its field's name.
const INPUT: &str = "input.";

#[derive(Template)]
#[template(path = "repo/run.html")]
pub(crate) struct Run {
    head: Head,
    repo: Frame,
    git_ref: String,
    commit: String,
    /// `name=value`, one per line, while the inputs are not known.
    free: String,
    /// The pipelines that can be started; `None` while they are not known.
    start: Option<ManualStart>,
    fields: Vec<Field>,
    /// Why it was not started.
    refused: Option<String>,
}

/// An input as a form's field.
#[derive(Debug)]
struct Field {
    input: Input,
    value: String,
    wrong: Option<String>,
}

impl Field {
    fn is_on(&self) -> bool {
        self.value == "true"
    }

    fn options(&self) -> &[String] {
        match &self.input.kind {
            InputKind::Choice(options) => options,
            InputKind::String | InputKind::Number | InputKind::Boolean => &[],
        }
    }

    fn is_boolean(&self) -> bool {
        self.input.kind == InputKind::Boolean
    }

    fn is_number(&self) -> bool {
        self.input.kind == InputKind::Number
    }

    /// Returns a hint to show beside the input's name.
    fn hint(&self) -> String {
        let mut words = self.input.description.clone().unwrap_or_default();
        if let Some(default) = self.input.default.as_ref().filter(|_| !self.is_boolean()) {
            let separator = if words.is_empty() { "" } else { " · " };
            words = format!("{words}{separator}default: {}", as_text(default));
        }
        words
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(is) => is.to_string(),
        other => other.to_text(),
    }
}

/// The fields as sent, or as first shown.
#[derive(Debug, Default)]
struct Sent {
    git_ref: String,
    commit: String,
    free: String,
    /// The values by the inputs' names.
    inputs: BTreeMap<String, String>,
    look: bool,
}

impl Sent {
    /// Takes the last value of a field that was sent twice: a hidden field behind every checkbox says what an unticked
    /// one means.
    fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        let mut sent = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "ref" => value.trim().clone_into(&mut sent.git_ref),
                "commit" => value.trim().clone_into(&mut sent.commit),
                "inputs" => sent.free = value,
                "look" => sent.look = true,
                name => {
                    if let Some(name) = name.strip_prefix(INPUT) {
                        sent.inputs.insert(name.to_owned(), value);
                    }
                }
            }
        }
        sent
    }

    /// Returns the inputs to start with. An empty field is left out, unless it clears a default.
    fn given(&self, start: Option<&ManualStart>) -> Result<BTreeMap<String, String>, ApiError> {
        let mut given = BTreeMap::new();
        for line in self.free.lines().filter(|line| !line.trim().is_empty()) {
            let Some((key, value)) = line.split_once('=') else {
                return Err(ApiError::bad_request("write inputs as `name=value`, one per line"));
            };
            given.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        let input = |name: &str| start?.inputs.iter().find(|input| input.name == name);
        for (name, value) in &self.inputs {
            let empties = input(name).is_some_and(|i| i.kind == InputKind::String && i.default.is_some());
            if !value.is_empty() || empties {
                given.insert(name.clone(), value.clone());
            }
        }
        Ok(given)
    }
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(crate) async fn show(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    visitor: Visitor,
    Path(id): Path<RepoId>,
) -> Result<Html<Run>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let repo = visitor.caller.repo_to(&site.store, Action::Start, id).await?;
    let sent = Sent { git_ref: repo.default_branch.clone().unwrap_or_default(), ..Sent::default() };
    // Even a repository that cannot be read may be started: the start then says what is wrong.
    let start = find_start(&scheduler, id, &sent, false).await.ok().flatten();
    Ok(Html(page(head, Frame::new(&visitor, &repo, Tab::Run), sent, start, None)))
}

/// Returns what can be started at the ref and commit of the form.
async fn find_start(
    scheduler: &Scheduler,
    repo: RepoId,
    sent: &Sent,
    fetch: bool,
) -> Result<Option<ManualStart>, RequestError> {
    scheduler.preview_manual(repo, non_empty(&sent.git_ref), non_empty(&sent.commit), fetch).await
}

fn page(head: Head, repo: Frame, sent: Sent, start: Option<ManualStart>, refused: Option<String>) -> Run {
    let wrong = match (&start, &refused) {
        (Some(start), Some(_)) => sent.given(Some(start)).map(|given| start.input_errors(&given)).unwrap_or_default(),
        _ => BTreeMap::new(),
    };
    let fields = start.iter().flat_map(|start| &start.inputs).map(|input| Field {
        value: sent
            .inputs
            .get(&input.name)
            .cloned()
            .unwrap_or_else(|| input.default.as_ref().map(as_text).unwrap_or_default()),
        wrong: wrong.get(&input.name).cloned(),
        input: input.clone(),
    });
    let fields: Vec<Field> = fields.collect();
    let head = head.titled(format!("Run {}", repo.name));
    Run { head, repo, git_ref: sent.git_ref, commit: sent.commit, free: sent.free, start, fields, refused }
}

pub(crate) async fn start(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<RepoId>,
    Post { visitor, form }: Post<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "");
    let repo = visitor.caller.repo_to(&site.store, Action::Start, id).await?;
    let frame = Frame::new(&visitor, &repo, Tab::Run);
    let sent = Sent::from_pairs(form);
    if sent.look {
        return Ok(match find_start(&scheduler, id, &sent, true).await {
            Ok(start) => Html(page(head, frame, sent, start, None)).into_response(),
            Err(error) => unprocessable(page(head, frame, sent, None, Some(correctable(error)?))),
        });
    }
    let known = find_start(&scheduler, id, &sent, false).await.ok().flatten();
    let inputs = match sent.given(known.as_ref()) {
        Ok(inputs) => inputs,
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            return Ok((status, Html(page(head, frame, sent, known, Some(why)))).into_response());
        }
    };
    let request = StartRequest {
        git_ref: non_empty(&sent.git_ref).map(str::to_owned),
        commit: non_empty(&sent.commit).map(str::to_owned),
        inputs,
        by: visitor.caller.actor(),
    };
    match scheduler.start_build(id, request).await {
        Ok(build) => Ok(see_other(&format!("/builds/{build}"))),
        Err(error) => {
            let refused = correctable(error)?;
            // The failed start may have fetched the commit.
            let start = find_start(&scheduler, id, &sent, false).await.ok().flatten();
            Ok(unprocessable(page(head, frame, sent, start, Some(refused))))
        }
    }
}

/// Returns the message if the sender can correct the form. Any other error stays an error.
fn correctable(error: RequestError) -> Result<String, ApiError> {
    match error {
        RequestError::Unusable { message, .. } | RequestError::GitHost(message) => Ok(message),
        other => Err(other.into()),
    }
}

fn unprocessable(page: Run) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Html(page)).into_response()
}
