//! Finds out what a delivery means: which builds it asks for, which pull request it closes, which ref it says is gone.
//!
//! Asks git, reads the database and writes nothing but a name that the forge has confirmed (`renames`). `ingest` then
//! decides in one transaction what is new of it.

mod announced_event;

use std::time::Duration;

use longshore_core::{EventName, Timestamp, event::PullRequest};
use longshore_forge::{CommitId, DeliveryContents, ForgeRepository, Hook, PullRequestHook, RefName};
use longshore_git::GitError;
use longshore_store::{
    Store, StoreError,
    announcements::{self, Announcement, OnRemote},
    builds::NewBuild,
    deliveries::{DeliveryEnd, PendingDelivery},
    repos::Repo,
};

use self::announced_event::{AnnouncedEvent, Meaning};
use crate::{
    moved,
    prepare::{EventOutcome, PassedOver, Planner, Prepared},
    renames::{self, Renamed},
    schedules::Schedules,
};

/// How long a missing commit is fetched again: some forges announce a push before their git host has it.
const COMMIT_LAG: Duration = Duration::from_secs(5);
/// Why an older event of a pull request than the last one is not built.
const OVERTAKEN: &str = "arrived late: the pull request has changed since; redeliver it to build it anyway";

/// The verdict on a delivery.
pub(crate) struct Judged {
    /// The forge's id of the repository, if it is not known yet.
    pub(crate) forge_id: Option<String>,
    /// Its events, in order; never empty.
    pub(crate) events: Vec<JudgedEvent>,
}

/// The verdict on one event of a delivery.
pub(crate) struct JudgedEvent {
    /// What it is about, for people, if a delivery has several.
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    pub(crate) schedules: Option<Schedules>,
    pub(crate) passed_over: Option<PassedOver>,
    /// The pull request that was closed: nobody waits for its builds any more.
    pub(crate) closed: Option<Closed>,
    /// The announcement, and the remote's answer about it.
    pub(crate) announced: Option<(Announcement, OnRemote)>,
    /// The branch or tag that was deleted, and where it was.
    pub(crate) deleted: Option<(RefName, Option<CommitId>)>,
    /// The remote does not have the reported commit there. It may have it a moment later.
    pub(crate) may_come: bool,
    /// What people have to know about its build.
    pub(crate) note: Option<String>,
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
    /// Its newest commit, as far as it is known.
    head: String,
    /// Whether it is closed still, as far as that is known.
    pub(crate) stays: bool,
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
            note: None,
        }
    }
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self { forge_id: None, events: vec![verdict.into()] }
    }
}

impl Closed {
    fn from_hook(hook: &PullRequestHook, head: &str, stays: bool) -> Option<Self> {
        (hook.action == PullRequest::CLOSED).then(|| Self { number: hook.number, head: head.to_owned(), stays })
    }
}

fn ignored(reason: impl Into<String>) -> Verdict {
    Verdict::End(DeliveryEnd::Ignored { reason: reason.into() })
}

pub(crate) fn failed(reason: impl Into<String>) -> Verdict {
    Verdict::End(DeliveryEnd::Failed { reason: reason.into() })
}

/// Judges a delivery, event by event.
pub(crate) async fn judge(
    store: &Store,
    planner: &Planner,
    repo: &Repo,
    delivery: &PendingDelivery,
    contents: DeliveryContents,
) -> Result<Judged, StoreError> {
    let DeliveryContents { repository, hooks } = contents;
    let forge_id = match repository.as_ref().map(|told| check_repository(repo, told)).transpose() {
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
/// the forge's id of the repository if that is new, or why the delivery is refused. Whoever sees this repository reads
/// that, and the other one may be private: its name is in the server's log alone.
fn check_repository(repo: &Repo, told: &ForgeRepository) -> Result<Option<String>, String> {
    let other = || tracing::warn!(repo = repo.name, other = told.shown(), id = ?told.id, "a delivery is for another repository");
    match (&repo.forge_id, &told.id) {
        // Renames and transfers change the name and not the id.
        (Some(known), Some(id)) if known == id => Ok(None),
        (Some(known), Some(_)) => {
            other();
            Err(format!(
                "refused: the delivery is for another repository than number {known} on the forge, which this is: register \
                 that one separately, with its own webhook. The server's log has its name"
            ))
        }
        (None, _) | (Some(_), None) if told.is_at(&repo.clone_url) => Ok(told.id.clone()),
        (None, _) | (Some(_), None) => {
            other();
            Err("refused: the delivery is for a repository that does not match the clone URL: correct the clone URL in the \
                 settings, or register that repository separately, with its own webhook. The server's log has its name"
                .to_owned())
        }
    }
}

async fn judge_event(
    store: &Store,
    planner: &Planner,
    repo: &Repo,
    delivery: &PendingDelivery,
    hook: Hook,
) -> Result<JudgedEvent, StoreError> {
    let mut event = match announced_event::read(store, planner, repo, delivery, hook).await? {
        Meaning::MayBuild(event) => *event,
        Meaning::Settled(judged) => return Ok(*judged),
    };
    let (known, last) = tokio::try_join!(
        announcements::known(store, &event.announcement),
        announcements::last(store, repo.id, &event.announcement.git_ref)
    )?;
    let (is_known, last) = (known.is_some(), last.map(|last| last.at));
    // It repeats an earlier event whatever the remote says, so git is not asked.
    let is_repeated = !event.announcement.by_hand && !event.announcement.has_come_back(last.as_deref());
    if let Some(build) = known.filter(|_| is_repeated) {
        let verdict = ignored(duplicate_reason(what(event.origin.name), build));
        return Ok(event.judged(verdict, OnRemote::default()));
    }
    match is_overtaken(planner, repo, &event, last.as_deref()).await {
        Ok(false) => event.announcement.is_older &= !event.announcement.is_out_of_order(last.as_deref()),
        Ok(true) => return Ok(JudgedEvent { subject: event.subject, ..ignored(OVERTAKEN).into() }),
        Err(error) => return Ok(judge_failure(event, error, delivery.received_at)),
    }
    let mut prepared = prepare(planner, repo, &mut event, is_known, last.as_deref()).await;
    if let Err(GitError::Redirect { .. }) = &prepared
        && let Some(moved) = moved::follow(store, &planner.logins.http, repo).await?
    {
        prepared = prepare(planner, &moved, &mut event, is_known, last.as_deref()).await;
    }
    let (Prepared { outcome, schedules, passed_over }, on_remote) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Ok(judge_failure(event, error, delivery.received_at)),
    };
    let verdict = match outcome {
        EventOutcome::Build { event, plan, diagnostics } => Verdict::Build(Box::new(NewBuild {
            delivery: Some(delivery.id),
            ..NewBuild::new(repo.id, *event, plan, diagnostics)
        })),
        EventOutcome::Nothing(reason) => ignored(reason),
    };
    Ok(JudgedEvent { schedules, passed_over, ..event.judged(verdict, on_remote) })
}

/// Returns whether an event is older than the last one of its pull request, and so out of date. A commit
/// that the remote has there now is newer than the last one, whatever the forge's times say: no push is lost.
async fn is_overtaken(
    planner: &Planner,
    repo: &Repo,
    event: &AnnouncedEvent,
    last: Option<&str>,
) -> Result<bool, GitError> {
    if !event.announcement.is_older || !event.announcement.is_out_of_order(last) {
        return Ok(false);
    }
    let last_head = last.and_then(|last| last.split(' ').next());
    match event.commit.as_ref().filter(|commit| last_head != Some(commit.as_str())) {
        Some(commit) => Ok(!planner.is_at(repo, &event.served_at, commit).await?),
        None => Ok(true),
    }
}

/// Fetches and plans, and asks the remote about what is announced.
async fn prepare(
    planner: &Planner,
    repo: &Repo,
    event: &mut AnnouncedEvent,
    is_known: bool,
    last: Option<&str>,
) -> Result<(Prepared, OnRemote), GitError> {
    let prepared = match planner.prepare(repo, event.origin.clone()).await {
        Err(GitError::UnknownRevision { .. } | GitError::NotOnRef { .. }) if event.lose_head() => {
            planner.prepare(repo, event.origin.clone()).await?
        }
        prepared => prepared?,
    };
    let announcement = &event.announcement;
    // Each matters only in the case that it is asked in.
    let is_there = match &event.commit {
        Some(commit) if is_known || announcement.by_hand => planner.is_at(repo, &event.served_at, commit).await?,
        Some(_) | None => false,
    };
    let moved_on = match (&event.commit, last) {
        (Some(commit), Some(last)) if !is_known && announcement.is_out_of_order(Some(last)) => {
            planner.has_moved_on(repo, &announcement.git_ref, commit, last).await?
        }
        (_, _) => false,
    };
    Ok((prepared, OnRemote { is_there, moved_on }))
}

/// Judges an event whose build git could not prepare.
fn judge_failure(event: AnnouncedEvent, error: GitError, received_at: Timestamp) -> JudgedEvent {
    let must_be_held = !event.origin.fetch_target.held_by().is_empty();
    let may_come = must_be_held && matches!(error, GitError::UnknownRevision { .. } | GitError::NotOnRef { .. });
    let is_recent = Timestamp::now().since(received_at) < u64::try_from(COMMIT_LAG.as_millis()).unwrap_or(0);
    let reason = error.to_string();
    let verdict = match error {
        GitError::UnknownRevision { .. } if event.note.is_some() => {
            ignored("the pull request is closed, and its commit and its target branch are gone")
        }
        GitError::UnknownRevision { .. } if must_be_held && is_recent => Verdict::Again(reason),
        // It was overwritten by a later push, or the sender's claim is false. It does not count as reported.
        GitError::NotOnRef { .. } => ignored(reason),
        error if error.may_mend() => Verdict::Again(reason),
        _ => failed(reason),
    };
    JudgedEvent { closed: event.closed, subject: event.subject, may_come, ..verdict.into() }
}

/// Returns what people call an event of this name.
pub(crate) const fn what(event: EventName) -> &'static str {
    match event {
        EventName::Push | EventName::Tag => "push",
        EventName::PullRequest => "change of the pull request",
        EventName::Release => "release",
        EventName::MergeGroup => "merge group",
        EventName::Schedule | EventName::Manual => "event",
    }
}

/// Returns why what was reported before is not built again.
pub(crate) fn duplicate_reason(what: &str, build: Option<u64>) -> String {
    match build {
        Some(number) => format!(
            "duplicate of an earlier delivery of the same {what}, which started build #{number}: rerun that build to run it \
             again"
        ),
        None => format!("duplicate of an earlier delivery of the same {what}, which started nothing"),
    }
}
