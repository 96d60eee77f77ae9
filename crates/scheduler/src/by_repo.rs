//! Runs work by repository: one task per repository at a time, several repositories at once, so that a forge that hangs
//! holds up only its own repositories. An item that fails is tried again, less and less often, for a day.

use std::{collections::HashSet, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use longshore_core::{RepoId, Timestamp};
use longshore_store::deliveries;
use tokio::task::JoinSet;

/// Attempts after which work is given up. With the pauses in between this takes a day, however the clock is set
/// meanwhile.
pub(crate) const TRIES: u32 = 150;
pub(crate) const MAX_PAUSE: Duration = Duration::from_millis(deliveries::MAX_PAUSE_MS);
/// The longest sleep before the clock is read again, because it may be changed meanwhile.
pub(crate) const MAX_NAP: Duration = Duration::from_secs(60);
/// How long a repository is left alone after its work has panicked.
const PAUSE_AFTER_A_PANIC: Duration = Duration::from_secs(60);

/// What people read of work that panicked.
pub(crate) const BROKE_OFF: &str = "internal error; see the server's log";

/// Returns how long to wait after `tries` failed attempts before this one: 2 s, 4 s, 8 s, up to ten minutes.
pub(crate) fn pause_after(tries: u32) -> Duration {
    Duration::from_secs(2 << tries.min(9)).min(MAX_PAUSE)
}

/// Sleeps until that time, but a minute at most, because the clock may be set. Without a time it sleeps for ever.
pub(crate) async fn sleep_until(wake_at: Option<Timestamp>) {
    match wake_at {
        Some(at) => {
            let nap = Duration::from_millis(at.since(Timestamp::now()));
            tokio::time::sleep(nap.clamp(Duration::from_millis(10), MAX_NAP)).await;
        }
        None => std::future::pending().await,
    }
}

/// Returns the result of the work, or a message if it panicked. The work reads what people push: if that reveals a bug
/// in Longshore, nobody else has to wait for it.
pub(crate) async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, String> {
    // The work shares the store, where an open transaction is rolled back, and the mirrors, where git's lock is
    // released with its holder.
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| BROKE_OFF.to_owned())
}

/// The repositories whose work is under way.
#[derive(Debug)]
pub(crate) struct RepoTasks {
    at_once: usize,
    pause_after_a_panic: Duration,
    tasks: JoinSet<RepoId>,
    busy: HashSet<RepoId>,
}

impl RepoTasks {
    pub(crate) fn new(at_once: usize) -> Self {
        Self { at_once, pause_after_a_panic: PAUSE_AFTER_A_PANIC, tasks: JoinSet::new(), busy: HashSet::new() }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.busy.len() < self.at_once
    }

    pub(crate) fn is_busy(&self, repo: RepoId) -> bool {
        self.busy.contains(&repo)
    }

    pub(crate) fn busy(&self) -> impl Iterator<Item = RepoId> + '_ {
        self.busy.iter().copied()
    }

    /// Starts work for a repository that is not busy.
    pub(crate) fn start(&mut self, repo: RepoId, work: impl Future<Output = ()> + Send + 'static) {
        self.busy.insert(repo);
        let pause = self.pause_after_a_panic;
        self.tasks.spawn(async move {
            if let Err(reason) = catch_panic(work).await {
                tracing::error!(%repo, reason, "a repository's work broke off");
                tokio::time::sleep(pause).await;
            }
            repo
        });
    }

    /// Waits for work to end and returns its repository. Waits for ever if there is no work. The future may be dropped
    /// before it is ready.
    pub(crate) async fn next_ended(&mut self) -> RepoId {
        // Nobody aborts these tasks, and their panics are caught.
        let Some(Ok(repo)) = self.tasks.join_next().await else { return std::future::pending().await };
        self.busy.remove(&repo);
        repo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_done_is_tried_for_a_day_and_soon_at_first() {
        let pauses: Vec<u64> = (0..TRIES).map(|tries| pause_after(tries).as_secs()).collect();
        assert_eq!(pauses[..4], [2, 4, 8, 16]);
        assert!(pauses.is_sorted() && pauses.iter().all(|pause| *pause <= MAX_PAUSE.as_secs()));
        let hours = pauses.iter().sum::<u64>() / 3600;
        assert!((23..25).contains(&hours), "{hours}");
    }

    #[tokio::test]
    async fn one_that_panics_takes_no_other_with_it_and_is_done_again_after_a_pause() {
        let (good, bad) = (RepoId::new(), RepoId::new());
        let mut repo_tasks = RepoTasks::new(2);
        repo_tasks.start(bad, async { panic!("as it is to be tested") });
        repo_tasks.start(good, async {});
        assert!(!repo_tasks.has_room() && repo_tasks.is_busy(good));
        assert_eq!(repo_tasks.next_ended().await, good);
        assert!(repo_tasks.has_room() && repo_tasks.is_busy(bad) && !repo_tasks.is_busy(good));

        let mut repo_tasks = RepoTasks { pause_after_a_panic: Duration::ZERO, ..RepoTasks::new(1) };
        repo_tasks.start(bad, async { panic!("as it is to be tested") });
        assert_eq!(repo_tasks.next_ended().await, bad);
        assert!(repo_tasks.has_room() && !repo_tasks.is_busy(bad));
    }

    #[tokio::test]
    async fn what_panics_is_said_in_words() {
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
        let broke = catch_panic(async {
            if true {
                panic!("as it is to be tested")
            }
        })
        .await
        .unwrap_err();
        assert!(broke.contains("internal error"), "{broke}");
    }
}
