//! Takes deliveries from the inbox and makes builds of them, each exactly once: the build is created in the transaction
//! that ends its delivery. If two deliveries announce the same thing, it is built once, too.
//!
//! Processes one delivery of a repository at a time, in order, and several repositories at once, so that a forge that
//! hangs holds up only its own repositories. It is woken by commits, and sleeps until something has to be tried again.

use std::{collections::BTreeMap, time::Duration};

use longshore_core::{EventName, Person, RepoId, Timestamp, event::PullRequest};
use longshore_forge::{
    CommitId, Forge, Hook, PullRequestHook, PushHook, RefName, body_key, payload, pull_request_key, push_key,
};
use longshore_git::{GitError, Wanted};
use longshore_store::{
    Store, StoreError,
    announcements::{self, Announcement, Novelty},
    builds::{self, NewBuild},
    deliveries::{self, DeliveryEnd, PendingDelivery},
    people,
    repos::{self, Repo},
    schedules,
};
use tokio_util::sync::CancellationToken;

use crate::{
    by_repo::{RepoTasks, TRIES, add_pause, catch_panic, pause_after, sleep_until},
    outsiders,
    prepare::{Origin, Planner, Prepared, What},
    schedules::Schedules,
};

/// Repositories that are fetched at once.
const AT_ONCE: usize = 8;

/// Runs until `shutdown`. A delivery that is under way then is still in the inbox, and the next start processes it.
pub(crate) async fn run(store: Store, planner: Planner, shutdown: CancellationToken) {
    let mut changed = store.watch();
    let mut repo_tasks = RepoTasks::new(AT_ONCE);
    loop {
        changed.borrow_and_update();
        let due = match start_due(&store, &planner, &mut repo_tasks).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "cannot read the inbox");
                Some(add_pause(Timestamp::now(), Duration::from_secs(1)))
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = repo_tasks.next_ended() => {}
            woken = changed.changed() => if woken.is_err() { return },
            () = sleep_until(due) => {}
        }
    }
}

/// Starts work on the deliveries that are due. Returns when the next one will be due, if the others are due later.
async fn start_due(
    store: &Store,
    planner: &Planner,
    repo_tasks: &mut RepoTasks,
) -> Result<Option<Timestamp>, StoreError> {
    while repo_tasks.has_room() {
        let Some(delivery) = deliveries::next_pending(store, repo_tasks.busy(), Timestamp::now()).await? else {
            // Deliveries that are due belong to busy repositories.
            let due = deliveries::next_due(store, Timestamp::now()).await?;
            return Ok(due.filter(|at| *at > Timestamp::now()));
        };
        let repo = delivery.repo;
        let (store, planner) = (store.clone(), planner.clone());
        repo_tasks.start(repo, async move {
            let id = delivery.id;
            if let Err(error) = process(&store, &planner, delivery).await {
                tracing::error!(delivery = %id, %error, "a delivery could not be stored; it stays in the inbox");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    Ok(None)
}

/// What to do with a delivery.
enum Verdict {
    Build(Box<NewBuild>),
    End(DeliveryEnd),
    Again(String),
}

/// What was found out about a delivery.
struct Judged {
    verdict: Verdict,
    schedules: Option<Schedules>,
    /// The pull request that the delivery says is closed: nobody waits for its builds any more.
    closed: Option<Closed>,
    /// What the delivery announces, and whether the remote has the ref at that commit now.
    announced: Option<(Announcement, bool)>,
    /// The branch or tag that was deleted.
    deleted: Option<RefName>,
}

/// A pull request that was closed.
struct Closed {
    number: u64,
    /// The author's [`Person::key`](longshore_core::Person::key) if the pull request was merged: from now on the author
    /// is known.
    merged_of: Option<String>,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, schedules: None, closed: None, announced: None, deleted: None }
    }
}

impl Closed {
    fn from_hook(hook: &PullRequestHook) -> Option<Self> {
        let merged_of = hook.author.as_ref().filter(|_| hook.merged).and_then(Person::key);
        (hook.action == PullRequest::CLOSED).then_some(Self { number: hook.number, merged_of })
    }
}

async fn process(store: &Store, planner: &Planner, delivery: PendingDelivery) -> Result<(), StoreError> {
    let Some(repo) = repos::get(store, delivery.repo).await? else { return Ok(()) };
    let judged = catch_panic(judge(store, planner, &repo, &delivery)).await;
    let Judged { mut verdict, schedules, closed, announced, deleted } =
        judged.unwrap_or_else(|reason| Verdict::Again(reason).into());
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    // A forge never sends the same bytes for two events. A plain remote's hook may.
    let body = (repo.forge != Forge::Git.as_str()).then(|| body_key(&delivery.body));
    let replayed = match &body {
        Some(body) if !delivery.by_hand => announcements::find_body(&mut tx, repo.id, body).await?,
        Some(_) | None => None,
    };
    let (schedules, closed, deleted) =
        if replayed.is_some() { (None, None, None) } else { (schedules, closed, deleted) };
    if let Some(schedules) = &schedules {
        schedules::replace(&mut tx, repo.id, schedules).await?;
    }
    let novelty = match &announced {
        Some((announcement, is_there)) => announcements::novelty(&mut tx, announcement, *is_there).await?,
        None => Novelty::New,
    };
    // Only at the first attempt: until the next one, the pull request may have been opened again.
    let canceled = match &closed {
        Some(Closed { number, .. }) if delivery.attempts == 0 && !matches!(novelty, Novelty::Duplicate { .. }) => {
            builds::close_pull_request(&mut tx, repo.id, *number, now).await?
        }
        Some(_) | None => 0,
    };
    if let Some(Closed { number, merged_of: Some(author) }) = &closed {
        people::merged(&mut tx, repo.id, *number, author, now).await?;
    }
    let canceled = (canceled > 0).then(|| {
        let builds = if canceled == 1 { "build" } else { "builds" };
        format!("canceled {canceled} {builds} of the pull request")
    });
    if let (Verdict::Build(new), Novelty::Duplicate { build: Some(number) }) = (&verdict, novelty) {
        verdict = Verdict::End(DeliveryEnd::Ignored { reason: duplicate_reason(new.event.name, number) });
    }
    if let Some(became) = replayed {
        verdict = match (verdict, became) {
            (Verdict::Build(new), Some(number)) => {
                Verdict::End(DeliveryEnd::Ignored { reason: duplicate_reason(new.event.name, number) })
            }
            (Verdict::Build(_), None) => Verdict::End(DeliveryEnd::Ignored {
                reason: "the same request was delivered before and started nothing".to_owned(),
            }),
            (verdict @ (Verdict::End(_) | Verdict::Again(_)), _) => verdict,
        };
    }
    // What could not be fetched or understood is processed again when it is announced again.
    let recorded = announced.as_ref().map(|(announcement, _)| announcement).filter(|_| replayed.is_none());
    if let (Some(announcement), Verdict::End(DeliveryEnd::Ignored { .. }), Novelty::New | Novelty::Again) =
        (recorded, &verdict, novelty)
    {
        announcements::record(&mut tx, announcement, novelty, None).await?;
    }
    match verdict {
        Verdict::Build(new) => {
            let build = outsiders::create(&mut tx, *new, now).await?;
            if let Some(announcement) = recorded {
                announcements::record(&mut tx, announcement, novelty, Some(build.number)).await?;
            }
            if let Some(body) = &body {
                announcements::record_body(&mut tx, repo.id, body, Some(build.number)).await?;
            }
            deliveries::finish(&mut tx, delivery.id, &DeliveryEnd::Done { note: canceled }, now).await?;
            tracing::info!(repo = repo.name, number = build.number, commit = build.event.commit, "new build");
        }
        Verdict::End(mut end) => {
            if let (DeliveryEnd::Ignored { reason }, Some(canceled)) = (&mut end, canceled) {
                *reason = format!("{canceled}; {reason}");
            }
            if let (Some(body), DeliveryEnd::Ignored { .. } | DeliveryEnd::Done { .. }) = (&body, &end) {
                announcements::record_body(&mut tx, repo.id, body, None).await?;
            }
            tracing::info!(repo = repo.name, delivery = %delivery.id, ?end, "no build");
            deliveries::finish(&mut tx, delivery.id, &end, now).await?;
        }
        Verdict::Again(reason) if delivery.attempts >= TRIES => {
            let reason = format!("gave up after a day: {reason}");
            deliveries::finish(&mut tx, delivery.id, &DeliveryEnd::Failed { reason }, now).await?;
        }
        Verdict::Again(reason) => {
            let pause = pause_after(delivery.attempts);
            tracing::warn!(repo = repo.name, delivery = %delivery.id, reason, ?pause, "will be tried again");
            let at = add_pause(now, pause);
            deliveries::retry_later(&mut tx, delivery.id, at, &reason).await?;
        }
    }
    if let Some(git_ref) = deleted {
        announcements::forget_ref(&mut tx, repo.id, git_ref.as_str()).await?;
    }
    tx.commit().await?;
    // Runs in the background, so that the next delivery does not wait for it.
    let (store, planner) = (store.clone(), planner.clone());
    tokio::spawn(async move {
        if let Err(error) = pack_mirror(&store, &planner, repo.id).await {
            tracing::warn!(repo = repo.name, error, "the mirror could not be packed");
        }
    });
    Ok(())
}

/// Packs the mirror and removes commits that nobody needs any more, because many small fetches leave many small packs.
/// Git first checks whether this is due, which takes milliseconds.
async fn pack_mirror(store: &Store, planner: &Planner, repo: RepoId) -> Result<(), String> {
    let mirror = planner.mirrors.mirror(repo).await.map_err(|error| error.to_string())?;
    let commits = builds::unfinished_commits(store, repo).await.map_err(|error| error.to_string())?;
    let commits: Vec<CommitId> = commits.iter().filter_map(|commit| commit.parse().ok()).collect();
    mirror.maintain(&commits).await.map_err(|error| error.to_string())
}

/// Returns why a delivery starts no build if what it announces became a build before.
fn duplicate_reason(event: EventName, number: u64) -> String {
    let what = match event {
        EventName::Push | EventName::Tag => "push",
        EventName::PullRequest => "change of the pull request",
        EventName::Schedule | EventName::Manual => "event",
    };
    format!(
        "duplicate of an earlier delivery of the same {what}, which started build #{number}: rerun that build to run it again"
    )
}

async fn judge(store: &Store, planner: &Planner, repo: &Repo, delivery: &PendingDelivery) -> Judged {
    let end = |end: DeliveryEnd| Judged::from(Verdict::End(end));
    let failed = |reason: String| end(DeliveryEnd::Failed { reason });
    let forge: Forge = match repo.forge.parse() {
        Ok(forge) => forge,
        Err(error) => return failed(format!("{error}")),
    };
    let mut closed = None;
    let announcement = |key: String, git_ref: &str, at: String, before: Option<&CommitId>| Announcement {
        repo: repo.id,
        key,
        git_ref: git_ref.to_owned(),
        at,
        before: before.map(|before| before.as_str().to_owned()),
        by_hand: delivery.by_hand,
    };
    let (origin, announcement, commit) = match payload::parse_event(forge, &delivery.event, &delivery.body) {
        Ok(Hook::Push(push)) => {
            let at = push.after.as_str().to_owned();
            let announcement = announcement(push_key(&push), push.git_ref.as_str(), at, push.before.as_ref());
            let commit = push.after.clone();
            (push_origin(*push), announcement, commit)
        }
        Ok(Hook::PullRequest(request)) => {
            closed = Closed::from_hook(&request);
            let state = if closed.is_some() { "closed" } else { "open" };
            let at = format!("{} {state}", request.head);
            let announcement = announcement(pull_request_key(&request), &pull_request_ref(request.number), at, None);
            let commit = request.head.clone();
            (pull_request_origin(*request), announcement, commit)
        }
        Ok(Hook::Deleted { git_ref }) => {
            let reason = format!("`{git_ref}` was deleted: nothing to build");
            return Judged { deleted: Some(git_ref), ..end(DeliveryEnd::Ignored { reason }) };
        }
        Ok(Hook::Ping) => return end(DeliveryEnd::Ignored { reason: "ping: the webhook works".to_owned() }),
        Ok(Hook::Ignored { event, reason }) => {
            return end(DeliveryEnd::Ignored { reason: format!("`{event}`: {reason}") });
        }
        Err(error) => return failed(error.to_string()),
    };
    let prepared = async {
        let prepared = planner.prepare(repo, origin).await?;
        // This matters only for what was announced before.
        let is_there = match announcements::is_known(store, &announcement).await {
            Ok(true) => planner.is_at(repo, &announcement.git_ref, &commit).await?,
            Ok(false) | Err(_) => false,
        };
        Ok::<_, GitError>((prepared, is_there))
    };
    let (Prepared { what, schedules }, is_there) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => {
            let reason = error.to_string();
            let verdict =
                if error.may_mend() { Verdict::Again(reason) } else { Verdict::End(DeliveryEnd::Failed { reason }) };
            return Judged { closed, ..verdict.into() };
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
        What::Nothing(reason) => Verdict::End(DeliveryEnd::Ignored { reason }),
    };
    Judged { verdict, schedules, closed, announced: Some((announcement, is_there)), deleted: None }
}

fn pull_request_ref(number: u64) -> String {
    format!("refs/pull/{number}/head")
}

fn push_origin(hook: PushHook) -> Origin {
    Origin {
        name: hook.event,
        git_ref: hook.git_ref.as_str().to_owned(),
        wanted: Wanted::Push { git_ref: hook.git_ref, after: hook.after },
        before: hook.before,
        sender: hook.sender,
        url: hook.url,
        default_branch: hook.default_branch,
        inputs: BTreeMap::new(),
        pull_request: None,
        schedule: None,
    }
}

fn pull_request_origin(hook: PullRequestHook) -> Origin {
    let short = |name: &RefName| name.branch().unwrap_or_default().to_owned();
    Origin {
        name: EventName::PullRequest,
        git_ref: pull_request_ref(hook.number),
        wanted: Wanted::PullRequest { number: hook.number, head: hook.head },
        before: None,
        sender: hook.sender,
        url: hook.url,
        default_branch: hook.default_branch,
        inputs: BTreeMap::new(),
        pull_request: Some(PullRequest {
            number: hook.number,
            title: hook.title,
            action: hook.action,
            source_branch: short(&hook.source),
            target_branch: short(&hook.target),
            fork: hook.fork,
            author: hook.author,
        }),
        schedule: None,
    }
}
