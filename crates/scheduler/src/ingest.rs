//! Takes deliveries from the inbox and makes builds of them, each exactly once: the builds are created in the
//! transaction that ends their delivery. If two deliveries announce the same thing, it is built once, too.
//!
//! Processes one delivery of a repository at a time, in order, and several repositories at once, in turns (`by_repo`), so
//! that a forge that hangs holds up only its own repositories. It is woken by commits, and sleeps until something has to
//! be tried again.

use std::time::Duration;

use longshore_core::{RepoId, Timestamp};
use longshore_forge::{CommitId, DeliveryContents, Forge, parse_with_key};
use longshore_store::{
    Store, StoreError, WriteTx,
    announcements::{self, Novelty},
    builds, commit_statuses,
    deliveries::{self, DeliveryEnd, PendingDelivery},
    repos::{self, Repo},
    schedules,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    by_repo::{BROKE_OFF, RepoTasks, TRIES, catch_panic, pause_after, sleep_until},
    judge::{Closed, Judged, JudgedEvent, Verdict, duplicate_reason, failed, judge, what},
    outsiders,
    prepare::{PassedOver, Planner},
};

/// Repositories that are fetched at once, and how many of them from one host.
const CONCURRENT_REPOS: usize = 8;
const OF_ONE_HOST: usize = 6;

/// Runs until `shutdown`. A delivery that is under way then is still in the inbox, and the next start processes it.
/// Sends to `hurried` the repositories to check soon: a webhook announced a push that the git host does not show yet.
pub(crate) async fn run(store: Store, planner: Planner, hurried: mpsc::Sender<RepoId>, shutdown: CancellationToken) {
    let mut changed = store.watch();
    let mut repo_tasks = RepoTasks::new(CONCURRENT_REPOS, OF_ONE_HOST);
    loop {
        changed.borrow_and_update();
        let due = match start_due(&store, &planner, &hurried, &mut repo_tasks).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "cannot read the inbox");
                Some(Timestamp::now() + Duration::from_secs(1))
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
    hurried: &mpsc::Sender<RepoId>,
    repo_tasks: &mut RepoTasks,
) -> Result<Option<Timestamp>, StoreError> {
    let now = Timestamp::now();
    let due = deliveries::due_repos(store, now).await?;
    for turn in repo_tasks.in_turn(store, due).await? {
        let Some(delivery) = deliveries::next_pending(store, turn.repo(), now).await? else { continue };
        let (store, planner, hurried) = (store.clone(), planner.clone(), hurried.clone());
        repo_tasks.start(turn, async move {
            let id = delivery.id;
            if let Err(error) = process(&store, &planner, &hurried, delivery).await {
                tracing::error!(delivery = %id, %error, "a delivery could not be stored; it stays in the inbox");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    // What is due and has not started waits for the end of something that has.
    deliveries::next_due(store, now).await
}

async fn process(
    store: &Store,
    planner: &Planner,
    hurried: &mpsc::Sender<RepoId>,
    mut delivery: PendingDelivery,
) -> Result<(), StoreError> {
    let Some(repo) = repos::get(store, delivery.repo).await? else { return Ok(()) };
    let Parsed { contents, body } = parse(&repo, &mut delivery).await;
    if let Some(body) = body.as_ref().filter(|_| !delivery.by_hand)
        && let Some(build) = announcements::find_body(store, repo.id, body).await?
    {
        return end_replay(store, &repo, &delivery, build).await;
    }
    let judged = match contents {
        Ok(contents) => catch_panic(judge(store, planner, &repo, &delivery, contents)).await,
        Err(verdict) => Ok(Ok(verdict.into())),
    };
    let Judged { forge_id, events } = match judged {
        Ok(judged) => judged?,
        Err(reason) => Verdict::Again(reason).into(),
    };
    let may_come = events.iter().any(|event| event.may_come);
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    // Only what the registered repository has tells whose number this is: names may be alike.
    let is_built = events.iter().any(|event| matches!(event.verdict, Verdict::Build(_)));
    if let Some(forge_id) = forge_id.as_ref().filter(|_| is_built) {
        repos::learn_forge_id(&mut tx, repo.id, forge_id).await?;
    }
    let mut work = Work { tx: &mut tx, repo: &repo, delivery: &delivery, now };
    match waits_for(&events, &delivery) {
        Some(reason) => {
            for event in &events {
                work.close(event.closed.as_ref(), Novelty::New).await?;
            }
            let pause = pause_after(delivery.attempts);
            tracing::warn!(repo = repo.name, delivery = %delivery.id, reason, ?pause, "will be tried again");
            deliveries::retry_later(&mut tx, delivery.id, now + pause, &reason).await?;
        }
        // It is processed after them.
        None if deliveries::let_older_pass(work.tx, &delivery, now).await? => {}
        None => {
            let several = events.len() > 1;
            let mut ends = Vec::with_capacity(events.len());
            for event in events {
                let subject = several.then(|| event.subject.clone());
                let end = work.apply(event).await?;
                ends.push(match subject {
                    Some(subject) => end.about(&subject),
                    None => end,
                });
            }
            let end = Ended::join(ends);
            let processed = matches!(end.end, DeliveryEnd::Ignored { .. } | DeliveryEnd::Done { .. });
            if let Some(body) = body.filter(|_| processed) {
                announcements::record_body(&mut tx, repo.id, &body, end.build).await?;
            }
            tracing::info!(repo = repo.name, delivery = %delivery.id, end = ?end.end, "a delivery is processed");
            deliveries::finish(&mut tx, delivery.id, &end.end, now).await?;
        }
    }
    tx.commit().await?;
    if may_come {
        // If many are due, this one waits for its regular check.
        let _ = hurried.try_send(repo.id);
    }
    // Runs in the background, so that the next delivery does not wait for it.
    let (store, planner) = (store.clone(), planner.clone());
    tokio::spawn(async move {
        if let Err(error) = pack_mirror(&store, &planner, repo.id).await {
            tracing::warn!(repo = repo.name, error, "the mirror could not be packed");
        }
    });
    Ok(())
}

/// A delivery's body, once it is parsed.
struct Parsed {
    /// What it says, or what to do about one that cannot be understood.
    contents: Result<DeliveryContents, Verdict>,
    /// Its key, if no two events have this body.
    body: Option<String>,
}

/// Parses a delivery's body, which may be so long that nobody else should wait for it, and drops it.
async fn parse(repo: &Repo, delivery: &mut PendingDelivery) -> Parsed {
    // A push that was found by a check is written down like a plain remote's.
    let forge = match if delivery.found { Ok(Forge::Git) } else { repo.forge.parse() } {
        Ok(forge) => forge,
        Err(error) => return Parsed { contents: Err(failed(format!("{error}"))), body: None },
    };
    let (event, body) = (delivery.event.clone(), std::mem::take(&mut delivery.body));
    let parsed = tokio::task::spawn_blocking(move || parse_with_key(forge, &event, &body)).await;
    match parsed {
        Ok((contents, key)) => Parsed {
            contents: contents.map_err(|error| failed(error.to_string())),
            body: Some(key.key).filter(|_| key.is_unique && !delivery.found),
        },
        Err(_) => Parsed { contents: Err(Verdict::Again(BROKE_OFF.to_owned())), body: None },
    }
}

/// Ends a delivery whose body was processed before, whatever became of it. Git is not asked.
async fn end_replay(
    store: &Store,
    repo: &Repo,
    delivery: &PendingDelivery,
    build: Option<u64>,
) -> Result<(), StoreError> {
    let end = DeliveryEnd::Ignored { reason: duplicate_reason("request", build) };
    let mut tx = store.write().await?;
    tracing::info!(repo = repo.name, delivery = %delivery.id, ?end, "a delivery is processed");
    deliveries::finish(&mut tx, delivery.id, &end, Timestamp::now()).await?;
    tx.commit().await.map(drop)
}

/// Returns why a delivery has to be tried again: all of its events are built together, or none.
fn waits_for(events: &[JudgedEvent], delivery: &PendingDelivery) -> Option<String> {
    if delivery.attempts >= TRIES {
        return None;
    }
    events.iter().find_map(|event| match &event.verdict {
        Verdict::Again(reason) => Some(reason.clone()),
        Verdict::Build(_) | Verdict::End(_) => None,
    })
}

/// How an event ended, or all of a delivery.
struct Ended {
    end: DeliveryEnd,
    /// The number of the build that it became.
    build: Option<u64>,
}

impl From<DeliveryEnd> for Ended {
    fn from(end: DeliveryEnd) -> Self {
        Self { end, build: None }
    }
}

impl Ended {
    /// Adds the subject of the delivery to the text for people.
    fn about(mut self, subject: &str) -> Self {
        match &mut self.end {
            DeliveryEnd::Done { note: Some(text) }
            | DeliveryEnd::Ignored { reason: text }
            | DeliveryEnd::Failed { reason: text } => *text = format!("{subject}: {text}"),
            DeliveryEnd::Done { note: None } => {}
        }
        self
    }

    /// Joins the ends of a delivery's events: it is done if one of them became a build, and else failed if one of them
    /// failed.
    fn join(ends: Vec<Self>) -> Self {
        let build = ends.iter().find_map(|end| end.build);
        let is_done = ends.iter().any(|end| matches!(end.end, DeliveryEnd::Done { .. }));
        let has_failed = ends.iter().any(|end| matches!(end.end, DeliveryEnd::Failed { .. }));
        let texts: Vec<String> = ends
            .into_iter()
            .filter_map(|end| match end.end {
                DeliveryEnd::Done { note } => note,
                DeliveryEnd::Ignored { reason } | DeliveryEnd::Failed { reason } => Some(reason),
            })
            .collect();
        let text = texts.join("; ");
        let end = match (is_done, has_failed) {
            (true, _) => DeliveryEnd::Done { note: Some(text).filter(|text| !text.is_empty()) },
            (false, true) => DeliveryEnd::Failed { reason: text },
            (false, false) => DeliveryEnd::Ignored { reason: text },
        };
        Self { end, build }
    }
}

/// The transaction that ends a delivery.
struct Work<'a> {
    tx: &'a mut WriteTx,
    repo: &'a Repo,
    delivery: &'a PendingDelivery,
    now: Timestamp,
}

impl Work<'_> {
    /// Applies an event: decides whether it is new, and creates its build.
    async fn apply(&mut self, event: JudgedEvent) -> Result<Ended, StoreError> {
        let JudgedEvent { subject: _, verdict, schedules, passed_over, closed, announced, deleted, may_come: _, note } =
            event;
        if let Some(schedules) = schedules {
            schedules::replace(self.tx, self.repo.id, &schedules).await?;
        }
        let novelty = match &announced {
            Some((announcement, on_remote)) => announcements::novelty(self.tx, announcement, *on_remote).await?,
            None => Novelty::New,
        };
        let canceled = self.close(closed.as_ref(), novelty).await?;
        let verdict = without_repeats(verdict, novelty);
        if let Some((git_ref, from)) = deleted {
            // For an annotated tag, a forge may name the tag's own object, or its commit.
            let from = from.as_ref().filter(|_| git_ref.branch().is_some()).map(CommitId::as_str);
            announcements::forget_ref(self.tx, self.repo.id, git_ref.as_str(), from).await?;
        }
        if let (Some(passed_over), Novelty::New | Novelty::Again) = (passed_over, novelty) {
            let PassedOver { event, pipelines } = passed_over;
            commit_statuses::note_skipped(self.tx, self.repo.id, &event, &pipelines, self.now).await?;
        }
        match verdict {
            Verdict::Build(new) => {
                let build = outsiders::create(self.tx, *new, self.now).await?;
                if let Some((announcement, on_remote)) = &announced {
                    announcements::record(self.tx, announcement, *on_remote, novelty, Some(build.number)).await?;
                }
                tracing::info!(repo = self.repo.name, number = build.number, commit = build.event.commit, "new build");
                let notes: Vec<String> = canceled.into_iter().chain(note).collect();
                let note = (!notes.is_empty()).then(|| notes.join("; "));
                Ok(Ended { end: DeliveryEnd::Done { note }, build: Some(build.number) })
            }
            Verdict::End(mut end) => {
                // An event that could not be fetched or understood is processed again when it is announced again.
                if let (Some((announcement, on_remote)), DeliveryEnd::Ignored { .. }) = (&announced, &end)
                    && !matches!(novelty, Novelty::Duplicate { .. })
                {
                    announcements::record(self.tx, announcement, *on_remote, novelty, None).await?;
                }
                if let (DeliveryEnd::Ignored { reason }, Some(canceled)) = (&mut end, canceled) {
                    *reason = format!("{canceled}; {reason}");
                }
                Ok(end.into())
            }
            Verdict::Again(reason) => {
                Ok(DeliveryEnd::Failed { reason: format!("gave up after a day: {reason}") }.into())
            }
        }
    }

    /// Stops the builds of a pull request that was closed. Returns what was stopped, for people.
    async fn close(&mut self, closed: Option<&Closed>, novelty: Novelty) -> Result<Option<String>, StoreError> {
        let Some(Closed { number, .. }) = closed.filter(|closed| closed.stays) else { return Ok(None) };
        // Only at the first attempt: until the next one, the pull request may have been opened again.
        let canceled = match novelty {
            Novelty::New | Novelty::Again | Novelty::Late { .. } if self.delivery.attempts == 0 => {
                builds::close_pull_request(self.tx, self.repo.id, *number, self.now).await?
            }
            Novelty::New | Novelty::Again | Novelty::Late { .. } | Novelty::Duplicate { .. } => 0,
        };
        let builds = if canceled == 1 { "build" } else { "builds" };
        Ok((canceled > 0).then(|| format!("canceled {canceled} {builds} of the pull request")))
    }
}

/// Makes a build of what was not built before; everything else ends the event, with the build that it became.
fn without_repeats(verdict: Verdict, novelty: Novelty) -> Verdict {
    let Verdict::Build(new) = verdict else { return verdict };
    let reason = match novelty {
        Novelty::Duplicate { build } => duplicate_reason(what(new.event.name), build),
        Novelty::Late { build } => {
            let newer = build.map(|number| format!(", built as #{number}")).unwrap_or_default();
            format!(
                "arrived late: the branch or tag has moved on to a newer commit{newer}; redeliver it to build it anyway"
            )
        }
        Novelty::New | Novelty::Again => return Verdict::Build(new),
    };
    Verdict::End(DeliveryEnd::Ignored { reason })
}

/// Packs the mirror and removes commits that nobody needs any more, because many small fetches leave many small packs.
/// At most once a minute, because git takes milliseconds to find out whether there is anything to do.
async fn pack_mirror(store: &Store, planner: &Planner, repo: RepoId) -> Result<(), String> {
    let mirror = planner.mirrors.mirror(repo).await.map_err(|error| error.to_string())?;
    if !mirror.is_maintenance_due() {
        return Ok(());
    }
    let commits = builds::unfinished_commits(store, repo).await.map_err(|error| error.to_string())?;
    let commits: Vec<CommitId> = commits.iter().filter_map(|commit| commit.parse().ok()).collect();
    mirror.maintain(&commits).await.map_err(|error| error.to_string())
}
