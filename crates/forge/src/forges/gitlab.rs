//! GitLab. Its payloads are documented at <https://docs.gitlab.com/user/project/integrations/webhook_events/>. It
//! proves who it is by a token that it sends as it is, or by a signature as of Standard Webhooks over id, time and
//! body.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use longshore_core::EventName;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Forge, ForgeRepository, RefName, fork,
    github_bodies::{about, ignored},
    hook::{DeliveryContents, Head, Hook, PayloadError, PullRequestHook, PullRequestState, PushHook, ReleaseHook},
    read,
    signature::{self, SignatureError},
    text,
    webhooks::{Sends, Webhooks},
};

pub(crate) struct Gitlab;

const TOKEN: &str = "x-gitlab-token";
const SIGNATURE: &str = "webhook-signature";
/// The id that the signature covers.
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
/// The prefix of a signing secret in the form of Standard Webhooks.
const SECRET_PREFIX: &str = "whsec_";

fn header<'h>(headers: &'h HeaderMap, name: &'static str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Webhooks for Gitlab {
    fn signature_header(&self) -> &'static str {
        TOKEN
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), SignatureError> {
        match (headers.contains_key(SIGNATURE), headers.contains_key(TOKEN)) {
            (false, false) => Err(SignatureError::Missing { header: TOKEN }),
            (true, _) if headers.contains_key(ID) && headers.contains_key(TIMESTAMP) => Ok(()),
            (true, _) => Err(SignatureError::Malformed { header: SIGNATURE }),
            (false, true) => Ok(()),
        }
    }

    fn verify(&self, headers: &HeaderMap, raw_body: &[u8], secret: &[u8]) -> Result<(), SignatureError> {
        self.check_headers(headers)?;
        let Some(signatures) = header(headers, SIGNATURE) else {
            let given = headers.get(TOKEN).ok_or(SignatureError::Missing { header: TOKEN })?;
            return signature::verify_token(secret, given.as_bytes(), TOKEN);
        };
        let (Some(id), Some(time)) = (header(headers, ID), header(headers, TIMESTAMP)) else {
            return Err(SignatureError::Malformed { header: SIGNATURE });
        };
        let parts: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", raw_body];
        // The hook secret is the key, either as its text or, if it is valid base64, as the decoded bytes.
        let decoded = std::str::from_utf8(secret)
            .ok()
            .and_then(|text| STANDARD.decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text)).ok());
        let keys = [Some(secret.to_vec()), decoded];
        // While a secret is renewed, the header has several signatures.
        for given in signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")) {
            let Some(given) = STANDARD.decode(given).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) else {
                continue;
            };
            for key in keys.iter().flatten() {
                match signature::verify_hmac(key, &parts, &given, SIGNATURE) {
                    Err(SignatureError::Mismatch { .. }) => {}
                    verified => return verified,
                }
            }
        }
        Err(SignatureError::Mismatch { header: SIGNATURE })
    }

    fn delivery_headers(&self) -> &'static [&'static str] {
        &[ID, "idempotency-key", "x-gitlab-event-uuid"]
    }

    // Hooks that are called because of the same request have the same `X-Gitlab-Event-UUID`.
    fn has_own_ids(&self) -> bool {
        false
    }

    // A branch that goes back and forth, and a tag that is pushed once more, are reported in the same words.
    fn tells_time(&self, event: &str) -> bool {
        !matches!(event, "Push Hook" | "Tag Push Hook")
    }

    fn event_header(&self) -> Option<&'static str> {
        Some("x-gitlab-event")
    }

    fn parse(&self, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
        let project = serde_json::from_slice::<About>(body).ok().and_then(|about| about.project);
        let default_branch = project.as_ref().and_then(|project| read::branch(project.default_branch.clone()));
        let hook = match event {
            "Push Hook" | "Tag Push Hook" => push(event, body, default_branch)?,
            "Merge Request Hook" => merge_request(event, body, default_branch)?,
            "Release Hook" => release(event, body, default_branch)?,
            _ => {
                return Ok(about(
                    body,
                    ignored(event, "only push, tag, merge request and release events start builds"),
                ));
            }
        };
        Ok(DeliveryContents { repository: project.and_then(Project::identity), hooks: vec![hook] })
    }

    fn sends(&self, kind: Sends) -> bool {
        match kind {
            Sends::PullRequests | Sends::Labels | Sends::Drafts | Sends::Reopened | Sends::Releases => true,
            Sends::MergeGroups => false,
        }
    }
}

#[derive(Deserialize)]
struct About {
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    id: Option<i64>,
    default_branch: Option<String>,
    path_with_namespace: Option<String>,
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
    web_url: Option<String>,
}

impl Project {
    fn identity(self) -> Option<ForgeRepository> {
        let repository = ForgeRepository {
            id: self.id.map(|id| id.to_string()),
            full_name: self.path_with_namespace,
            addresses: [self.git_http_url, self.git_ssh_url, self.web_url].into_iter().flatten().collect(),
        };
        (!repository.is_unnamed()).then_some(repository)
    }
}

#[derive(Deserialize)]
struct User {
    id: Option<i64>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    user_username: Option<String>,
    #[serde(default)]
    push_options: Value,
}

fn push(event: &str, body: &[u8], default_branch: Option<String>) -> Result<Hook, PayloadError> {
    let push: Push = read::json(Forge::Gitlab, event, body)?;
    let git_ref: RefName = push.git_ref.ok_or(PayloadError::Lacks { field: "ref" })?.parse()?;
    let before = read::commit(push.before.as_deref())?;
    let Some(after) = read::commit(push.after.as_deref())? else {
        return Ok(Hook::Deleted { git_ref, from: before });
    };
    Ok(Hook::Push(Box::new(PushHook {
        event: if git_ref.branch().is_some() { EventName::Push } else { EventName::Tag },
        git_ref,
        before,
        after,
        sender: push.user_username.as_deref().map(text::one_line).unwrap_or_default(),
        url: None,
        default_branch,
        skip: read::skip_option(&push.push_options),
    })))
}

#[derive(Deserialize)]
struct MergeRequestEvent {
    user: Option<User>,
    object_attributes: Option<MergeRequest>,
    #[serde(default)]
    labels: Option<Vec<Label>>,
    #[serde(default)]
    changes: Value,
}

#[derive(Deserialize)]
struct Label {
    title: String,
}

/// A project that a merge request is between.
#[derive(Deserialize)]
struct Side {
    path_with_namespace: Option<String>,
}

#[derive(Deserialize)]
struct MergeRequest {
    iid: Option<u64>,
    title: Option<String>,
    action: Option<String>,
    #[serde(default, deserialize_with = "read::lenient")]
    state: Option<String>,
    source_branch: Option<String>,
    target_branch: Option<String>,
    source_project_id: Option<i64>,
    target_project_id: Option<i64>,
    #[serde(default, deserialize_with = "read::lenient")]
    source: Option<Side>,
    #[serde(default, deserialize_with = "read::lenient")]
    target: Option<Side>,
    last_commit: Option<Commit>,
    /// The commit before; only there if the code changed.
    oldrev: Option<String>,
    draft: Option<bool>,
    work_in_progress: Option<bool>,
    author_id: Option<i64>,
    updated_at: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
}

fn merge_request(event: &str, body: &[u8], default_branch: Option<String>) -> Result<Hook, PayloadError> {
    let event_body: MergeRequestEvent = read::json(Forge::Gitlab, event, body)?;
    let lacks = |field| PayloadError::Lacks { field };
    let request = event_body.object_attributes.ok_or(lacks("object_attributes"))?;
    let changes = &event_body.changes;
    let draft_changed = || {
        let draft = |which: &str| changes["draft"][which].as_bool();
        Some((draft("previous")?, draft("current")?))
    };
    let labels_of = |which: &str| -> Vec<&str> {
        let list = changes["labels"][which].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|label| label["title"].as_str()).collect()
    };
    let (action, merged) = match request.action.as_deref() {
        Some("open") => ("opened", false),
        Some("reopen") => ("reopened", false),
        Some("close") => (longshore_core::event::PullRequest::CLOSED, false),
        Some("merge") => (longshore_core::event::PullRequest::CLOSED, true),
        Some("update") if request.oldrev.is_some() => ("synchronize", false),
        Some("update") => match draft_changed() {
            Some((true, false)) => ("ready-for-review", false),
            Some((false, true)) => ("converted-to-draft", false),
            _ if !changes["labels"].is_null() => {
                let (then, now) = (labels_of("previous"), labels_of("current"));
                let added = now.iter().any(|label| !then.contains(label));
                (if added { "labeled" } else { "unlabeled" }, false)
            }
            _ => ("edited", false),
        },
        Some(other) => {
            let other: String = text::one_line(other).chars().take(40).collect();
            return Ok(ignored(event, format!("the action `{other}` of a merge request starts no builds")));
        }
        // As a test of the webhook in the settings sends it.
        None => return Ok(ignored(event, "the event does not say what happened to the merge request")),
    };
    let number = request.iid.ok_or(lacks("object_attributes.iid"))?;
    let branch = |name: Option<String>, field| -> Result<RefName, PayloadError> {
        Ok(format!("refs/heads/{}", name.ok_or(lacks(field))?).parse()?)
    };
    let same = request.source_project_id.is_some() && request.source_project_id == request.target_project_id;
    let names = |side: Option<Side>| side?.path_with_namespace;
    let from = if same { None } else { fork::of_names(names(request.source), names(request.target)) };
    // Only the acting user is given by name.
    let name = event_body.user.as_ref().filter(|user| user.id.is_some() && user.id == request.author_id);
    let labels = event_body.labels.map(|labels| labels.iter().map(|label| text::one_line(&label.title)).collect());
    Ok(Hook::PullRequest(Box::new(PullRequestHook {
        number,
        action: action.to_owned(),
        title: request.title.as_deref().map(text::one_line).unwrap_or_default(),
        head: Head::Commit(request.last_commit.ok_or(lacks("object_attributes.last_commit"))?.id.parse()?),
        served_at: format!("refs/merge-requests/{number}/head"),
        source: branch(request.source_branch, "object_attributes.source_branch")?,
        target: branch(request.target_branch, "object_attributes.target_branch")?,
        fork: !same,
        from,
        former: None,
        author: read::person(request.author_id, name.and_then(|user| user.username.as_deref())),
        retargeted: !changes["target_branch"].is_null(),
        is_closed: action == longshore_core::event::PullRequest::CLOSED
            || matches!(request.state.as_deref(), Some("closed" | "merged")),
        merged,
        state: PullRequestState {
            labels,
            draft: request.draft.or(request.work_in_progress),
            ..PullRequestState::default()
        },
        changed_at: request.updated_at.as_deref().map(text::one_line).unwrap_or_default(),
        sender: event_body.user.and_then(|user| user.username).as_deref().map(text::one_line).unwrap_or_default(),
        url: read::page(request.url),
        default_branch,
    })))
}

#[derive(Deserialize)]
struct ReleaseEvent {
    action: Option<String>,
    tag: Option<String>,
    name: Option<String>,
    released_at: Option<String>,
    url: Option<String>,
}

fn release(event: &str, body: &[u8], default_branch: Option<String>) -> Result<Hook, PayloadError> {
    let release: ReleaseEvent = read::json(Forge::Gitlab, event, body)?;
    let action = match release.action.as_deref() {
        Some("create") => "published",
        Some("update") => "edited",
        Some("delete") => "deleted",
        Some(_) | None => return Ok(ignored(event, "the event does not say what happened to the release")),
    };
    let tag = release.tag.ok_or(PayloadError::Lacks { field: "tag" })?;
    Ok(Hook::Release(Box::new(ReleaseHook {
        action: action.to_owned(),
        tag: format!("refs/tags/{tag}").parse()?,
        name: release.name.as_deref().map(text::one_line).unwrap_or_default(),
        prerelease: false,
        changed_at: release.released_at.as_deref().map(text::one_line).unwrap_or_default(),
        sender: String::new(),
        url: read::page(release.url),
        default_branch,
    })))
}
