//! Events that may ask for a build, as deliveries announce them.

use std::time::Duration;

use longshore_core::{
    EventName,
    event::{PullRequest, Release},
};
use longshore_forge::{
    CommitId, Hook, PullRequestHook, PullRequestState, PushHook, RefName, ReleaseHook, pull_request_key, push_key,
    release_key,
};
use longshore_git::FetchTarget;
use longshore_store::{
    Store, StoreError,
    announcements::{self, Announcement, OnRemote},
    deliveries::PendingDelivery,
    repos::Repo,
};

use super::{Closed, JudgedEvent, OVERTAKEN, Verdict, failed, ignored};
use crate::prepare::{Origin, Planner};

/// A forge's time that is further ahead of our clock is ignored.
const MAX_CLOCK_LEAD: Duration = Duration::from_hours(24);

/// How the place of a closed pull request is written down, between its commit and its target.
const CLOSED: &str = "closed";

/// An event that may ask for a build.
pub(super) struct AnnouncedEvent {
    /// What it is about, for people.
    pub(super) subject: String,
    pub(super) origin: Origin,
    pub(super) announcement: Announcement,
    /// The commit that its ref has according to the delivery.
    pub(super) commit: Option<CommitId>,
    /// The ref under which the remote has that commit.
    pub(super) served_at: String,
    pub(super) closed: Option<Closed>,
    /// What is to be remembered of a pull request.
    state: Option<PullRequestState>,
    /// What people have to know about its build.
    pub(super) note: Option<String>,
}

impl AnnouncedEvent {
    /// Returns the event with a verdict, and with what the remote says about what it announces.
    pub(super) fn judged(self, verdict: Verdict, on_remote: OnRemote) -> JudgedEvent {
        let state = self.state.and_then(|state| serde_json::to_string(&state).ok());
        let announced = Some((Announcement { state, ..self.announcement }, on_remote));
        JudgedEvent { subject: self.subject, closed: self.closed, note: self.note, announced, ..verdict.into() }
    }

    /// If this is the closing of a pull request, makes it one of the target branch's newest commit, because its own is
    /// gone: a branch may be deleted with its pull request. Returns whether that changes anything.
    pub(super) fn lose_head(&mut self) -> bool {
        let Some(request) = self.origin.pull_request.as_mut().filter(|request| request.gone.is_none()) else {
            return false;
        };
        let target = &request.target_branch;
        let (Some(closed), Ok(branch)) = (&self.closed, format!("refs/heads/{target}").parse()) else { return false };
        self.origin.fetch_target = FetchTarget::Ref(branch);
        self.note = Some(format!(
            "built the newest commit of `{target}`, because the pull request's own is gone with its branch"
        ));
        request.gone = Some(closed.head.clone());
        // Nobody has found it on a branch of the repository.
        if let Some(state) = &mut self.state {
            state.own = None;
        }
        true
    }
}

/// The meaning of a hook.
pub(super) enum Meaning {
    MayBuild(Box<AnnouncedEvent>),
    /// Nothing more has to be found out.
    Settled(Box<JudgedEvent>),
}

impl From<Verdict> for Meaning {
    fn from(verdict: Verdict) -> Self {
        Self::Settled(Box::new(verdict.into()))
    }
}

/// Reads a hook. For a pull request this needs its newest commit, which git is asked for.
pub(super) async fn read(
    store: &Store,
    planner: &Planner,
    repo: &Repo,
    delivery: &PendingDelivery,
    hook: Hook,
) -> Result<Meaning, StoreError> {
    let mut meaning = match hook {
        Hook::Push(push) => of_push(repo, delivery, *push),
        Hook::PullRequest(request) => of_pull_request(store, planner, repo, delivery, *request).await?,
        Hook::Release(release) => of_release(repo, delivery, *release),
        Hook::Deleted { git_ref, from } => of_deletion(git_ref, from),
        Hook::Ping => ignored("ping: the webhook works").into(),
        Hook::Ignored { event, reason } => ignored(format!("`{event}`: {reason}")).into(),
    };
    if let Meaning::MayBuild(event) = &mut meaning {
        event.origin.found = delivery.found;
    }
    Ok(meaning)
}

fn of_push(repo: &Repo, delivery: &PendingDelivery, push: PushHook) -> Meaning {
    let before = push.before.as_ref().map(|before| before.as_str().to_owned());
    let (git_ref, at) = (push.git_ref.as_str().to_owned(), push.after.as_str().to_owned());
    Meaning::MayBuild(Box::new(AnnouncedEvent {
        subject: format!("`{}`", short(&push.git_ref)),
        announcement: Announcement { before, ..announcement(repo, delivery, push_key(&push), git_ref.clone(), at) },
        commit: Some(push.after.clone()),
        served_at: git_ref,
        origin: push_origin(push),
        closed: None,
        state: None,
        note: None,
    }))
}

async fn of_pull_request(
    store: &Store,
    planner: &Planner,
    repo: &Repo,
    delivery: &PendingDelivery,
    mut request: PullRequestHook,
) -> Result<Meaning, StoreError> {
    let is_closed = request.action == PullRequest::CLOSED;
    let subject = format!("pull request #{}", request.number);
    let git_ref = request_ref(&request);
    let last = announcements::last(store, repo.id, &git_ref).await?;
    let last_head = last.as_ref().and_then(|last| last.at.split(' ').next());
    let before: Option<PullRequestState> =
        last.as_ref().and_then(|last| serde_json::from_str(last.state.as_deref()?).ok());
    let last_changed_at = before.as_ref().and_then(|before| before.changed_at);
    let changed_at = request.changed_at().filter(|at| *at <= delivery.received_at + MAX_CLOCK_LEAD);
    let is_older = changed_at.is_some_and(|at| last_changed_at.is_some_and(|last| at < last));
    // It may have been opened again since.
    let stays = !is_older || last.as_ref().is_some_and(|last| last.at.split(' ').nth(1) == Some(CLOSED));
    let (told, head) = match planner.head_of(repo, &request).await {
        Ok(head) => (head.to_string(), Some(head)),
        // Its branch may have been deleted with it.
        Err(error) if is_closed && !error.may_mend() => {
            let known = last_head.filter(|last| last.starts_with(request.head.told()));
            (known.unwrap_or(request.head.told()).to_owned(), known.and_then(|last| last.parse().ok()))
        }
        Err(error) => {
            let verdict = match error.may_mend() {
                true => Verdict::Again(error.to_string()),
                false if is_older && !delivery.by_hand => ignored(OVERTAKEN),
                false if request.fork => {
                    ignored("the forge does not serve the commits of forks, so their pull requests cannot be built")
                }
                false => failed(error.to_string()),
            };
            let closed = Closed::from_hook(&request, "", stays);
            return Ok(Meaning::Settled(Box::new(JudgedEvent { closed, subject, ..verdict.into() })));
        }
    };
    request.tell_apart(before.as_ref(), last_head, &told);
    let is_own_again =
        last_head == Some(told.as_str()) && before.as_ref().is_some_and(|before| before.own == Some(true));
    if let Some(former) = request.former.take().filter(|_| is_own_again) {
        (request.source, request.fork) = (former, false);
    }
    request.state.own = Some(!request.fork);
    request.state.target = Some(request.target.as_str().to_owned());
    request.state.changed_at = changed_at;
    // A pull request that goes into another branch and comes back from there has changed.
    let at = format!("{told} {} {}", if request.is_closed { CLOSED } else { "open" }, request.target);
    let mut event = AnnouncedEvent {
        subject,
        announcement: Announcement {
            is_older,
            ..announcement(repo, delivery, pull_request_key(&request, &told), git_ref, at)
        },
        closed: Closed::from_hook(&request, &told, stays),
        state: Some(request.state.clone()),
        served_at: request.served_at.clone(),
        origin: pull_request_origin(request, head.as_ref(), is_own_again),
        commit: head,
        note: None,
    };
    if event.commit.is_none() {
        event.lose_head();
    }
    Ok(Meaning::MayBuild(Box::new(event)))
}

fn of_release(repo: &Repo, delivery: &PendingDelivery, release: ReleaseHook) -> Meaning {
    let at = format!("{} {}", release.action, release.changed_at);
    let git_ref = format!("release {}", release.tag);
    let served_at = release.tag.as_str().to_owned();
    Meaning::MayBuild(Box::new(AnnouncedEvent {
        subject: format!("release `{}`", short(&release.tag)),
        announcement: announcement(repo, delivery, release_key(&release), git_ref, at),
        origin: release_origin(release),
        commit: None,
        served_at,
        closed: None,
        state: None,
        note: None,
    }))
}

fn of_deletion(git_ref: RefName, from: Option<CommitId>) -> Meaning {
    let verdict = ignored(format!("`{git_ref}` was deleted: nothing to build"));
    let subject = format!("`{}`", short(&git_ref));
    Meaning::Settled(Box::new(JudgedEvent { deleted: Some((git_ref, from)), subject, ..verdict.into() }))
}

/// Returns what an event announces: `at` is where the delivery says that the ref is.
fn announcement(repo: &Repo, delivery: &PendingDelivery, key: String, git_ref: String, at: String) -> Announcement {
    Announcement {
        repo: repo.id,
        key,
        git_ref,
        at,
        before: None,
        by_hand: delivery.by_hand,
        is_older: false,
        state: None,
    }
}

/// Returns the short name of a branch or tag.
fn short(name: &RefName) -> &str {
    name.branch().or_else(|| name.as_str().strip_prefix("refs/tags/")).unwrap_or(name.as_str())
}

/// Returns the name of a pull request's ref: GitLab's own, and that of all others.
fn request_ref(hook: &PullRequestHook) -> String {
    match hook.served_at.starts_with("refs/merge-requests/") {
        true => hook.served_at.clone(),
        false => format!("refs/pull/{}/head", hook.number),
    }
}

fn push_origin(hook: PushHook) -> Origin {
    let git_ref = hook.git_ref.as_str().to_owned();
    Origin {
        before: hook.before,
        sender: hook.sender,
        url: hook.url,
        default_branch: hook.default_branch,
        skip: hook.skip,
        ..Origin::new(hook.event, git_ref, FetchTarget::Push { git_ref: hook.git_ref, after: hook.after })
    }
}

fn release_origin(hook: ReleaseHook) -> Origin {
    Origin {
        sender: hook.sender,
        url: hook.url,
        default_branch: hook.default_branch,
        release: Some(Release { action: hook.action, name: hook.name, prerelease: hook.prerelease }),
        ..Origin::new(EventName::Release, hook.tag.as_str().to_owned(), FetchTarget::Ref(hook.tag))
    }
}

/// A pull request that is said to come from this repository gets secrets, so its commit must be on one of its branches,
/// unless it was found there before: a branch may be deleted when its pull request is closed. Without `head`, which is
/// gone then, its target is fetched.
fn pull_request_origin(hook: PullRequestHook, head: Option<&CommitId>, is_own_again: bool) -> Origin {
    let short = |name: &RefName| name.branch().unwrap_or_default().to_owned();
    let git_ref = request_ref(&hook);
    let is_served = hook.fork || hook.action != PullRequest::CLOSED;
    let held_by = match hook.fork || is_own_again {
        true => Vec::new(),
        false => vec![hook.source.clone(), hook.target.clone()],
    };
    let fetch_target = match head {
        Some(head) => {
            let served_at = is_served.then_some(hook.served_at);
            FetchTarget::PullRequest { served_at, head: head.clone(), held_by }
        }
        None => FetchTarget::Ref(hook.target.clone()),
    };
    Origin {
        sender: hook.sender,
        url: hook.url,
        default_branch: hook.default_branch,
        pull_request: Some(PullRequest {
            number: hook.number,
            title: hook.title,
            action: hook.action,
            source_branch: short(&hook.source),
            target_branch: short(&hook.target),
            fork: hook.fork,
            author: hook.author,
            merged: hook.merged,
            draft: hook.state.draft.unwrap_or(false),
            labels: hook.state.labels.unwrap_or_default(),
            merge: None,
            gone: None,
            from: hook.from,
        }),
        ..Origin::new(EventName::PullRequest, git_ref, fetch_target)
    }
}
