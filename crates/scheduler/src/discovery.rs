//! Looks once at a repository that was added: what its default branch has under `schedule` starts builds without a push before.
//!
//! One task, woken when repositories change; it sleeps until a git host that was away is due to be asked again. It writes schedules
//! and nothing else: a push that comes first says the same, and says it better.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use longshore_core::RepoId;
use longshore_store::{Store, repos, schedules};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    prepare::Planner,
    schedules::{Schedules, until_schedules_change},
};

/// Repositories that are looked at at once.
const AT_ONCE: usize = 4;
/// A repository that could not be looked at so often is left to its first push: with the pauses in between that is a day.
const TRIES: u32 = 150;
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// How it went with a repository so far.
#[derive(Debug, Default)]
struct Tries {
    count: u32,
    under_way: bool,
    next_at: Option<Instant>,
}

/// Runs until `shutdown`. What was under way then is looked at by the next start.
pub(crate) async fn run(store: Store, planner: Planner, shutdown: CancellationToken) {
    let mut changed = store.changes();
    let mut working = JoinSet::new();
    let mut tries: HashMap<RepoId, Tries> = HashMap::new();
    loop {
        let wake_at = take_up(&store, &planner, &mut working, &mut tries).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(done) = working.join_next() => match done {
                Ok(repo) => {
                    let tries = tries.entry(repo).or_default();
                    let pause = Duration::from_secs(2 << tries.count.min(9)).min(LONGEST_PAUSE);
                    (tries.under_way, tries.next_at) = (false, Some(Instant::now() + pause));
                }
                Err(error) => {
                    tracing::error!(%error, "the look at a repository broke off");
                    working.shutdown().await;
                    tries.clear();
                }
            },
            () = until_schedules_change(&mut changed) => {}
            () = sleep_until(wake_at) => {}
        }
    }
}

/// Takes up what nobody has looked at. When the next one is due, if it is for later.
async fn take_up(
    store: &Store,
    planner: &Planner,
    working: &mut JoinSet<RepoId>,
    tries: &mut HashMap<RepoId, Tries>,
) -> Option<Instant> {
    let unknown = match schedules::unknown(store).await {
        Ok(unknown) => unknown,
        Err(error) => {
            tracing::error!(%error, "cannot see which repositories are new");
            return Some(Instant::now() + Duration::from_secs(1));
        }
    };
    tries.retain(|repo, _| unknown.contains(repo));
    let mut wake_at: Option<Instant> = None;
    for repo in unknown {
        let tries = tries.entry(repo).or_default();
        if tries.under_way || tries.count >= TRIES {
            continue;
        }
        if let Some(next_at) = tries.next_at.filter(|at| *at > Instant::now()) {
            wake_at = Some(wake_at.map_or(next_at, |at| at.min(next_at)));
            continue;
        }
        // When one of them ends, everything is looked at again.
        if working.len() < AT_ONCE {
            (tries.under_way, tries.count) = (true, tries.count + 1);
            let (store, planner) = (store.clone(), planner.clone());
            working.spawn(async move {
                if let Err(reason) = look(&store, &planner, repo).await {
                    tracing::info!(%repo, reason, "a new repository cannot be looked at yet");
                }
                repo
            });
        }
    }
    wake_at
}

async fn sleep_until(wake_at: Option<Instant>) {
    match wake_at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The error says why it is to be tried again.
async fn look(store: &Store, planner: &Planner, repo: RepoId) -> Result<(), String> {
    let in_words = |error: longshore_store::StoreError| error.to_string();
    let Some(repo) = repos::get(store, repo).await.map_err(in_words)? else { return Ok(()) };
    let found = match planner.schedules_of(&repo).await {
        Ok(found) => found,
        Err(error) if error.may_mend() => return Err(error.to_string()),
        // There is no such branch yet, or nothing on it that can be read: its first push says what it has.
        Err(_) => Schedules::new(),
    };
    let mut tx = store.write().await.map_err(in_words)?;
    schedules::discovered(&mut tx, repo.id, &found).await.map_err(in_words)?;
    tx.commit().await.map(drop).map_err(in_words)
}
