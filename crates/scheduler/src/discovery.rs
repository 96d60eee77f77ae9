//! Looks once at each repository that was added, so that what its default branch has under `schedule` starts builds
//! before the first push. Also removes the mirrors of repositories that were removed.
//!
//! One task, woken when repositories change. It sleeps until it is time to ask again a forge that did not answer. It
//! writes only schedules: a push that comes first brings the same schedules, and newer ones.

use std::{collections::HashMap, time::Duration};

use longshore_core::{RepoId, Timestamp};
use longshore_store::{Store, StoreError, repos, schedules};
use tokio_util::sync::CancellationToken;

use crate::{
    by_repo::{MAX_PAUSE, RepoTasks, TRIES, catch_panic, pause_after, sleep_until},
    prepare::Planner,
    schedules::{Schedules, until_schedules_change},
};

/// Repositories that are looked up at once, and how many of them at one host.
const CONCURRENT_LOOKUPS: usize = 4;
const OF_ONE_HOST: usize = 3;

/// The failed lookups of a repository. After [`TRIES`], its schedules wait for its first push.
#[derive(Debug, Default)]
struct Tries {
    count: u32,
    next_at: Option<Timestamp>,
}

/// Runs until `shutdown`. A lookup that is under way then is repeated after the next start.
pub(crate) async fn run(store: Store, planner: Planner, shutdown: CancellationToken) {
    let mut changed = store.changes();
    let mut repo_tasks = RepoTasks::new(CONCURRENT_LOOKUPS, OF_ONE_HOST);
    let mut tries: HashMap<RepoId, Tries> = HashMap::new();
    if let Err(error) = planner.mirrors.delete_removed().await {
        tracing::warn!(%error, "mirrors of removed repositories stay until the next start");
    }
    forget_removed(&store, &planner).await;
    loop {
        let wake_at = match start_due(&store, &planner, &mut repo_tasks, &mut tries, Timestamp::now()).await {
            Ok(wake_at) => wake_at,
            Err(error) => {
                tracing::error!(%error, "cannot see which repositories are new");
                Some(Timestamp::now() + Duration::from_secs(1))
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            ended = repo_tasks.next_ended() => {
                if let Some(tries) = tries.get_mut(&ended) {
                    tries.next_at = Some(Timestamp::now() + pause_after(tries.count));
                    tries.count += 1;
                }
            }
            () = until_schedules_change(&mut changed) => forget_removed(&store, &planner).await,
            () = sleep_until(wake_at) => {}
        }
    }
}

/// Starts the lookups that are due. Returns when the next one is due, if one is due later.
async fn start_due(
    store: &Store,
    planner: &Planner,
    repo_tasks: &mut RepoTasks,
    tries: &mut HashMap<RepoId, Tries>,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let unknown = schedules::unknown(store).await?;
    tries.retain(|repo, _| unknown.contains(repo));
    let mut wake_at: Option<Timestamp> = None;
    let mut due = Vec::new();
    for repo in unknown {
        let tries = tries.entry(repo).or_default();
        // If a time lies further ahead than the longest pause, the clock has been set back since.
        match tries.next_at.filter(|at| *at > now && *at <= now + MAX_PAUSE) {
            _ if tries.count >= TRIES => {}
            Some(next_at) => wake_at = Some(wake_at.map_or(next_at, |at| at.min(next_at))),
            None => due.push(repo),
        }
    }
    // Whenever a lookup ends, all repositories are considered again.
    for turn in repo_tasks.in_turn(store, due).await? {
        let (store, planner, repo) = (store.clone(), planner.clone(), turn.repo());
        repo_tasks.start(turn, async move {
            if let Err(reason) = catch_panic(look_up(&store, &planner, repo)).await.unwrap_or_else(Err) {
                tracing::info!(%repo, reason, "a new repository cannot be looked at yet");
            }
        });
    }
    Ok(wake_at)
}

/// Removes the mirrors of repositories that were removed.
async fn forget_removed(store: &Store, planner: &Planner) {
    let kept = planner.mirrors.repositories().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot see which mirrors there are");
        Vec::new()
    });
    for repo in kept {
        // The mirrors were listed first: a repository is registered before its mirror is made, so no new one is
        // removed.
        if let Ok(None) = repos::get(store, repo).await
            && let Err(error) = planner.mirrors.remove(repo).await
        {
            tracing::warn!(%repo, %error, "a removed repository's mirror stays until the next start");
        }
    }
}

/// Stores the schedules of a repository. The error says why the lookup is to be repeated.
async fn look_up(store: &Store, planner: &Planner, repo: RepoId) -> Result<(), String> {
    let to_message = |error: StoreError| error.to_string();
    let Some(repo) = repos::get(store, repo).await.map_err(to_message)? else { return Ok(()) };
    let found = match planner.schedules_of(&repo).await {
        Ok(found) => found,
        Err(error) if error.may_mend() => return Err(error.to_string()),
        // The branch does not exist yet, or has no file that can be read: the first push brings its schedules.
        Err(_) => Schedules::new(),
    };
    let mut tx = store.write().await.map_err(to_message)?;
    schedules::discovered(&mut tx, repo.id, &found).await.map_err(to_message)?;
    tx.commit().await.map(drop).map_err(to_message)
}
