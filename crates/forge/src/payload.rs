//! Parses deliveries. The ingest loop calls this after the signature was checked. It must not fetch, plan or run.

use http::HeaderMap;
use longshore_core::{EventName, Person};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{CommitId, Forge, ForgeRepository, InvalidRevision, RefName, text};

/// The longest address of a page that is kept.
const MAX_URL_LEN: usize = 2048;

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The repository that it is about; `None` if it does not say.
    pub repository: Option<ForgeRepository>,
    /// What happened there, in order. Most forges send one event in a delivery.
    pub hooks: Vec<Hook>,
}

/// One event of a delivery, as far as it matters to Longshore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A branch or tag was created or moved.
    Push(Box<PushHook>),
    /// Something happened to a pull request.
    PullRequest(Box<PullRequestHook>),
    /// A branch or tag was deleted; `from` is where it was.
    Deleted { git_ref: RefName, from: Option<CommitId> },
    /// The forge tests the connection.
    Ping,
    /// Understood, but no reason for a build; `reason` is for people.
    Ignored { event: String, reason: String },
}

/// A branch or tag that was created or moved. Texts are outsiders', with control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushHook {
    /// `Push` for a branch, `Tag` for a tag.
    pub event: EventName,
    pub git_ref: RefName,
    /// `None` for a new ref.
    pub before: Option<CommitId>,
    /// The ref's new target; for an annotated tag the tag's own object, not the commit.
    pub after: CommitId,
    /// The forge's name of the person who pushed; empty if unknown.
    pub sender: String,
    /// A page that shows the change.
    pub url: Option<String>,
    pub default_branch: Option<String>,
}

/// An event of a pull request. Texts are outsiders', with control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequestHook {
    pub number: u64,
    /// In Longshore's words: `opened`, `synchronize`, `reopened`, `closed`, `labeled`, ...
    pub action: String,
    pub title: String,
    /// The newest commit to merge.
    pub head: CommitId,
    /// The branch to merge, and the branch to merge it into. The first may be another repository's.
    pub source: RefName,
    pub target: RefName,
    /// Whether it comes from another repository, or from one that no longer exists.
    pub fork: bool,
    /// The author of the pull request; `None` if the forge no longer knows them.
    pub author: Option<Person>,
    /// For a closed pull request: whether it was merged.
    pub merged: bool,
    /// The forge's name of the person who acted; empty if unknown.
    pub sender: String,
    /// The pull request's page.
    pub url: Option<String>,
    pub default_branch: Option<String>,
}

/// Why a delivery cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("the header `{header}`, which names the event, is missing")]
    NoEvent { header: &'static str },
    #[error("the request body is a form: set the webhook's content type to application/json")]
    Form,
    #[error("the request body is not a valid `{event}` event of {forge}: {source}")]
    Shape { forge: Forge, event: String, source: serde_json::Error },
    #[error("the request body has no `{field}`")]
    Lacks { field: &'static str },
    #[error(transparent)]
    Revision(#[from] InvalidRevision),
}

/// Parses a delivery of a repository that is registered as `forge`.
///
/// # Errors
/// If the body is not JSON, does not have the event's shape, or names impossible refs or commits.
pub fn parse(forge: Forge, headers: &HeaderMap, body: &[u8]) -> Result<Told, PayloadError> {
    let event = match forge.event_header() {
        None => "push",
        Some(header) => {
            headers.get(header).and_then(|value| value.to_str().ok()).ok_or(PayloadError::NoEvent { header })?
        }
    };
    parse_event(forge, event, body)
}

/// Like [`parse`], with the event's name given.
///
/// # Errors
/// As [`parse`].
pub fn parse_event(forge: Forge, event: &str, body: &[u8]) -> Result<Told, PayloadError> {
    if body.starts_with(b"payload=") {
        return Err(PayloadError::Form);
    }
    let ignored = |reason: &str| Hook::Ignored { event: text::one_line(event), reason: reason.to_owned() };
    let hook = match event {
        "push" => push(forge, read(forge, event, body)?)?,
        "ping" => {
            let _: serde::de::IgnoredAny = read(forge, event, body)?;
            Hook::Ping
        }
        "create" => ignored("new branches and tags also arrive as `push`, which starts the build"),
        "delete" => ignored("a branch or tag was deleted: nothing to build"),
        "pull_request" if forge == Forge::Git => ignored("a plain git remote has no pull requests"),
        "pull_request" => pull_request(read(forge, event, body)?)?,
        "release" => ignored("releases are not supported yet; the release's tag arrives as `push`"),
        _ => ignored("only `push` and `pull_request` events start builds"),
    };
    // The body is JSON: the event's own shape was read from it, or nothing of it matters.
    let about = serde_json::from_slice::<About>(body).ok().and_then(|about| about.repository);
    Ok(Told { repository: about.and_then(Repository::identity), hooks: vec![hook] })
}

/// The part of a body that names the repository.
#[derive(Deserialize)]
struct About {
    repository: Option<Repository>,
}

fn read<T: DeserializeOwned>(forge: Forge, event: &str, body: &[u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(body).map_err(|source| PayloadError::Shape { forge, event: text::one_line(event), source })
}

/// A push as all four forges send it; fields that only some send are optional.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    repository: Option<Repository>,
    sender: Option<User>,
    pusher: Option<User>,
    /// Sent by Gitea and Forgejo.
    compare_url: Option<String>,
    /// Sent by GitHub.
    compare: Option<String>,
}

#[derive(Deserialize)]
struct User {
    /// Not above 0 for placeholder accounts: ghosts, the forge's own robots.
    #[serde(default, deserialize_with = "number_or_nothing")]
    id: Option<i64>,
    login: Option<String>,
    name: Option<String>,
}

/// Reads a number. Another type does not make the delivery unreadable.
fn number_or_nothing<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Ok(serde_json::Value::deserialize(from)?.as_i64())
}

impl User {
    /// Returns the person, by the forge's number and name.
    fn person(&self) -> Option<Person> {
        if self.id.is_some_and(|id| id <= 0) {
            return None;
        }
        let name = self.any_name().map(text::one_line).unwrap_or_default();
        let person = Person { id: self.id.and_then(|id| u64::try_from(id).ok()), name };
        person.key().is_some().then_some(person)
    }

    fn any_name(&self) -> Option<&str> {
        self.login.as_deref().or(self.name.as_deref()).filter(|name| !name.is_empty())
    }
}

#[derive(Deserialize)]
struct Repository {
    default_branch: Option<String>,
    #[serde(default, deserialize_with = "number_or_nothing")]
    id: Option<i64>,
    full_name: Option<String>,
    clone_url: Option<String>,
    ssh_url: Option<String>,
    html_url: Option<String>,
}

impl Repository {
    /// Returns what says which repository it is; `None` if nothing does.
    fn identity(self) -> Option<ForgeRepository> {
        let id = self.id.filter(|id| *id > 0).map(|id| id.to_string());
        let addresses = [self.clone_url, self.ssh_url, self.html_url].into_iter().flatten().collect();
        let repository = ForgeRepository { id, full_name: self.full_name, addresses };
        (!repository.is_unnamed()).then_some(repository)
    }
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
    // A plain remote's hook script may leave `before` out or empty.
    let before = match push.before.filter(|before| !(forge == Forge::Git && before.is_empty())) {
        Some(before) => Some(before.parse::<CommitId>()?).filter(|before| !before.is_zero()),
        None => None,
    };
    if after.is_zero() {
        return Ok(Hook::Deleted { git_ref, from: before });
    }
    let event = if git_ref.branch().is_some() { EventName::Push } else { EventName::Tag };
    let sender = push.sender.as_ref().and_then(User::any_name).or(push.pusher.as_ref().and_then(User::any_name));
    Ok(Hook::Push(Box::new(PushHook {
        event,
        before,
        after,
        sender: sender.map(text::one_line).unwrap_or_default(),
        url: push.compare_url.or(push.compare).filter(|url| is_page(url)),
        default_branch: default_branch(push.repository),
        git_ref,
    })))
}

fn is_page(url: &str) -> bool {
    let web = url.starts_with("https://") || url.starts_with("http://");
    web && url.len() <= MAX_URL_LEN && !url.contains(|c: char| c.is_control() || c.is_whitespace())
}

fn default_branch(repository: Option<Repository>) -> Option<String> {
    let branch = repository?.default_branch?;
    format!("refs/heads/{branch}").parse::<RefName>().is_ok().then_some(branch)
}

/// A pull request's event as GitHub, Gitea and Forgejo send it.
#[derive(Deserialize)]
struct PullRequestEvent {
    action: Option<String>,
    number: Option<u64>,
    pull_request: Option<PullRequest>,
    repository: Option<Repository>,
    sender: Option<User>,
}

#[derive(Deserialize)]
struct PullRequest {
    title: Option<String>,
    html_url: Option<String>,
    user: Option<User>,
    merged: Option<bool>,
    head: Option<MergeSide>,
    base: Option<MergeSide>,
}

/// The source or the target of a merge.
#[derive(Deserialize)]
struct MergeSide {
    #[serde(rename = "ref")]
    branch: Option<String>,
    sha: Option<String>,
    /// `None` for a deleted fork.
    repo: Option<SideRepository>,
}

#[derive(Deserialize)]
struct SideRepository {
    id: u64,
}

fn pull_request(event: PullRequestEvent) -> Result<Hook, PayloadError> {
    let lacks = |field| PayloadError::Lacks { field };
    let PullRequest { title, html_url, user, merged, head, base } = event.pull_request.ok_or(lacks("pull_request"))?;
    let (head, base) = (head.ok_or(lacks("pull_request.head"))?, base.ok_or(lacks("pull_request.base"))?);
    let branch = |side: &MergeSide, field| -> Result<RefName, PayloadError> {
        Ok(format!("refs/heads/{}", side.branch.as_deref().ok_or(lacks(field))?).parse()?)
    };
    let (source, target) = (branch(&head, "pull_request.head.ref")?, branch(&base, "pull_request.base.ref")?);
    // If it is not certainly from this repository, it is a stranger's. That includes pushes to `refs/for/…` at Gitea or
    // Forgejo (AGit), for which read access is enough: such a pull request claims to be from the repository itself, but
    // is on none of its branches.
    let of_this_repository = match (&head.repo, &base.repo) {
        (Some(head), Some(base)) => head.id == base.id,
        (Some(_) | None, Some(_) | None) => false,
    };
    let on_a_branch = head.branch.as_deref().is_some_and(|name| !name.starts_with("refs/"));
    Ok(Hook::PullRequest(Box::new(PullRequestHook {
        number: event.number.ok_or(lacks("number"))?,
        action: normalize_action(&event.action.ok_or(lacks("action"))?),
        title: title.map(|text| text::one_line(&text)).unwrap_or_default(),
        head: head.sha.ok_or(lacks("pull_request.head.sha"))?.parse()?,
        source,
        target,
        fork: !(of_this_repository && on_a_branch),
        author: user.as_ref().and_then(User::person),
        merged: merged.unwrap_or(false),
        sender: event.sender.as_ref().and_then(User::any_name).map(text::one_line).unwrap_or_default(),
        url: html_url.filter(|url| is_page(url)),
        default_branch: default_branch(event.repository),
    })))
}

/// Translates to GitHub's words, with dashes; Gitea and Forgejo use other words for some actions.
fn normalize_action(action: &str) -> String {
    match action {
        "synchronized" => "synchronize".to_owned(),
        "label_updated" => "labeled".to_owned(),
        "label_cleared" => "unlabeled".to_owned(),
        other => text::one_line(other).replace('_', "-"),
    }
}
