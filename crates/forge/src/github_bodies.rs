//! The bodies that GitHub introduced, and that Gitea, Forgejo and Gogs took over with changes of their own. Fields that
//! only some send are optional; each forge's file says what it makes of them.

use longshore_core::{EventName, Person};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    CommitId, Forge, ForgeRepository, RefName, fork,
    hook::{DeliveryContents, Head, Hook, PayloadError, PullRequestHook, PullRequestState, PushHook, ReleaseHook},
    read, text,
};

#[derive(Debug, Deserialize)]
pub(crate) struct User {
    #[serde(default, deserialize_with = "read::lenient")]
    id: Option<i64>,
    login: Option<String>,
    name: Option<String>,
}

impl User {
    fn person(&self) -> Option<Person> {
        read::person(self.id, self.any_name())
    }

    fn any_name(&self) -> Option<&str> {
        self.login.as_deref().or(self.name.as_deref()).filter(|name| !name.is_empty())
    }
}

fn name_of(user: Option<&User>) -> String {
    user.and_then(User::any_name).map(text::one_line).unwrap_or_default()
}

#[derive(Debug, Deserialize)]
pub(crate) struct Repository {
    default_branch: Option<String>,
    #[serde(default, deserialize_with = "read::lenient")]
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

/// The part of a body that names the repository.
#[derive(Deserialize)]
struct About {
    repository: Option<Repository>,
}

/// Adds the repository that a body names to what it says. The body is known to be JSON, or not to matter.
pub(crate) fn about(body: &[u8], hook: Hook) -> DeliveryContents {
    let about = serde_json::from_slice::<About>(body).ok().and_then(|about| about.repository);
    DeliveryContents { repository: about.and_then(Repository::identity), hooks: vec![hook] }
}

/// Returns the hook for an event that starts no build.
pub(crate) fn ignored(event: &str, reason: impl Into<String>) -> Hook {
    Hook::Ignored { event: text::one_line(event), reason: reason.into() }
}

/// Reads a `ping`.
pub(crate) fn ping(forge: Forge, body: &[u8]) -> Result<Hook, PayloadError> {
    let _: serde::de::IgnoredAny = read::json(forge, "ping", body)?;
    Ok(Hook::Ping)
}

/// A push.
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
    #[serde(default)]
    push_options: Value,
}

/// Reads a push.
pub(crate) fn push(forge: Forge, body: &[u8]) -> Result<Hook, PayloadError> {
    let push: Push = read::json(forge, "push", body)?;
    let name = push.git_ref.ok_or(PayloadError::Lacks { field: "ref" })?;
    if name.starts_with("refs/") && !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
        let shown: String = text::one_line(&name).chars().take(100).collect();
        return Ok(ignored("push", format!("`{shown}` is neither a branch nor a tag")));
    }
    let git_ref: RefName = name.parse()?;
    let after: CommitId = push.after.ok_or(PayloadError::Lacks { field: "after" })?.parse()?;
    // A plain remote's hook script may leave `before` out or empty.
    let before = read::commit(push.before.as_deref())?;
    if after.is_zero() {
        return Ok(Hook::Deleted { git_ref, from: before });
    }
    let event = if git_ref.branch().is_some() { EventName::Push } else { EventName::Tag };
    let sender = push.sender.as_ref().filter(|sender| sender.any_name().is_some()).or(push.pusher.as_ref());
    Ok(Hook::Push(Box::new(PushHook {
        event,
        before,
        after,
        sender: name_of(sender),
        url: read::page(push.compare_url.or(push.compare)),
        default_branch: push.repository.and_then(|repository| read::branch(repository.default_branch)),
        skip: read::skip_option(&push.push_options),
        git_ref,
    })))
}

/// A new branch or tag.
#[derive(Deserialize)]
struct Create {
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    ref_type: Option<String>,
    sha: Option<String>,
    repository: Option<Repository>,
    sender: Option<User>,
}

/// Reads a `create` as the push of a new branch: if a branch is renamed on the forge's page, no other event announces it.
/// Where a push announces it too, the two count as one.
pub(crate) fn create(forge: Forge, body: &[u8]) -> Result<Hook, PayloadError> {
    let Create { git_ref, ref_type, sha, repository, sender } = read::json(forge, "create", body)?;
    let (Some(name), Some("branch"), Some(sha)) = (git_ref, ref_type.as_deref(), sha) else {
        return Ok(ignored("create", "new tags also arrive as `push`, which starts the build"));
    };
    let name = if name.starts_with("refs/heads/") { name } else { format!("refs/heads/{name}") };
    Ok(Hook::Push(Box::new(PushHook {
        event: EventName::Push,
        git_ref: name.parse()?,
        before: None,
        after: sha.parse()?,
        sender: name_of(sender.as_ref()),
        url: None,
        default_branch: repository.and_then(|repository| read::branch(repository.default_branch)),
        skip: None,
    })))
}

/// A pull request's event.
#[derive(Deserialize)]
struct PullRequestEvent {
    action: Option<String>,
    number: Option<u64>,
    pull_request: Option<PullRequest>,
    repository: Option<Repository>,
    sender: Option<User>,
    #[serde(default)]
    changes: Value,
}

#[derive(Deserialize)]
struct PullRequest {
    title: Option<String>,
    html_url: Option<String>,
    user: Option<User>,
    #[serde(default, deserialize_with = "read::lenient")]
    state: Option<String>,
    merged: Option<bool>,
    draft: Option<bool>,
    #[serde(default, deserialize_with = "read::lenient")]
    labels: Option<Vec<Label>>,
    updated_at: Option<Value>,
    head: Option<MergeSide>,
    base: Option<MergeSide>,
    /// Sent by Gogs instead of the two sides.
    head_branch: Option<String>,
    head_repo: Option<SideRepository>,
    base_branch: Option<String>,
    base_repo: Option<SideRepository>,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

/// The source or the target of a merge.
#[derive(Deserialize)]
struct MergeSide {
    #[serde(rename = "ref")]
    branch: Option<String>,
    label: Option<String>,
    sha: Option<String>,
    /// `None` for a deleted fork.
    repo: Option<SideRepository>,
}

#[derive(Deserialize)]
struct SideRepository {
    id: u64,
    #[serde(default, deserialize_with = "read::lenient")]
    full_name: Option<String>,
}

/// Reads an event of a pull request. `words` translates the forge's actions to Longshore's; what it leaves is written
/// with dashes. Titles that begin with one of `draft_titles` are those of drafts.
pub(crate) fn pull_request(
    forge: Forge,
    body: &[u8],
    words: &[(&str, &str)],
    draft_titles: &[&str],
) -> Result<Hook, PayloadError> {
    let event: PullRequestEvent = read::json(forge, "pull_request", body)?;
    let lacks = |field| PayloadError::Lacks { field };
    let request = event.pull_request.ok_or(lacks("pull_request"))?;
    let number = event.number.ok_or(lacks("number"))?;
    let action = event.action.ok_or(lacks("action"))?;
    let side =
        |branch: Option<String>, repo: Option<SideRepository>| MergeSide { branch, label: None, sha: None, repo };
    let is_gogs = request.head.is_none() && request.head_branch.is_some();
    let (head, base) = match is_gogs {
        true => (side(request.head_branch, request.head_repo), side(request.base_branch, request.base_repo)),
        false => (request.head.ok_or(lacks("pull_request.head"))?, request.base.ok_or(lacks("pull_request.base"))?),
    };
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
    let names = |side: &MergeSide| side.repo.as_ref()?.full_name.clone();
    let from = (!of_this_repository).then(|| fork::of_names(names(&head), names(&base))).flatten();
    // Once a branch is deleted, Gitea and Forgejo name the pull request's ref in its place.
    let former =
        head.label.as_deref().filter(|_| of_this_repository).map(|label| format!("refs/heads/{label}").parse());
    let on_a_branch = head.branch.as_deref().is_some_and(|name| !name.starts_with("refs/"));
    let title = request.title.as_deref().map(text::one_line).unwrap_or_default();
    let draft = match (request.draft, draft_titles.is_empty()) {
        (Some(draft), _) => Some(draft),
        (None, false) => Some(begins_with_any(&title, draft_titles)),
        (None, true) => None,
    };
    let former_title = event.changes["title"]["from"].as_str();
    let action_word = match (action_word(&action, words), former_title) {
        (edited, Some(former)) if edited == "edited" => edited_title(former, &title, draft_titles).to_owned(),
        (word, _) => word,
    };
    let head = match head.sha {
        Some(sha) => Head::Commit(sha.parse()?),
        None if is_gogs => Head::Newest,
        None => return Err(lacks("pull_request.head.sha")),
    };
    // Gitea and Forgejo list what was there before.
    let given = request.labels.map(|labels| if action == "label_cleared" { Vec::new() } else { labels });
    let labels = given.map(|labels| labels.iter().map(|label| text::one_line(&label.name)).collect());
    Ok(Hook::PullRequest(Box::new(PullRequestHook {
        number,
        action: action_word,
        title,
        head,
        served_at: format!("refs/pull/{number}/head"),
        source,
        target,
        fork: !(of_this_repository && on_a_branch),
        from,
        former: former.filter(|_| !on_a_branch).and_then(Result::ok),
        author: request.user.as_ref().and_then(User::person),
        // GitHub's word, and that of Gitea and Forgejo.
        retargeted: !event.changes["base"].is_null() || !event.changes["ref"].is_null(),
        is_closed: action == longshore_core::event::PullRequest::CLOSED || request.state.as_deref() == Some("closed"),
        merged: request.merged.unwrap_or(false),
        state: PullRequestState { labels, draft, ..PullRequestState::default() },
        changed_at: request.updated_at.map(|at| text::one_line(&at.to_string())).unwrap_or_default(),
        sender: name_of(event.sender.as_ref()),
        url: read::page(request.html_url),
        default_branch: event.repository.and_then(|repository| read::branch(repository.default_branch)),
    })))
}

fn begins_with_any(title: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| title.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
}

/// Returns Longshore's word for a forge's action.
fn action_word(action: &str, words: &[(&str, &str)]) -> String {
    words
        .iter()
        .find(|(theirs, _)| *theirs == action)
        .map_or_else(|| text::one_line(action).replace('_', "-"), |(_, ours)| (*ours).to_owned())
}

/// Returns the action that a change of a title means: some forges tell drafts by their titles.
fn edited_title(former: &str, title: &str, draft_titles: &[&str]) -> &'static str {
    match (begins_with_any(former, draft_titles), begins_with_any(title, draft_titles)) {
        (true, false) => "ready-for-review",
        (false, true) => "converted-to-draft",
        (true, true) | (false, false) => "edited",
    }
}

/// A release's event.
#[derive(Deserialize)]
struct ReleaseEvent {
    action: Option<String>,
    release: Option<Release>,
    repository: Option<Repository>,
    sender: Option<User>,
}

#[derive(Deserialize)]
struct Release {
    tag_name: Option<String>,
    name: Option<String>,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    prerelease: bool,
    html_url: Option<String>,
    updated_at: Option<String>,
    published_at: Option<String>,
}

/// Reads an event of a release. A draft has no tag yet, and is ignored.
pub(crate) fn release(forge: Forge, body: &[u8], words: &[(&str, &str)]) -> Result<Hook, PayloadError> {
    let event: ReleaseEvent = read::json(forge, "release", body)?;
    let release = event.release.ok_or(PayloadError::Lacks { field: "release" })?;
    let action = event.action.ok_or(PayloadError::Lacks { field: "action" })?;
    if release.draft {
        return Ok(ignored("release", "a draft release has no tag yet: nothing to build"));
    }
    let tag = release.tag_name.ok_or(PayloadError::Lacks { field: "release.tag_name" })?;
    let word = words.iter().find(|(theirs, _)| *theirs == action).map_or(action.as_str(), |(_, ours)| ours);
    Ok(Hook::Release(Box::new(ReleaseHook {
        action: text::one_line(word).replace('_', "-"),
        tag: format!("refs/tags/{tag}").parse()?,
        name: release.name.as_deref().map(text::one_line).unwrap_or_default(),
        prerelease: release.prerelease,
        changed_at: release.updated_at.or(release.published_at).as_deref().map(text::one_line).unwrap_or_default(),
        sender: name_of(event.sender.as_ref()),
        url: read::page(release.html_url),
        default_branch: event.repository.and_then(|repository| read::branch(repository.default_branch)),
    })))
}

/// A merge queue's event.
#[derive(Deserialize)]
struct MergeGroupEvent {
    action: Option<String>,
    merge_group: Option<MergeGroup>,
    repository: Option<Repository>,
    sender: Option<User>,
}

#[derive(Deserialize)]
struct MergeGroup {
    head_sha: Option<String>,
    head_ref: Option<String>,
    base_sha: Option<String>,
}

/// Reads an event of a merge queue: the branch that holds what the queue is about to merge is like a push of it.
pub(crate) fn merge_group(forge: Forge, body: &[u8]) -> Result<Hook, PayloadError> {
    let event: MergeGroupEvent = read::json(forge, "merge_group", body)?;
    if event.action.as_deref() != Some("checks_requested") {
        return Ok(ignored("merge_group", "only `checks_requested` starts a build"));
    }
    let group = event.merge_group.ok_or(PayloadError::Lacks { field: "merge_group" })?;
    let name = group.head_ref.ok_or(PayloadError::Lacks { field: "merge_group.head_ref" })?;
    let name = if name.starts_with("refs/") { name } else { format!("refs/heads/{name}") };
    Ok(Hook::Push(Box::new(PushHook {
        event: EventName::MergeGroup,
        git_ref: name.parse()?,
        before: read::commit(group.base_sha.as_deref())?,
        after: group.head_sha.ok_or(PayloadError::Lacks { field: "merge_group.head_sha" })?.parse()?,
        sender: name_of(event.sender.as_ref()),
        url: None,
        default_branch: event.repository.and_then(|repository| read::branch(repository.default_branch)),
        skip: None,
    })))
}
