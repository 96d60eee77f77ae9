//! What a delivery says. Called by the ingest loop, after the signature was checked; it must not fetch, plan or run.

use http::HeaderMap;
use longshore_core::EventName;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{CommitId, Forge, InvalidRevision, RefName, text};

/// The longest address of a page that is kept.
const MAX_URL_LEN: usize = 2048;

/// What a delivery is to Longshore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A branch or tag was made or moved.
    Push(Box<PushHook>),
    /// The forge asks whether somebody is there.
    Ping,
    /// Understood, and no reason for a build; `reason` is for people.
    Ignored { event: String, reason: String },
}

/// A branch or tag that was made or moved. Texts are outsiders', control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushHook {
    /// `Push` for a branch, `Tag` for a tag.
    pub event: EventName,
    pub git_ref: RefName,
    /// Absent for a ref that is new.
    pub before: Option<CommitId>,
    /// What the ref points at now; for an annotated tag that is the tag's own object, not the commit.
    pub after: CommitId,
    /// Message and author of the commit where the forge told them.
    pub message: Option<String>,
    pub author: Option<String>,
    pub author_email: Option<String>,
    /// Who pushed, by the forge's name for them; empty where unknown.
    pub sender: String,
    /// A page that shows the change.
    pub url: Option<String>,
    pub default_branch: Option<String>,
}

/// A delivery that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("the header `{header}`, which names the event, is missing")]
    NoEvent { header: &'static str },
    #[error("the body is a form: set the webhook's content type to application/json")]
    Form,
    #[error("the body is not what `{event}` of {forge} looks like: {source}")]
    Shape { forge: Forge, event: String, source: serde_json::Error },
    #[error("the body has no `{field}`")]
    Lacks { field: &'static str },
    #[error(transparent)]
    Revision(#[from] InvalidRevision),
}

/// Reads a delivery of a repository that is registered as `forge`.
///
/// # Errors
/// When the body is no JSON, or not of the event's shape, or names impossible refs or commits.
pub fn parse(forge: Forge, headers: &HeaderMap, body: &[u8]) -> Result<Hook, PayloadError> {
    let event = match forge.event_header() {
        None => "push",
        Some(header) => {
            headers.get(header).and_then(|value| value.to_str().ok()).ok_or(PayloadError::NoEvent { header })?
        }
    };
    parse_event(forge, event, body)
}

/// [`parse`] with the event's name at hand.
///
/// # Errors
/// As [`parse`].
pub fn parse_event(forge: Forge, event: &str, body: &[u8]) -> Result<Hook, PayloadError> {
    if body.starts_with(b"payload=") {
        return Err(PayloadError::Form);
    }
    let ignored = |reason: &str| Hook::Ignored { event: text::one_line(event), reason: reason.to_owned() };
    Ok(match event {
        "push" => push(forge, read(forge, event, body)?)?,
        "ping" => {
            let _: serde::de::IgnoredAny = read(forge, event, body)?;
            Hook::Ping
        }
        "create" => ignored("a new branch or tag arrives as `push` too, and that is what builds"),
        "delete" => ignored("a deleted branch or tag has nothing to build"),
        "pull_request" | "pull_request_sync" => ignored("pull requests are not supported yet"),
        "release" => ignored("releases are not supported yet; the release's tag arrives as `push`"),
        _ => ignored("this event starts no builds: only `push` does"),
    })
}

fn read<T: DeserializeOwned>(forge: Forge, event: &str, body: &[u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(body).map_err(|source| PayloadError::Shape { forge, event: text::one_line(event), source })
}

/// A push as all four send it; what only some send is optional.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    head_commit: Option<Commit>,
    repository: Option<Repository>,
    sender: Option<User>,
    pusher: Option<User>,
    /// Gitea and Forgejo.
    compare_url: Option<String>,
    /// GitHub.
    compare: Option<String>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    message: Option<String>,
    author: Option<User>,
}

#[derive(Deserialize)]
struct User {
    login: Option<String>,
    name: Option<String>,
    email: Option<String>,
}

impl User {
    fn any_name(&self) -> Option<&str> {
        self.login.as_deref().or(self.name.as_deref()).filter(|name| !name.is_empty())
    }
}

#[derive(Deserialize)]
struct Repository {
    default_branch: Option<String>,
}

fn push(forge: Forge, push: Push) -> Result<Hook, PayloadError> {
    let ignored = |reason: String| Ok(Hook::Ignored { event: "push".to_owned(), reason });
    let name = push.git_ref.ok_or(PayloadError::Lacks { field: "ref" })?;
    if name.starts_with("refs/") && !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
        let shown: String = text::one_line(&name).chars().take(100).collect();
        return ignored(format!("`{shown}` is neither a branch nor a tag"));
    }
    let git_ref: RefName = name.parse()?;
    let after: CommitId = push.after.ok_or(PayloadError::Lacks { field: "after" })?.parse()?;
    if after.is_zero() {
        return ignored(format!("`{git_ref}` was deleted, so there is nothing to build"));
    }
    // A plain remote's hook script may leave `before` out or empty.
    let before = match push.before.filter(|before| !(forge == Forge::Git && before.is_empty())) {
        Some(before) => Some(before.parse::<CommitId>()?).filter(|before| !before.is_zero()),
        None => None,
    };
    let event = if git_ref.branch().is_some() { EventName::Push } else { EventName::Tag };
    // A branch's head commit is `after`; an annotated tag's is the commit behind it.
    let head = push.head_commit.filter(|head| event == EventName::Tag || head.id == after.as_str());
    let (message, author) = head.map(|head| (head.message, head.author)).unwrap_or_default();
    let (author, author_email) = author.map(|author| (author.name, author.email)).unwrap_or_default();
    let sender = push.sender.as_ref().and_then(User::any_name).or(push.pusher.as_ref().and_then(User::any_name));
    let is_page = |url: &String| {
        let web = url.starts_with("https://") || url.starts_with("http://");
        web && url.len() <= MAX_URL_LEN && !url.contains(|c: char| c.is_control() || c.is_whitespace())
    };
    Ok(Hook::Push(Box::new(PushHook {
        event,
        before,
        after,
        message: message.map(|text| text::many_lines(&text)),
        author: author.map(|text| text::one_line(&text)),
        author_email: author_email.map(|text| text::one_line(&text)),
        sender: sender.map(text::one_line).unwrap_or_default(),
        url: push.compare_url.or(push.compare).filter(is_page),
        default_branch: push
            .repository
            .and_then(|repository| repository.default_branch)
            .filter(|branch| format!("refs/heads/{branch}").parse::<RefName>().is_ok()),
        git_ref,
    })))
}
