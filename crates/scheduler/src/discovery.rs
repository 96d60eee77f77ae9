//! Looks once at a repository that was added: what its default branch has under `schedule` starts builds without a push before. And
//! forgets what was fetched of one that was removed.
//!
//! One task, woken when repositories change; it sleeps until a git host that was away is due to be asked again. It writes schedules
//! and nothing else: a push that comes first says the same, and says it better.

use std::{collections::HashMap, time::Duration};

use longshore_core::{RepoId, Timestamp};
use longshore_store::{Store, StoreError, repos, schedules};
use tokio_util::sync::CancellationToken;

use crate::{
    by_repo::{LONGEST_PAUSE, TRIES, Working, caught, later, pause_after, sleep_until},
    prepare::Planner,
    schedules::{Schedules, until_schedules_change},
};

/// Repositories that are looked at at once.
const AT_ONCE: usize = 4;

/// A repository that could not be looked at so far. After [`TRIES`] it is left to its first push.
#[derive(Debug, Default)]
struct Tries {
    count: u32,
    next_at: Option<Timestamp>,
}

/// Runs until `shutdown`. What was under way then is looked at by the next start.
pub(crate) async fn run(store: Store, planner: Planner, shutdown: CancellationToken) {
    let mut changed = store.changes();
    let mut working = Working::new(AT_ONCE);
    let mut tries: HashMap<RepoId, Tries> = HashMap::new();
    forget_removed(&store, &planner).await;
    loop {
        let wake_at = match take_up(&store, &planner, &mut working, &mut tries, Timestamp::now()).await {
            Ok(wake_at) => wake_at,
            Err(error) => {
                tracing::error!(%error, "cannot see which repositories are new");
                Some(later(Timestamp::now(), Duration::from_secs(1)))
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            ended = working.ended() => {
                if let Some(tries) = tries.get_mut(&ended) {
                    tries.next_at = Some(later(Timestamp::now(), pause_after(tries.count)));
                    tries.count += 1;
                }
            }
            () = until_schedules_change(&mut changed) => forget_removed(&store, &planner).await,
            () = sleep_until(wake_at) => {}
        }
    }
}

/// Takes up what nobody has looked at. When the next one is due, if it is for later.
async fn take_up(
    store: &Store,
    planner: &Planner,
    working: &mut Working,
    tries: &mut HashMap<RepoId, Tries>,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let unknown = schedules::unknown(store).await?;
    tries.retain(|repo, _| unknown.contains(repo));
    let mut wake_at: Option<Timestamp> = None;
    for repo in unknown {
        let tries = tries.entry(repo).or_default();
        // A time that is farther than a pause is one of a clock that has been set back since.
        match tries.next_at.filter(|at| *at > now && *at <= later(now, LONGEST_PAUSE)) {
            _ if tries.count >= TRIES => {}
            Some(next_at) => wake_at = Some(wake_at.map_or(next_at, |at| at.min(next_at))),
            // When one of them ends, everything is looked at again.
            None if working.is_busy(repo) || !working.has_room() => {}
            None => {
                let (store, planner) = (store.clone(), planner.clone());
                working.start(repo, async move {
                    if let Err(reason) = caught(look(&store, &planner, repo)).await.unwrap_or_else(Err) {
                        tracing::info!(%repo, reason, "a new repository cannot be looked at yet");
                    }
                });
            }
        }
    }
    Ok(wake_at)
}

/// What was fetched of repositories that were removed goes.
async fn forget_removed(store: &Store, planner: &Planner) {
    let kept = planner.mirrors.kept().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot see which mirrors there are");
        Vec::new()
    });
    for repo in kept {
        // Listed before it is asked for: whoever is registered is so before its mirror is made.
        if let Ok(None) = repos::get(store, repo).await
            && let Err(error) = planner.mirrors.remove(repo).await
        {
            tracing::warn!(%repo, %error, "a removed repository's mirror stays until the next start");
        }
    }
}

/// The error says why it is to be tried again.
async fn look(store: &Store, planner: &Planner, repo: RepoId) -> Result<(), String> {
    let in_words = |error: StoreError| error.to_string();
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
