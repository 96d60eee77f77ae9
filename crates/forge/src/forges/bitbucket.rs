//! Bitbucket Cloud. Its payloads are documented at
//! <https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/>. One delivery can report several refs. A pull
//! request's commit has twelve digits, and deliveries do not say what changed in it.

use longshore_core::{EventName, Person};
use serde::Deserialize;

use crate::{
    CommitId, Forge, ForgeRepository, PullRequestHook, RefName, fork,
    github_bodies::ignored,
    hook::{DeliveryContents, Head, Hook, PayloadError, PullRequestState, PushHook},
    read, text,
    webhooks::{Sends, Webhooks},
};

pub(crate) struct Bitbucket;

/// The most refs of one delivery. Bitbucket sends no more.
const MAX_CHANGES: usize = 100;

impl Webhooks for Bitbucket {
    fn signature_header(&self) -> &'static str {
        "x-hub-signature"
    }

    fn signature_prefix(&self) -> &'static str {
        "sha256="
    }

    fn delivery_headers(&self) -> &'static [&'static str] {
        &["x-request-uuid"]
    }

    fn tells_time(&self, event: &str) -> bool {
        event != "repo:push"
    }

    fn event_header(&self) -> Option<&'static str> {
        Some("x-event-key")
    }

    fn parse(&self, event: &str, body: &[u8]) -> Result<DeliveryContents, PayloadError> {
        let about: About = read::json(Forge::Bitbucket, event, body)?;
        let sender = about.actor.as_ref().map(Account::shown).unwrap_or_default();
        let default_branch =
            about.repository.as_ref().and_then(|repository| read::branch(repository.mainbranch.as_ref()?.name.clone()));
        let hooks = match event {
            "repo:push" => pushes(event, body, &sender, default_branch.as_ref())?,
            "pullrequest:created" | "pullrequest:updated" | "pullrequest:fulfilled" | "pullrequest:rejected" => {
                vec![pull_request(event, body, sender, default_branch)?]
            }
            "diagnostics:ping" => vec![Hook::Ping],
            _ => vec![ignored(
                event,
                "only `repo:push` and `pullrequest:created`, `updated`, `fulfilled` and `rejected` start builds",
            )],
        };
        Ok(DeliveryContents { repository: about.repository.and_then(Repository::identity), hooks })
    }

    fn sends(&self, kind: Sends) -> bool {
        match kind {
            Sends::PullRequests | Sends::Drafts => true,
            Sends::Labels | Sends::Reopened | Sends::Releases | Sends::MergeGroups => false,
        }
    }
}

#[derive(Deserialize)]
struct About {
    actor: Option<Account>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Account {
    uuid: Option<String>,
    nickname: Option<String>,
    display_name: Option<String>,
}

impl Account {
    fn shown(&self) -> String {
        let name = self.nickname.as_deref().or(self.display_name.as_deref());
        name.map(text::one_line).unwrap_or_default()
    }

    fn person(&self) -> Option<Person> {
        let person = Person { id: None, account: self.uuid.as_deref().map(text::one_line), name: self.shown() };
        person.key().is_some().then_some(person)
    }
}

#[derive(Deserialize)]
struct Repository {
    uuid: Option<String>,
    full_name: Option<String>,
    links: Option<Links>,
    mainbranch: Option<Branch>,
}

impl Repository {
    fn identity(self) -> Option<ForgeRepository> {
        let page = self.links.and_then(Links::page);
        let repository =
            ForgeRepository { id: self.uuid, full_name: self.full_name, addresses: page.into_iter().collect() };
        (!repository.is_unnamed()).then_some(repository)
    }
}

#[derive(Deserialize)]
struct Links {
    html: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: Option<String>,
}

impl Links {
    fn page(self) -> Option<String> {
        self.html?.href
    }
}

#[derive(Deserialize)]
struct Branch {
    name: Option<String>,
}

#[derive(Deserialize)]
struct PushEvent {
    push: Option<Push>,
}

#[derive(Deserialize)]
struct Push {
    #[serde(default)]
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    new: Option<Side>,
    old: Option<Side>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Side {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    hash: Option<String>,
}

impl Side {
    fn git_ref(&self) -> Result<Option<RefName>, PayloadError> {
        let name = self.name.as_deref().ok_or(PayloadError::Lacks { field: "push.changes.name" })?;
        Ok(match self.kind.as_deref() {
            Some("branch" | "named_branch") => Some(format!("refs/heads/{name}").parse()?),
            Some("tag" | "annotated_tag") => Some(format!("refs/tags/{name}").parse()?),
            Some(_) | None => None,
        })
    }

    fn commit(&self) -> Result<Option<CommitId>, PayloadError> {
        read::commit(self.target.as_ref().and_then(|target| target.hash.as_deref()))
    }
}

/// Reads a push of any number of branches and tags.
fn pushes(event: &str, body: &[u8], sender: &str, default_branch: Option<&String>) -> Result<Vec<Hook>, PayloadError> {
    let event_body: PushEvent = read::json(Forge::Bitbucket, event, body)?;
    let changes = event_body.push.ok_or(PayloadError::Lacks { field: "push" })?.changes;
    let mut hooks = Vec::new();
    for change in changes.into_iter().take(MAX_CHANGES) {
        let Change { new, old, links } = change;
        let before = old.as_ref().map(Side::commit).transpose()?.flatten();
        let Some(side) = new.as_ref().or(old.as_ref()) else { continue };
        let Some(git_ref) = side.git_ref()? else {
            hooks.push(ignored(event, "neither a branch nor a tag"));
            continue;
        };
        let Some(new) = new else {
            hooks.push(Hook::Deleted { git_ref, from: before });
            continue;
        };
        hooks.push(Hook::Push(Box::new(PushHook {
            event: if git_ref.branch().is_some() { EventName::Push } else { EventName::Tag },
            git_ref,
            before,
            after: new.commit()?.ok_or(PayloadError::Lacks { field: "push.changes.new.target.hash" })?,
            sender: sender.to_owned(),
            url: read::page(links.and_then(Links::page)),
            default_branch: default_branch.cloned(),
            skip: None,
        })));
    }
    Ok(hooks)
}

#[derive(Deserialize)]
struct PullRequestEvent {
    pullrequest: Option<PullRequest>,
}

#[derive(Deserialize)]
struct PullRequest {
    id: Option<u64>,
    title: Option<String>,
    author: Option<Account>,
    draft: Option<bool>,
    #[serde(default, deserialize_with = "read::lenient")]
    state: Option<String>,
    source: Option<MergeSide>,
    destination: Option<MergeSide>,
    updated_on: Option<String>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct MergeSide {
    branch: Option<Branch>,
    commit: Option<Target>,
    /// `None` for a deleted fork.
    repository: Option<Repository>,
}

fn pull_request(
    event: &str,
    body: &[u8],
    sender: String,
    default_branch: Option<String>,
) -> Result<Hook, PayloadError> {
    let event_body: PullRequestEvent = read::json(Forge::Bitbucket, event, body)?;
    let lacks = |field| PayloadError::Lacks { field };
    let request = event_body.pullrequest.ok_or(lacks("pullrequest"))?;
    let (source, target) = (
        request.source.ok_or(lacks("pullrequest.source"))?,
        request.destination.ok_or(lacks("pullrequest.destination"))?,
    );
    let branch = |side: &MergeSide, field| -> Result<RefName, PayloadError> {
        let name = side.branch.as_ref().and_then(|branch| branch.name.as_deref()).ok_or(lacks(field))?;
        Ok(format!("refs/heads/{name}").parse()?)
    };
    let (source_branch, target_branch) =
        (branch(&source, "pullrequest.source.branch")?, branch(&target, "pullrequest.destination.branch")?);
    let id = |side: &MergeSide| side.repository.as_ref().and_then(|repository| repository.uuid.clone());
    let fork = id(&source).is_none() || id(&source) != id(&target);
    let names = |side: &MergeSide| side.repository.as_ref()?.full_name.clone();
    let from = if fork { fork::of_names(names(&source), names(&target)) } else { None };
    let hash = source.commit.and_then(|commit| commit.hash).ok_or(lacks("pullrequest.source.commit.hash"))?;
    let head = match hash.parse::<CommitId>() {
        Ok(commit) => Head::Commit(commit),
        Err(error) => {
            let is_short =
                (7..40).contains(&hash.len()) && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !is_short {
                return Err(error.into());
            }
            Head::Short(hash)
        }
    };
    let (action, merged) = match event {
        "pullrequest:created" => ("opened", false),
        "pullrequest:fulfilled" => (longshore_core::event::PullRequest::CLOSED, true),
        "pullrequest:rejected" => (longshore_core::event::PullRequest::CLOSED, false),
        _ => (PullRequestHook::UPDATED, false),
    };
    Ok(Hook::PullRequest(Box::new(PullRequestHook {
        number: request.id.ok_or(lacks("pullrequest.id"))?,
        action: action.to_owned(),
        title: request.title.as_deref().map(text::one_line).unwrap_or_default(),
        head,
        served_at: source_branch.as_str().to_owned(),
        source: source_branch,
        target: target_branch,
        fork,
        from,
        former: None,
        author: request.author.as_ref().and_then(Account::person),
        retargeted: false,
        is_closed: action == longshore_core::event::PullRequest::CLOSED
            || matches!(request.state.as_deref(), Some("MERGED" | "DECLINED" | "SUPERSEDED")),
        merged,
        state: PullRequestState { labels: None, draft: request.draft, ..PullRequestState::default() },
        changed_at: request.updated_on.as_deref().map(text::one_line).unwrap_or_default(),
        sender,
        url: read::page(request.links.and_then(Links::page)),
        default_branch,
    })))
}
