//! Takes deliveries from the inbox and makes builds of them, each exactly once: the build is created in the transaction
//! that finishes its delivery. What two deliveries tell of alike is built once, too.
//!
//! One delivery of a repository at a time, in order; several repositories at once, so that a git host that hangs holds up
//! nobody but its own. Woken by commits; when something has to be tried again, it sleeps until then.

use std::{collections::BTreeMap, time::Duration};

use longshore_core::{EventName, Person, RepoId, Timestamp, event::PullRequest};
use longshore_forge::{
    CommitId, Forge, Hook, PullRequestHook, PushHook, RefName, body_key,
    git::{GitError, Wanted},
    payload, pull_request_key, push_key,
};
use longshore_store::{
    Store, StoreError,
    builds::{self, NewBuild},
    deliveries::{self, DeliveryEnd, PendingDelivery},
    people,
    repos::{self, Repo},
    schedules,
    told::{self, Standing, Telling},
};
use tokio_util::sync::CancellationToken;

use crate::{
    by_repo::{TRIES, Working, caught, later, pause_after, sleep_until},
    outsiders,
    prepare::{Origin, Planner, Prepared, What},
    schedules::Schedules,
};

/// Repositories that are fetched at once.
const AT_ONCE: usize = 8;

/// Runs until `shutdown`. What was under way then is still in the inbox, and done at the next start.
pub(crate) async fn run(store: Store, planner: Planner, shutdown: CancellationToken) {
    let mut changed = store.watch();
    let mut working = Working::new(AT_ONCE);
    loop {
        changed.borrow_and_update();
        let due = match take_up(&store, &planner, &mut working).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "cannot read the inbox");
                Some(later(Timestamp::now(), Duration::from_secs(1)))
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = working.ended() => {}
            woken = changed.changed() => if woken.is_err() { return },
            () = sleep_until(due) => {}
        }
    }
}

/// Takes up what is due. When the next one will be, if all that is left is for later.
async fn take_up(store: &Store, planner: &Planner, working: &mut Working) -> Result<Option<Timestamp>, StoreError> {
    while working.has_room() {
        let Some(delivery) = deliveries::next_pending(store, working.busy(), Timestamp::now()).await? else {
            // What is due belongs to busy repositories or to later.
            let due = deliveries::next_due(store, Timestamp::now()).await?;
            return Ok(due.filter(|at| *at > Timestamp::now()));
        };
        let repo = delivery.repo;
        let (store, planner) = (store.clone(), planner.clone());
        working.start(repo, async move {
            let id = delivery.id;
            if let Err(error) = work_on(&store, &planner, delivery).await {
                tracing::error!(delivery = %id, %error, "a delivery could not be stored; it stays in the inbox");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    Ok(None)
}

/// What is to be done with a delivery.
enum Verdict {
    Build(Box<NewBuild>),
    End(DeliveryEnd),
    Again(String),
}

/// What was found out about a delivery.
struct Judged {
    verdict: Verdict,
    schedules: Option<Schedules>,
    /// The pull request that was closed by it: nobody waits for its builds any more.
    closed: Option<Closed>,
    /// What it tells of, and whether the remote has the ref at that commit now.
    told: Option<(Telling, bool)>,
    /// A branch or tag that was deleted.
    deleted: Option<RefName>,
}

/// A pull request that is not open any more.
struct Closed {
    number: u64,
    /// Who is known from now on, by [`Person::key`](longshore_core::Person::key): its author, if it was merged.
    merged_of: Option<String>,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, schedules: None, closed: None, told: None, deleted: None }
    }
}

impl Closed {
    fn of(hook: &PullRequestHook) -> Option<Self> {
        let merged_of = hook.author.as_ref().filter(|_| hook.merged).and_then(Person::key);
        (hook.action == PullRequest::CLOSED).then_some(Self { number: hook.number, merged_of })
    }
}

async fn work_on(store: &Store, planner: &Planner, delivery: PendingDelivery) -> Result<(), StoreError> {
    let Some(repo) = repos::get(store, delivery.repo).await? else { return Ok(()) };
    let judged = caught(judge(store, planner, &repo, &delivery)).await;
    let Judged { mut verdict, schedules, closed, told, deleted } =
        judged.unwrap_or_else(|reason| Verdict::Again(reason).into());
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    // A forge never sends the same bytes for two things that happened. A plain remote's hook may.
    let body = (repo.forge != Forge::Git.as_str()).then(|| body_key(&delivery.body));
    let replayed = match &body {
        Some(body) if !delivery.by_hand => told::replayed(&mut tx, repo.id, body).await?,
        Some(_) | None => None,
    };
    let (schedules, closed, deleted) =
        if replayed.is_some() { (None, None, None) } else { (schedules, closed, deleted) };
    if let Some(schedules) = &schedules {
        schedules::replace(&mut tx, repo.id, schedules).await?;
    }
    let standing = match &told {
        Some((telling, is_there)) => told::standing(&mut tx, telling, *is_there).await?,
        None => Standing::New,
    };
    // At the first try alone: until the next one it may have been opened again.
    let canceled = match &closed {
        Some(Closed { number, .. }) if delivery.attempts == 0 && !matches!(standing, Standing::Twin { .. }) => {
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
    if let (Verdict::Build(new), Standing::Twin { build: Some(number) }) = (&verdict, standing) {
        verdict = Verdict::End(DeliveryEnd::Ignored { reason: twin(new.event.name, number) });
    }
    if let Some(became) = replayed {
        verdict = match (verdict, became) {
            (Verdict::Build(new), Some(number)) => {
                Verdict::End(DeliveryEnd::Ignored { reason: twin(new.event.name, number) })
            }
            (Verdict::Build(_), None) => Verdict::End(DeliveryEnd::Ignored {
                reason: "the same body was delivered before, and started nothing".to_owned(),
            }),
            (verdict @ (Verdict::End(_) | Verdict::Again(_)), _) => verdict,
        };
    }
    // What could not be fetched or understood is looked at anew when it is told of again.
    let recorded = told.as_ref().map(|(telling, _)| telling).filter(|_| replayed.is_none());
    if let (Some(telling), Verdict::End(DeliveryEnd::Ignored { .. }), Standing::New | Standing::Again) =
        (recorded, &verdict, standing)
    {
        told::record(&mut tx, telling, standing, None).await?;
    }
    match verdict {
        Verdict::Build(new) => {
            let build = outsiders::create(&mut tx, *new, now).await?;
            if let Some(telling) = recorded {
                told::record(&mut tx, telling, standing, Some(build.number)).await?;
            }
            if let Some(body) = &body {
                told::record_body(&mut tx, repo.id, body, Some(build.number)).await?;
            }
            deliveries::finish(&mut tx, delivery.id, &DeliveryEnd::Done { note: canceled }, now).await?;
            tracing::info!(repo = repo.name, number = build.number, commit = build.event.commit, "new build");
        }
        Verdict::End(mut end) => {
            if let (DeliveryEnd::Ignored { reason }, Some(canceled)) = (&mut end, canceled) {
                *reason = format!("{canceled}; {reason}");
            }
            if let (Some(body), DeliveryEnd::Ignored { .. } | DeliveryEnd::Done { .. }) = (&body, &end) {
                told::record_body(&mut tx, repo.id, body, None).await?;
            }
            tracing::info!(repo = repo.name, delivery = %delivery.id, ?end, "no build");
            deliveries::finish(&mut tx, delivery.id, &end, now).await?;
        }
        Verdict::Again(reason) if delivery.attempts >= TRIES => {
            let reason = format!("given up after a day: {reason}");
            deliveries::finish(&mut tx, delivery.id, &DeliveryEnd::Failed { reason }, now).await?;
        }
        Verdict::Again(reason) => {
            let pause = pause_after(delivery.attempts);
            tracing::warn!(repo = repo.name, delivery = %delivery.id, reason, ?pause, "will be tried again");
            let at = later(now, pause);
            deliveries::retry_later(&mut tx, delivery.id, at, &reason).await?;
        }
    }
    if let Some(git_ref) = deleted {
        told::gone(&mut tx, repo.id, git_ref.as_str()).await?;
    }
    tx.commit().await?;
    // The next delivery does not wait for it.
    let (store, planner) = (store.clone(), planner.clone());
    tokio::spawn(async move {
        if let Err(error) = maintain(&store, &planner, repo.id).await {
            tracing::warn!(repo = repo.name, error, "the mirror could not be packed");
        }
    });
    Ok(())
}

/// Many small fetches leave many small packs, and commits that nobody needs any more. Git looks first whether it is time, which takes
/// milliseconds.
async fn maintain(store: &Store, planner: &Planner, repo: RepoId) -> Result<(), String> {
    let mirror = planner.mirrors.mirror(repo).await.map_err(|error| error.to_string())?;
    let commits = builds::unfinished_commits(store, repo).await.map_err(|error| error.to_string())?;
    let commits: Vec<CommitId> = commits.iter().filter_map(|commit| commit.parse().ok()).collect();
    mirror.maintain(&commits).await.map_err(|error| error.to_string())
}

/// Why a delivery that tells of what became a build before starts none.
fn twin(event: EventName, number: u64) -> String {
    let what = match event {
        EventName::Push | EventName::Tag => "push",
        EventName::PullRequest => "change of the pull request",
        EventName::Schedule | EventName::Manual => "event",
    };
    format!("another delivery told of the same {what}, which became build #{number}: rerun that to run it once more")
}

async fn judge(store: &Store, planner: &Planner, repo: &Repo, delivery: &PendingDelivery) -> Judged {
    let end = |end: DeliveryEnd| Judged::from(Verdict::End(end));
    let failed = |reason: String| end(DeliveryEnd::Failed { reason });
    let forge: Forge = match repo.forge.parse() {
        Ok(forge) => forge,
        Err(error) => return failed(format!("{error}")),
    };
    let mut closed = None;
    let telling = |key: String, git_ref: &str, at: String, before: Option<&CommitId>| Telling {
        repo: repo.id,
        key,
        git_ref: git_ref.to_owned(),
        at,
        before: before.map(|before| before.as_str().to_owned()),
        by_hand: delivery.by_hand,
    };
    let (origin, telling, commit) = match payload::parse_event(forge, &delivery.event, &delivery.body) {
        Ok(Hook::Push(push)) => {
            let at = push.after.as_str().to_owned();
            let telling = telling(push_key(&push), push.git_ref.as_str(), at, push.before.as_ref());
            let commit = push.after.clone();
            (of_push(*push), telling, commit)
        }
        Ok(Hook::PullRequest(request)) => {
            closed = Closed::of(&request);
            let standing = if closed.is_some() { "closed" } else { "open" };
            let at = format!("{} {standing}", request.head);
            let telling = telling(pull_request_key(&request), &pull_request_ref(request.number), at, None);
            let commit = request.head.clone();
            (of_pull_request(*request), telling, commit)
        }
        Ok(Hook::Deleted { git_ref }) => {
            let reason = format!("`{git_ref}` was deleted, so there is nothing to build");
            return Judged { deleted: Some(git_ref), ..end(DeliveryEnd::Ignored { reason }) };
        }
        Ok(Hook::Ping) => return end(DeliveryEnd::Ignored { reason: "a ping: the webhook works".to_owned() }),
        Ok(Hook::Ignored { event, reason }) => {
            return end(DeliveryEnd::Ignored { reason: format!("`{event}`: {reason}") });
        }
        Err(error) => return failed(error.to_string()),
    };
    let prepared = async {
        let prepared = planner.prepare(repo, origin).await?;
        // Only of what was told before it matters.
        let is_there = match told::is_known(store, &telling).await {
            Ok(true) => planner.is_at(repo, &telling.git_ref, &commit).await?,
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
    Judged { verdict, schedules, closed, told: Some((telling, is_there)), deleted: None }
}

fn pull_request_ref(number: u64) -> String {
    format!("refs/pull/{number}/head")
}

fn of_push(hook: PushHook) -> Origin {
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

fn of_pull_request(hook: PullRequestHook) -> Origin {
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
