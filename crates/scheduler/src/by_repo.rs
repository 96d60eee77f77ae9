//! Work that is done by repository: one thing of a repository at a time, several repositories at once, so that a git host that hangs
//! holds up nobody but its own. What could not be done is tried again, less and less often, for a day.

use std::{collections::HashSet, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use longshore_core::{RepoId, Timestamp};
use longshore_store::deliveries;
use tokio::task::JoinSet;

/// What could not be done so often is given up: with the pauses in between that is a day, however the clock is set meanwhile.
pub(crate) const TRIES: u32 = 150;
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(deliveries::LONGEST_PAUSE_MS);
/// The clock may be set while nothing happens here: so often it is looked at.
pub(crate) const LONGEST_NAP: Duration = Duration::from_secs(60);
/// So long nothing is done for a repository whose work broke off.
const PAUSE_AFTER_A_PANIC: Duration = Duration::from_secs(60);

/// How long to wait after as many tries that failed before this one: 2 s, 4 s, 8 s, up to ten minutes.
pub(crate) fn pause_after(tries: u32) -> Duration {
    Duration::from_secs(2 << tries.min(9)).min(LONGEST_PAUSE)
}

/// `pause` after `now`.
pub(crate) fn later(now: Timestamp, pause: Duration) -> Timestamp {
    Timestamp::from_millis(
        now.as_millis().saturating_add_unsigned(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
    )
}

/// Sleeps until then, or a minute: whoever wakes looks at the clock again. Without a time for ever.
pub(crate) async fn sleep_until(wake_at: Option<Timestamp>) {
    match wake_at {
        Some(at) => {
            let nap = Duration::from_millis(at.since(Timestamp::now()));
            tokio::time::sleep(nap.clamp(Duration::from_millis(10), LONGEST_NAP)).await;
        }
        None => std::future::pending().await,
    }
}

/// What comes out of the work, or, where it panicked, that it did, in words. What is pushed is read by it: if that finds a defect
/// of ours, nobody else is to wait for it.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    // It shares with others the store, where an open transaction is undone, and the mirrors, where git's lock goes with its holder.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|_| "Longshore broke off here by a defect of its own, which its log tells of".to_owned())
}

/// Repositories that something is done for.
#[derive(Debug)]
pub(crate) struct Working {
    at_once: usize,
    pause_after_a_panic: Duration,
    tasks: JoinSet<RepoId>,
    busy: HashSet<RepoId>,
}

impl Working {
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

    /// Begins something for a repository that nothing is done for.
    pub(crate) fn start(&mut self, repo: RepoId, work: impl Future<Output = ()> + Send + 'static) {
        self.busy.insert(repo);
        let pause = self.pause_after_a_panic;
        self.tasks.spawn(async move {
            if let Err(reason) = caught(work).await {
                tracing::error!(%repo, reason, "a repository's work broke off");
                tokio::time::sleep(pause).await;
            }
            repo
        });
    }

    /// Waits for one to end: whose it was. Where nothing is done it waits for ever. It may be dropped before.
    pub(crate) async fn ended(&mut self) -> RepoId {
        // Nobody ends them but themselves, and what panics in them is caught.
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
        assert!(pauses.is_sorted() && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE.as_secs()));
        let hours = pauses.iter().sum::<u64>() / 3600;
        assert!((23..25).contains(&hours), "{hours}");
    }

    #[tokio::test]
    async fn one_that_panics_takes_no_other_with_it_and_is_done_again_after_a_pause() {
        let (good, bad) = (RepoId::new(), RepoId::new());
        let mut working = Working::new(2);
        working.start(bad, async { panic!("as it is to be tested") });
        working.start(good, async {});
        assert!(!working.has_room() && working.is_busy(good));
        assert_eq!(working.ended().await, good);
        assert!(working.has_room() && working.is_busy(bad) && !working.is_busy(good));

        let mut working = Working { pause_after_a_panic: Duration::ZERO, ..Working::new(1) };
        working.start(bad, async { panic!("as it is to be tested") });
        assert_eq!(working.ended().await, bad);
        assert!(working.has_room() && !working.is_busy(bad));
    }

    #[tokio::test]
    async fn what_panics_is_said_in_words() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let broke = caught(async {
            if true {
                panic!("as it is to be tested")
            }
        })
        .await
        .unwrap_err();
        assert!(broke.contains("defect"), "{broke}");
    }
}
