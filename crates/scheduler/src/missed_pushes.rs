//! Checks repositories for pushes that no webhook reported: when the server starts, at intervals, and on request.
//! Compares the branches and tags of the remote with those that deliveries reported. Forges lose deliveries (GitLab
//! sends none if a push moves more than three branches, GitHub none for more than three tags), and a server may be
//! down. What no webhook reported becomes a delivery of its own, which `ingest` processes like any other: one that
//! arrives late names its build.
//!
//! The first check only notes what is there: nobody wants builds of everything that was pushed before.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use longshore_core::{DeliveryId, RepoId, Timestamp};
use longshore_git::{GitError, RemoteRef};
use longshore_store::{
    Store, StoreError,
    missed_pushes::{self as records, Differences, Missed, Taken},
    repos::{self, Repo},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    by_repo::{RepoTasks, catch_panic, pause_after},
    moved,
    prepare::Planner,
    scheduler::{RequestError, not_found},
    schedules::until_schedules_change,
    start::git_error,
};

/// The number of repositories that are checked at a time, and how many of them at one host.
const CONCURRENT_CHECKS: usize = 4;
const OF_ONE_HOST: usize = 3;
/// How long the webhook of a push may take to arrive. Some forges send it seconds after the push.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// How soon a repository is checked again if a reported push is not there: some git hosts have it only after their
/// webhooks.
const NEXT_CHECK_AFTER_MISSING: Duration = Duration::from_secs(60);
/// The most pushes that one check builds, branches first. More at once are an import, which nobody wants built.
const MAX_MISSED_PUSHES: usize = 100;

/// A push that no webhook reported, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPush {
    pub git_ref: String,
    /// The commit that was last reported for the branch or tag. `None` for a new one.
    pub before: Option<String>,
    pub after: String,
    /// The delivery that replaces the one that did not arrive.
    pub delivery: DeliveryId,
}

/// The result of checking a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The branches and tags that the remote has.
    pub refs: usize,
    pub found: Vec<FoundPush>,
    /// How many more pushes were found than one check builds. These are not built.
    pub left_out: usize,
}

/// When a repository is checked next, and how often in a row that has failed.
#[derive(Debug)]
struct Due {
    at: Instant,
    failures: u32,
}

/// Checks every repository at once and then at intervals of `every`, until `shutdown`. It sleeps in between, by a clock
/// that cannot be set. Repositories in `hurried` are checked soon.
pub(crate) async fn run(
    store: Store,
    planner: Planner,
    every: Duration,
    mut hurried: mpsc::Receiver<RepoId>,
    shutdown: CancellationToken,
) {
    let mut changed = store.changes();
    let mut repo_tasks = RepoTasks::new(CONCURRENT_CHECKS, OF_ONE_HOST);
    let mut due: HashMap<RepoId, Due> = HashMap::new();
    // Each task that runs has its place.
    let (ended, mut ends) = tokio::sync::mpsc::channel(CONCURRENT_CHECKS);
    update(&store, &mut due).await;
    loop {
        let now = Instant::now();
        let mut waiting: Vec<(Instant, RepoId)> = due.iter().map(|(repo, due)| (due.at, *repo)).collect();
        waiting.retain(|(at, _)| *at <= now);
        waiting.sort_unstable();
        let turns = repo_tasks.in_turn(&store, waiting.into_iter().map(|(_, repo)| repo).collect()).await;
        // What is due and has not started waits for the end of something that has.
        let later = due.values().map(|due| due.at).filter(|at| *at > now).min();
        let next = if turns.is_ok() { later } else { Some(now + Duration::from_secs(1)) };
        for turn in turns.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot see which repositories to check");
            Vec::new()
        }) {
            let (store, planner, ended, repo) = (store.clone(), planner.clone(), ended.clone(), turn.repo());
            repo_tasks.start(turn, async move {
                let checked = catch_panic(check_by_itself(&store, &planner, repo)).await.unwrap_or_else(Err);
                if let Err(reason) = &checked {
                    tracing::warn!(%repo, reason, "a repository cannot be checked");
                }
                // The receiver is dropped with this task.
                let _ = ended.send((repo, checked.is_ok())).await;
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = repo_tasks.next_ended() => {
                while let Ok((repo, went_well)) = ends.try_recv() {
                    if let Some(due) = due.get_mut(&repo) {
                        due.failures = if went_well { 0 } else { due.failures + 1 };
                        let pause = if went_well { every } else { pause_after(due.failures).min(every) };
                        due.at = Instant::now() + pause;
                    }
                }
            }
            Some(repo) = hurried.recv() => hurry(&mut due, repo, Instant::now()),
            () = until_schedules_change(&mut changed) => update(&store, &mut due).await,
            () = async { match next { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {}
        }
    }
}

/// Makes a repository due soon, unless it is due sooner.
fn hurry(due: &mut HashMap<RepoId, Due>, repo: RepoId, now: Instant) {
    if let Some(due) = due.get_mut(&repo) {
        due.at = due.at.min(now + NEXT_CHECK_AFTER_MISSING);
    }
}

/// Brings the list of repositories up to date: a new one is due at once.
async fn update(store: &Store, due: &mut HashMap<RepoId, Due>) {
    match records::repos(store).await {
        Ok(repos) => {
            due.retain(|repo, _| repos.contains(repo));
            for repo in repos {
                due.entry(repo).or_insert_with(|| Due { at: Instant::now(), failures: 0 });
            }
        }
        Err(error) => tracing::error!(%error, "cannot list the repositories"),
    }
}

/// Checks a repository, and again a little later if a push seems to be missing. The error is for people.
async fn check_by_itself(store: &Store, planner: &Planner, repo: RepoId) -> Result<(), String> {
    let to_message = |error: StoreError| error.to_string();
    let Some(repo) = repos::get(store, repo).await.map_err(to_message)? else { return Ok(()) };
    let checked = async {
        let (mut found, mut refs) = compare_with(store, planner, &repo).await?;
        if !found.missed.is_empty() {
            tokio::time::sleep(WEBHOOK_TIMEOUT).await;
            (found, refs) = compare_with(store, planner, &repo).await?;
        }
        finish(store, &repo, found, refs, false).await
    };
    let checked: Result<Checked, RequestError> = checked.await;
    match checked {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = error.to_string();
            note_failure(store, &repo, &reason).await.map_err(to_message)?;
            Err(reason)
        }
    }
}

/// Checks a repository on request.
pub(crate) async fn check_now(store: &Store, planner: &Planner, repo: RepoId) -> Result<Checked, RequestError> {
    let repo = repos::get(store, repo).await?.ok_or_else(|| not_found("repository"))?;
    let checked = async {
        let (found, refs) = compare_with(store, planner, &repo).await?;
        finish(store, &repo, found, refs, true).await
    };
    let checked = checked.await;
    if let Err(error @ RequestError::GitHost(_)) = &checked {
        note_failure(store, &repo, &error.to_string()).await?;
    }
    checked
}

async fn note_failure(store: &Store, repo: &Repo, reason: &str) -> Result<(), StoreError> {
    let mut tx = store.write().await?.unaudited();
    records::failed(&mut tx, repo.id, reason).await?;
    tx.commit().await.map(drop)
}

/// Asks the remote and compares. Returns what differs, and how many branches and tags there are.
async fn compare_with(store: &Store, planner: &Planner, repo: &Repo) -> Result<(Differences, usize), RequestError> {
    // Read first, so that pushes that are reported meanwhile do not count as missed.
    let reported = records::reported(store, repo.id).await?;
    let ask = async |repo: &Repo| {
        let mirror = planner.mirrors.mirror(repo.id).await?;
        mirror.remote_refs(&planner.logins.clone_url(repo).await?).await
    };
    let mut remote = ask(repo).await;
    if let Err(GitError::Redirect { .. }) = &remote
        && let Some(moved) = moved::follow(store, &planner.logins.http, repo).await?
    {
        remote = ask(&moved).await;
    }
    let remote = remote.map_err(git_error)?;
    let is_first = repo.looked_at.is_none();
    Ok((compare(&reported, &remote, is_first), remote.len()))
}

async fn finish(
    store: &Store,
    repo: &Repo,
    mut found: Differences,
    refs: usize,
    by_hand: bool,
) -> Result<Checked, RequestError> {
    let left_out = found.missed.split_off(found.missed.len().min(MAX_MISSED_PUSHES));
    found.known_from_now.extend(left_out.iter().map(|missed| (missed.git_ref.clone(), missed.after.clone())));
    let mut tx = store.write().await?;
    let taken = records::record(&mut tx, repo.id, &found, by_hand, Timestamp::now()).await?;
    tx.commit().await?;
    let pushes = found.missed.into_iter().zip(taken).map(|(Missed { git_ref, before, after }, taken)| {
        let delivery = match taken {
            Taken::New(id) | Taken::Waits(id) | Taken::Failed(id) => id,
        };
        if let Taken::New(_) = taken {
            tracing::info!(repo = repo.name, git_ref, after, %delivery, "no webhook reported a push");
        }
        FoundPush { git_ref, before, after, delivery }
    });
    let checked = Checked { refs, found: pushes.collect(), left_out: left_out.len() };
    if checked.left_out > 0 {
        tracing::warn!(repo = repo.name, left_out = checked.left_out, "too many branches and tags are new at once");
    }
    Ok(checked)
}

/// Returns how the remote differs from what was reported. At the first check, refs that were never reported do not
/// count as missed.
fn compare(told: &HashMap<String, String>, remote: &[RemoteRef], is_first: bool) -> Differences {
    let mut found = Differences::default();
    for there in remote {
        let name = there.name.as_str();
        let missed = |before| Missed { git_ref: name.to_owned(), before, after: there.object.as_str().to_owned() };
        match told.get(name) {
            Some(at) if there.is_at(at) => {}
            Some(at) => found.missed.push(missed(Some(at.clone()))),
            None if is_first => {
                found.known_from_now.insert(name.to_owned(), there.object.as_str().to_owned());
            }
            None => found.missed.push(missed(None)),
        }
    }
    // Branches, then tags.
    found.missed.sort_by(|a, b| a.git_ref.cmp(&b.git_ref));
    let there: BTreeMap<&str, ()> = remote.iter().map(|there| (there.name.as_str(), ())).collect();
    let gone = told.iter().filter(|(name, _)| !there.contains_key(name.as_str()));
    found.gone = gone.map(|(name, at)| (name.clone(), at.clone())).collect();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_whose_push_is_not_there_yet_is_looked_at_soon_and_no_later_than_it_was_to_be() {
        let (repo, other, now) = (RepoId::new(), RepoId::new(), Instant::now());
        let in_hour = || Due { at: now + Duration::from_secs(3600), failures: 0 };
        let mut due = HashMap::from([(repo, in_hour()), (other, in_hour())]);
        hurry(&mut due, repo, now);
        assert_eq!((due[&repo].at, due[&other].at), (now + NEXT_CHECK_AFTER_MISSING, in_hour().at));
        hurry(&mut due, repo, now + NEXT_CHECK_AFTER_MISSING / 2);
        assert_eq!(due[&repo].at, now + NEXT_CHECK_AFTER_MISSING);
        // One that was removed meanwhile.
        hurry(&mut due, RepoId::new(), now);
        assert_eq!(due.len(), 2);
    }

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn there(name: &str, object: &str, peeled: Option<&str>) -> RemoteRef {
        RemoteRef {
            name: name.parse().unwrap(),
            object: object.parse().unwrap(),
            peeled: peeled.map(|peeled| peeled.parse().unwrap()),
        }
    }

    #[test]
    fn what_was_told_is_not_missed_and_what_was_there_before_anybody_looked_is_not_built() {
        let reported: HashMap<String, String> =
            [("refs/heads/main", A), ("refs/heads/gone", A), ("refs/tags/v1", B), ("refs/heads/moved", A)]
                .map(|(name, at)| (name.to_owned(), at.to_owned()))
                .into();
        let remote = [
            there("refs/heads/main", A, None),
            there("refs/heads/moved", B, None),
            there("refs/heads/new", A, None),
            // Reported by its commit.
            there("refs/tags/v1", A, Some(B)),
        ];
        let missed = |git_ref: &str, before: Option<&str>, after: &str| Missed {
            git_ref: git_ref.to_owned(),
            before: before.map(str::to_owned),
            after: after.to_owned(),
        };
        let first = compare(&reported, &remote, true);
        assert_eq!(first.missed, [missed("refs/heads/moved", Some(A), B)]);
        assert_eq!(first.known_from_now, [("refs/heads/new".to_owned(), A.to_owned())].into());
        assert_eq!(first.gone, [("refs/heads/gone".to_owned(), A.to_owned())].into());
        let later = compare(&reported, &remote, false);
        assert_eq!(later.missed, [missed("refs/heads/moved", Some(A), B), missed("refs/heads/new", None, A)]);
        assert!(later.known_from_now.is_empty());
    }
}
