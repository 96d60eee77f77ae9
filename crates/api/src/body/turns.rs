//! Limits how many long and large request bodies are in memory at once: each of them needs a turn.
//!
//! A turn that nobody waits for lasts as long as its body arrives fast enough. One that others wait for lasts at least
//! for `Pace::grace`, and after that until its body is the slowest. So somebody who sends slowly to many repositories
//! at once, or with many tokens, keeps nobody waiting for longer than that. The more of them wait, the shorter that time
//! is for those who are slow.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;

/// A body longer than `LONG` needs one of the turns for long bodies, one longer than `LARGE` one of those for large
/// ones.
pub(super) const LONG: usize = 64 << 10;
pub(super) const LARGE: usize = 1 << 20;
/// How many long and how many large bodies are in memory at once: so many from senders who have proven their right to
/// send, and as many again from everybody else.
pub(super) const AT_ONCE: [usize; 2] = [64, 4];
/// The same for deliveries to one repository.
pub(super) const AT_ONCE_TO_ONE: [usize; 2] = [16, 1];

/// How fast a body must arrive. A slow sender must hold neither memory forever nor a turn that others wait for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long the whole body may take.
    pub(super) whole: Duration,
    /// After this time, a body that holds a turn must have arrived at `bytes_per_second` on average since it got the
    /// turn. Whenever somebody has waited this long for a turn, the slowest such body loses its own.
    pub(super) grace: Duration,
    pub(super) bytes_per_second: u64,
}

pub(super) const PACE: Pace =
    Pace { whole: Duration::from_secs(60), grace: Duration::from_secs(3), bytes_per_second: 256 << 10 };

/// The least time for which a body keeps a turn, however many wait.
const SHORTEST: Duration = Duration::from_millis(300);
/// A body that arrives at so many bytes a second keeps its turn for the whole grace.
const QUICK: u128 = 1 << 20;

/// Who sends a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Somebody whose right to send it is proven.
    Known,
    /// Somebody unknown: the signature can only be checked against the whole body. Has the repository or the connection
    /// that the delivery is for.
    Anybody(String),
}

/// Limits how many long and large bodies are in memory at once. Those of unknown senders have turns of their own, of
/// which each repository gets only a share. So they keep neither people who are signed in nor other repositories
/// waiting.
#[derive(Debug)]
pub(crate) struct LargeBodies {
    pub(super) known: Turns,
    pub(super) anybody: Turns,
    pub(super) shares: Mutex<HashMap<String, Weak<Turns>>>,
}

/// Turns for long and for large bodies.
#[derive(Debug)]
pub(super) struct Turns(pub(super) [Places; 2]);

/// The turns for bodies of one size.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) free: Arc<Semaphore>,
    held: Mutex<Vec<Weak<Holder>>>,
    /// How many wait for a place.
    waiting: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Long = 0,
    Large = 1,
}

/// The turn that a body has. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) size: Size,
    holder: Arc<Holder>,
    _places: Vec<OwnedSemaphorePermit>,
}

/// The body that has a turn.
#[derive(Debug)]
struct Holder {
    since: Instant,
    /// How many bytes have arrived since then.
    came: AtomicUsize,
    /// How many had arrived before.
    had: usize,
    /// Cancelled once the turn goes to somebody else.
    ended: CancellationToken,
}

impl Size {
    /// Returns which turn a body of this length needs, `None` if it needs none.
    pub(super) fn of(length: usize) -> Option<Self> {
        if length > LARGE { Some(Self::Large) } else { (length > LONG).then_some(Self::Long) }
    }
}

impl Holder {
    fn bytes_per_second(&self) -> u128 {
        self.came.load(Ordering::Relaxed) as u128 * 1000 / self.since.elapsed().as_millis().max(1)
    }
}

/// Counts one of those who wait until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    fn new(at_once: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(at_once)), held: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a place. Each time that `grace` has passed, divided among those who wait, ends the turn of the slowest
    /// body.
    async fn wait(&self, grace: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        let _waiting = Waiting::begin(&self.waiting);
        loop {
            let share = self.share_of(grace);
            match timeout(share, &mut free).await {
                Ok(place) => return place.map_err(ApiError::internal),
                Err(_) => self.end_slowest(share, grace),
            }
        }
    }

    /// Returns how long a slow body keeps a turn, so that whoever comes last waits for about `grace` altogether.
    fn share_of(&self, grace: Duration) -> Duration {
        let waiting = u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX).max(1);
        (grace / waiting).max(SHORTEST.min(grace))
    }

    fn end_slowest(&self, share: Duration, grace: Duration) {
        let held: Vec<_> = self.held().iter().filter_map(Weak::upgrade).collect();
        let had_time = held.iter().filter(|held| {
            let time = if held.bytes_per_second() < QUICK { share } else { grace };
            held.since.elapsed() >= time && !held.ended.is_cancelled()
        });
        if let Some(slowest) = had_time.min_by_key(|held| held.bytes_per_second()) {
            slowest.ended.cancel();
        }
    }

    fn note(&self, holder: &Arc<Holder>) {
        let mut held = self.held();
        held.retain(|held| held.strong_count() > 0);
        held.push(Arc::downgrade(holder));
    }

    fn held(&self) -> MutexGuard<'_, Vec<Weak<Holder>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    fn new(at_once: [usize; 2]) -> Self {
        Self(at_once.map(Places::new))
    }
}

impl LargeBodies {
    pub(crate) fn new() -> Self {
        Self { known: Turns::new(AT_ONCE), anybody: Turns::new(AT_ONCE), shares: Mutex::default() }
    }

    /// Returns a repository's share of the turns, which exists as long as somebody holds it.
    pub(super) fn share(&self, of: &str) -> Arc<Turns> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(of).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Turns::new(AT_ONCE_TO_ONE));
        shares.insert(of.to_owned(), Arc::downgrade(&share));
        share
    }

    /// Waits for a turn for a body of which `had` bytes have arrived. A place in the repository's share comes first, so
    /// that whoever waits for it takes up no place that others need.
    pub(super) async fn turn(
        &self,
        share: Option<&Turns>,
        size: Size,
        had: usize,
        pace: Pace,
    ) -> Result<Turn, ApiError> {
        let all = match share {
            None => vec![&self.known],
            Some(share) => vec![share, &self.anybody],
        };
        let mut places = Vec::with_capacity(all.len());
        for turns in &all {
            places.push(turns.0[size as usize].wait(pace.grace).await?);
        }
        let (came, ended) = (AtomicUsize::new(0), CancellationToken::new());
        let holder = Arc::new(Holder { since: Instant::now(), came, had, ended });
        for turns in all {
            turns.0[size as usize].note(&holder);
        }
        Ok(Turn { size, holder, _places: places })
    }
}

impl Turn {
    /// Returns the time by which more than `length` bytes must have arrived.
    pub(super) fn ends(&self, length: usize, pace: Pace) -> Instant {
        let came = (length - self.holder.had) as u64;
        self.holder.since + pace.grace + Duration::from_millis(came * 1000 / pace.bytes_per_second)
    }

    /// Waits for more of a body of which `length` bytes have arrived, for as long as the pace allows.
    pub(super) async fn wait_for<T>(
        &self,
        more: impl Future<Output = T>,
        length: usize,
        pace: Pace,
    ) -> Result<T, ApiError> {
        self.holder.came.store(length - self.holder.had, Ordering::Relaxed);
        let too_slow = || {
            ApiError::too_slow(format!(
                "the request body arrived more slowly than {} KiB/s",
                pace.bytes_per_second >> 10
            ))
        };
        let more = timeout_at(self.ends(length, pace), more);
        self.while_held(more).await?.map_err(|_| too_slow())
    }

    /// Waits for something, but no longer than the turn lasts.
    pub(super) async fn while_held<T>(&self, wanted: impl Future<Output = T>) -> Result<T, ApiError> {
        tokio::select! {
            biased;
            () = self.holder.ended.cancelled() => {
                Err(ApiError::too_slow("the request body arrived more slowly than others, and more requests were waiting"))
            }
            got = wanted => Ok(got),
        }
    }

    #[cfg(test)]
    pub(super) fn since(&self) -> Instant {
        self.holder.since
    }
}
