//! Runs work by repository: one task per repository at a time, several repositories at once, in turns. A git host that
//! hangs holds up only its own repositories: it never gets all slots. An item that fails is tried again, less and less
//! often, for a day.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    panic::AssertUnwindSafe,
    time::Duration,
};

use futures_util::FutureExt;
use longshore_core::{RepoId, Timestamp};
use longshore_forge::CloneUrl;
use longshore_store::{Store, StoreError, deliveries, repos};
use tokio::{task::JoinSet, time::Instant};

/// Attempts after which work is given up. With the pauses in between this takes a day, however the clock is set
/// meanwhile.
pub(crate) const TRIES: u32 = 150;
pub(crate) const MAX_PAUSE: Duration = Duration::from_millis(deliveries::MAX_PAUSE_MS);
/// The longest sleep before the clock is read again, because it may be changed meanwhile.
pub(crate) const MAX_NAP: Duration = Duration::from_secs(60);
/// How long a repository is left alone after its work has panicked.
const PAUSE_AFTER_A_PANIC: Duration = Duration::from_secs(60);

/// A repository whose last work took this long comes after all others: its git host may hang.
const SLOW: Duration = Duration::from_secs(60);

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
    of_one_host: usize,
    pause_after_a_panic: Duration,
    tasks: JoinSet<RepoId>,
    busy: HashMap<RepoId, Busy>,
    /// Of each repository that had a turn: whether it was slow, and the number of the turn.
    last: HashMap<RepoId, (bool, u64)>,
    turns: u64,
}

#[derive(Debug)]
struct Busy {
    host: String,
    since: Instant,
}

/// A repository whose turn it is.
#[derive(Debug)]
pub(crate) struct Turn {
    repo: RepoId,
    host: String,
}

impl Turn {
    pub(crate) const fn repo(&self) -> RepoId {
        self.repo
    }
}

impl RepoTasks {
    /// Creates `at_once` slots, of which the repositories of one git host can have `of_one_host`.
    pub(crate) fn new(at_once: usize, of_one_host: usize) -> Self {
        Self {
            at_once,
            of_one_host,
            pause_after_a_panic: PAUSE_AFTER_A_PANIC,
            tasks: JoinSet::new(),
            busy: HashMap::new(),
            last: HashMap::new(),
            turns: 0,
        }
    }

    /// Returns those of the waiting repositories whose turn it is, to be started before anything else: the one whose
    /// last turn is the longest ago first, and those that were slow then at the end.
    pub(crate) async fn in_turn(&self, store: &Store, mut waiting: Vec<RepoId>) -> Result<Vec<Turn>, StoreError> {
        let mut seen = HashSet::new();
        waiting.retain(|repo| !self.busy.contains_key(repo) && seen.insert(*repo));
        if waiting.is_empty() || self.busy.len() >= self.at_once {
            return Ok(Vec::new());
        }
        let addresses = repos::addresses(store, &waiting).await?;
        let host_of = |repo| {
            let address = addresses.get(&repo).cloned().unwrap_or_default();
            address.parse::<CloneUrl>().map_or(address, |url| url.host().to_ascii_lowercase())
        };
        Ok(self.choose(waiting.into_iter().map(|repo| Turn { repo, host: host_of(repo) }).collect()))
    }

    fn choose(&self, mut waiting: Vec<Turn>) -> Vec<Turn> {
        let mut of_hosts: HashMap<String, usize> = HashMap::new();
        for busy in self.busy.values() {
            *of_hosts.entry(busy.host.clone()).or_default() += 1;
        }
        // Those without a turn so far come first, as they are given.
        waiting.sort_by_key(|turn| self.last.get(&turn.repo));
        waiting.retain(|turn| {
            let of_host = of_hosts.entry(turn.host.clone()).or_default();
            *of_host += 1;
            *of_host <= self.of_one_host
        });
        waiting.truncate(self.at_once.saturating_sub(self.busy.len()));
        waiting
    }

    /// Starts work for a repository whose turn it is.
    pub(crate) fn start(&mut self, turn: Turn, work: impl Future<Output = ()> + Send + 'static) {
        let Turn { repo, host } = turn;
        self.busy.insert(repo, Busy { host, since: Instant::now() });
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
        if let Some(Busy { since, .. }) = self.busy.remove(&repo) {
            self.turns += 1;
            self.last.insert(repo, (since.elapsed() >= SLOW, self.turns));
        }
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
        let mut repo_tasks = RepoTasks::new(2, 2);
        repo_tasks.start(turn(bad, "a"), async { panic!("as it is to be tested") });
        repo_tasks.start(turn(good, "a"), async {});
        assert_eq!(repo_tasks.next_ended().await, good);
        assert!(repo_tasks.busy.contains_key(&bad) && !repo_tasks.busy.contains_key(&good));

        let mut repo_tasks = RepoTasks { pause_after_a_panic: Duration::ZERO, ..RepoTasks::new(1, 1) };
        repo_tasks.start(turn(bad, "a"), async { panic!("as it is to be tested") });
        assert_eq!(repo_tasks.next_ended().await, bad);
        assert!(repo_tasks.busy.is_empty());
    }

    fn turn(repo: RepoId, host: &str) -> Turn {
        Turn { repo, host: host.to_owned() }
    }

    #[tokio::test]
    async fn turns_go_round_and_no_host_gets_all_of_them() {
        let [a, b, c, d, other] = [0; 5].map(|_| RepoId::new());
        let waiting =
            || vec![turn(a, "hangs"), turn(b, "hangs"), turn(c, "hangs"), turn(d, "hangs"), turn(other, "works")];
        let order = |repo_tasks: &RepoTasks| repo_tasks.choose(waiting()).iter().map(Turn::repo).collect::<Vec<_>>();
        let mut repo_tasks = RepoTasks::new(4, 2);
        assert_eq!(order(&repo_tasks), [a, b, other], "two of the host, in their order");
        repo_tasks.start(turn(a, "hangs"), async {});
        assert_eq!(repo_tasks.next_ended().await, a);
        assert_eq!(order(&repo_tasks), [b, c, other], "who had a turn comes after those that had none");
        repo_tasks.start(turn(other, "works"), async {});
        assert_eq!(repo_tasks.next_ended().await, other);
        repo_tasks.last.extend([(b, (true, 3)), (c, (false, 4)), (d, (true, 5))]);
        assert_eq!(order(&repo_tasks), [a, other, c], "who was slow comes after those that were not");
        repo_tasks.start(turn(RepoId::new(), "hangs"), std::future::pending());
        repo_tasks.start(turn(RepoId::new(), "hangs"), std::future::pending());
        assert_eq!(order(&repo_tasks), [other], "the host has its slots");
        repo_tasks.start(turn(RepoId::new(), "third"), std::future::pending());
        repo_tasks.start(turn(RepoId::new(), "third"), std::future::pending());
        assert!(order(&repo_tasks).is_empty());
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
