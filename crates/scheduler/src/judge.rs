//! Finds out what a delivery means: which builds it asks for, which pull request it closes, which ref it says is gone.
//!
//! Asks git, reads the database and writes nothing but a name that the forge has confirmed (`renames`). `ingest` then decides in one transaction what is new of it.

use std::time::Duration;

use longshore_core::{
    EventName, Person, Timestamp,
    event::{PullRequest, Release},
};
use longshore_forge::{
    CommitId, Forge, ForgeRepository, Hook, PullRequestHook, PullRequestState, PushHook, RefName, ReleaseHook, Told,
    payload, pull_request_key, push_key, release_key,
};
use longshore_git::{GitError, Wanted};
use longshore_store::{
    Store, StoreError,
    announcements::{self, Announcement, OnRemote},
    builds::NewBuild,
    deliveries::{DeliveryEnd, PendingDelivery},
    repos::Repo,
};

use crate::{
    moved,
    prepare::{Origin, PassedOver, Planner, Prepared, What},
    renames::{self, Renamed},
    schedules::Schedules,
};

/// How long a commit that is not there is asked for again: some forges tell of a push before their git host has it.
const LAG: Duration = Duration::from_secs(5);

/// What was found out about a delivery.
pub(crate) struct Judged {
    /// The forge's id of the repository, if it is not known yet.
    pub(crate) forge_id: Option<String>,
    /// Its events, in order; never empty.
    pub(crate) events: Vec<JudgedEvent>,
}

/// What was found out about one event of a delivery.
pub(crate) struct JudgedEvent {
    /// What it is about, for people, if a delivery has several.
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    pub(crate) schedules: Option<Schedules>,
    pub(crate) passed_over: Option<PassedOver>,
    /// The pull request that was closed: nobody waits for its builds any more.
    pub(crate) closed: Option<Closed>,
    /// What is announced, and what the remote says about it.
    pub(crate) announced: Option<(Announcement, OnRemote)>,
    /// The branch or tag that was deleted, and where it was.
    pub(crate) deleted: Option<(RefName, Option<CommitId>)>,
    /// The remote does not have there what was told: it may have it a moment later.
    pub(crate) may_come: bool,
}

/// What to do about an event.
pub(crate) enum Verdict {
    Build(Box<NewBuild>),
    End(DeliveryEnd),
    /// It has to be tried again, for this reason.
    Again(String),
}

/// A pull request that was closed.
pub(crate) struct Closed {
    pub(crate) number: u64,
    /// The author's [`Person::key`](longshore_core::Person::key) if the pull request was merged: from now on the author
    /// is known.
    pub(crate) merged_of: Option<String>,
}

impl From<Verdict> for JudgedEvent {
    fn from(verdict: Verdict) -> Self {
        Self {
            subject: String::new(),
            verdict,
            schedules: None,
            passed_over: None,
            closed: None,
            announced: None,
            deleted: None,
            may_come: false,
        }
    }
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self { forge_id: None, events: vec![verdict.into()] }
    }
}

impl Closed {
    fn from_hook(hook: &PullRequestHook) -> Option<Self> {
        let merged_of = hook.author.as_ref().filter(|_| hook.merged).and_then(Person::key);
        (hook.action == PullRequest::CLOSED).then_some(Self { number: hook.number, merged_of })
    }
}

fn ignored(reason: impl Into<String>) -> Verdict {
    Verdict::End(DeliveryEnd::Ignored { reason: reason.into() })
}

fn failed(reason: impl Into<String>) -> Verdict {
    Verdict::End(DeliveryEnd::Failed { reason: reason.into() })
}

/// Judges a delivery, event by event.
pub(crate) async fn judge(
    store: &Store,
    planner: &Planner,
    repo: &Repo,
    delivery: &PendingDelivery,
) -> Result<Judged, StoreError> {
    let forge: Forge = match repo.forge.parse() {
        Ok(forge) => forge,
        Err(error) => return Ok(failed(format!("{error}")).into()),
    };
    // What was found by looking is written down as a plain remote's push.
    let forge = if delivery.found { Forge::Git } else { forge };
    let Told { repository, hooks } = match payload::parse_event(forge, &delivery.event, &delivery.body) {
        Ok(told) => told,
        Err(error) => return Ok(failed(error.to_string()).into()),
    };
    let forge_id = match repository.as_ref().map(|told| whose(repo, told)).transpose() {
        Ok(forge_id) => forge_id.flatten(),
        Err(reason) => return Ok(ignored(reason).into()),
    };
    let renamed = match &repository {
        Some(told) => renames::follow(store, &planner.logins.http, repo, told).await?,
        None => Renamed::No,
    };
    let repo = match &renamed {
        Renamed::No => repo,
        Renamed::Followed(moved) => moved,
        Renamed::Refused(reason) => return Ok(ignored(reason).into()),
        Renamed::Unanswered(reason) => return Ok(Verdict::Again(reason.clone()).into()),
    };
    let mut events = Vec::with_capacity(hooks.len());
    for hook in hooks {
        events.push(judge_event(store, planner, repo, delivery, hook).await?);
    }
    if events.is_empty() {
        events.push(ignored(format!("`{}`: nothing happened", delivery.event)).into());
    }
    Ok(Judged { forge_id, events })
}

/// Checks that a delivery is about this repository: an organisation's webhook reports all of its repositories. Returns
/// the forge's id of the repository if that is new, or why the delivery is refused.
fn whose(repo: &Repo, told: &ForgeRepository) -> Result<Option<String>, String> {
    match (&repo.forge_id, &told.id) {
        // Renames and transfers change the name and not the id.
        (Some(known), Some(id)) if known == id => Ok(None),
        (Some(known), Some(id)) => Err(format!(
            "refused: the delivery is for `{}` (repository {id} on the forge), but this is repository {known}: register \
             that repository separately, with its own webhook",
            told.shown()
        )),
        (None, _) | (Some(_), None) if told.is_at(&repo.clone_url) => Ok(told.id.clone()),
        (None, _) | (Some(_), None) => Err(format!(
            "refused: the delivery is for `{}`, which does not match the clone URL: correct the clone URL in the settings, \
             or register that repository separately, with its own webhook",
            told.shown()
        )),
    }
}

async fn judge_event(
    store: &Store,
    planner: &Planner,
    repo: &Repo,
    delivery: &PendingDelivery,
    hook: Hook,
) -> Result<JudgedEvent, StoreError> {
    let mut closed = None;
    let announcement = |key: String, git_ref: String, at: String, before: Option<&CommitId>| Announcement {
        repo: repo.id,
        key,
        git_ref,
        at,
        before: before.map(|before| before.as_str().to_owned()),
        by_hand: delivery.by_hand,
        state: None,
    };
    // `told` is the commit that the ref has according to the delivery.
    let (mut origin, announcement, told, subject) = match hook {
        Hook::Push(push) => {
            let at = push.after.as_str().to_owned();
            let git_ref = push.git_ref.as_str().to_owned();
            let announcement = announcement(push_key(&push), git_ref, at, push.before.as_ref());
            let (told, subject) = (push.after.clone(), format!("`{}`", short(&push.git_ref)));
            (push_origin(*push), announcement, Some(told), subject)
        }
        Hook::PullRequest(mut request) => {
            closed = Closed::from_hook(&request);
            let subject = format!("pull request #{}", request.number);
            let git_ref = request_ref(&request);
            let last = announcements::last(store, repo.id, &git_ref).await?;
            let last_head = last.as_ref().and_then(|last| last.at.split(' ').next());
            let head = match planner.head_of(repo, &request).await {
                Ok(head) => head,
                Err(error) => {
                    let verdict = match (error.may_mend(), &closed) {
                        (true, _) => Verdict::Again(error.to_string()),
                        // Its branch may have been deleted with it.
                        (false, Some(_)) => ignored("the pull request is closed, and its commit is gone"),
                        (false, None) if request.fork => ignored(
                            "the forge does not serve the commits of forks, so their pull requests cannot be built",
                        ),
                        (false, None) => failed(error.to_string()),
                    };
                    return Ok(JudgedEvent { closed, subject, ..verdict.into() });
                }
            };
            let before: Option<PullRequestState> =
                last.as_ref().and_then(|last| serde_json::from_str(last.state.as_deref()?).ok());
            request.tell_apart(before.as_ref(), last_head, &head);
            request.state.own = Some(!request.fork);
            let is_own_again =
                last_head == Some(head.as_str()) && before.as_ref().is_some_and(|before| before.own == Some(true));
            let state = if closed.is_some() { "closed" } else { "open" };
            let announcement = Announcement {
                state: serde_json::to_string(&request.state).ok(),
                ..announcement(pull_request_key(&request, &head), git_ref, format!("{head} {state}"), None)
            };
            (pull_request_origin(*request, head.clone(), is_own_again), announcement, Some(head), subject)
        }
        Hook::Release(release) => {
            let subject = format!("release `{}`", short(&release.tag));
            let at = format!("{} {}", release.action, release.changed_at);
            let announcement = announcement(release_key(&release), format!("release {}", release.tag), at, None);
            (release_origin(*release), announcement, None, subject)
        }
        Hook::Deleted { git_ref, from } => {
            let verdict = ignored(format!("`{git_ref}` was deleted: nothing to build"));
            let subject = format!("`{}`", short(&git_ref));
            return Ok(JudgedEvent { deleted: Some((git_ref, from)), subject, ..verdict.into() });
        }
        Hook::Ping => return Ok(ignored("ping: the webhook works").into()),
        Hook::Ignored { event, reason } => return Ok(ignored(format!("`{event}`: {reason}")).into()),
    };
    origin.found = delivery.found;
    let (known, last) = tokio::try_join!(
        announcements::known(store, &announcement),
        announcements::last(store, repo.id, &announcement.git_ref)
    )?;
    let (is_known, last) = (known.is_some(), last.map(|last| last.at));
    // Whatever the remote says, this is the same once more: git is not asked.
    if let Some(build) = known.filter(|_| !announcement.by_hand && !announcement.has_come_back(last.as_deref())) {
        let verdict = ignored(duplicate_reason(origin.name, build));
        let announced = Some((announcement, OnRemote::default()));
        return Ok(JudgedEvent { closed, subject, announced, ..verdict.into() });
    }
    let must_be_held = !origin.wanted.held_by().is_empty();
    let prepare = async |repo: &Repo, origin: Origin| {
        let prepared = planner.prepare(repo, origin).await?;
        // Each matters only in the case that it is asked in.
        let is_there = match &told {
            Some(told) if is_known => planner.is_at(repo, &announcement.git_ref, told).await?,
            Some(_) | None => false,
        };
        let moved_on = match (&told, &last) {
            (Some(told), Some(last)) if !is_known && announcement.is_out_of_order(Some(last)) => {
                planner.has_moved_on(repo, &announcement.git_ref, told, last).await?
            }
            (_, _) => false,
        };
        Ok::<_, GitError>((prepared, OnRemote { is_there, moved_on }))
    };
    let mut prepared = prepare(repo, origin.clone()).await;
    if let Err(GitError::Redirect { .. }) = &prepared
        && let Some(moved) = moved::follow(store, &planner.logins.http, repo).await?
    {
        prepared = prepare(&moved, origin).await;
    }
    let (Prepared { what, schedules, passed_over }, on_remote) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let reason = error.to_string();
            let may_come =
                must_be_held && matches!(error, GitError::UnknownRevision { .. } | GitError::NotOnRef { .. });
            let verdict = match error {
                GitError::UnknownRevision { .. }
                    if must_be_held
                        && Timestamp::now().since(delivery.received_at)
                            < u64::try_from(LAG.as_millis()).unwrap_or(0) =>
                {
                    Verdict::Again(reason)
                }
                // It was overwritten by a later push, or the sender's claim is false. It does not count as reported.
                GitError::NotOnRef { .. } => ignored(reason),
                error if error.may_mend() => Verdict::Again(reason),
                _ => failed(reason),
            };
            return Ok(JudgedEvent { closed, subject, may_come, ..verdict.into() });
        }
    };
    let verdict = match what {
        What::Build { event, plan, diagnostics } => Verdict::Build(Box::new(NewBuild {
            repo: repo.id,
            event: *event,
            plan,
            diagnostics,
            delivery: Some(delivery.id),
            rerun_of: None,
            carried_over: Vec::new(),
        })),
        What::Nothing(reason) => ignored(reason),
    };
    let announced = Some((announcement, on_remote));
    Ok(JudgedEvent { subject, verdict, schedules, passed_over, closed, announced, deleted: None, may_come: false })
}

/// Returns why an event that was reported before is not built again.
pub(crate) fn duplicate_reason(event: EventName, build: Option<u64>) -> String {
    let what = match event {
        EventName::Push | EventName::Tag => "push",
        EventName::PullRequest => "change of the pull request",
        EventName::Release => "release",
        EventName::MergeGroup => "merge group",
        EventName::Schedule | EventName::Manual => "event",
    };
    match build {
        Some(number) => format!(
            "duplicate of an earlier delivery of the same {what}, which started build #{number}: rerun that build to run it \
             again"
        ),
        None => format!("duplicate of an earlier delivery of the same {what}, which started nothing"),
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
        ..Origin::new(hook.event, git_ref, Wanted::Push { git_ref: hook.git_ref, after: hook.after })
    }
}

fn release_origin(hook: ReleaseHook) -> Origin {
    Origin {
        sender: hook.sender,
        url: hook.url,
        default_branch: hook.default_branch,
        release: Some(Release { action: hook.action, name: hook.name, prerelease: hook.prerelease }),
        ..Origin::new(EventName::Release, hook.tag.as_str().to_owned(), Wanted::Ref(hook.tag))
    }
}

/// A pull request that is told to come from this repository gets secrets, so its commit must be on one of its branches,
/// unless it was found there before: a branch may be deleted when its pull request is closed.
fn pull_request_origin(hook: PullRequestHook, head: CommitId, is_own_again: bool) -> Origin {
    let short = |name: &RefName| name.branch().unwrap_or_default().to_owned();
    let git_ref = request_ref(&hook);
    let held_by = match hook.fork || is_own_again {
        true => Vec::new(),
        false => vec![hook.source.clone(), hook.target.clone()],
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
        }),
        ..Origin::new(EventName::PullRequest, git_ref, Wanted::PullRequest { served_at: hook.served_at, head, held_by })
    }
}
