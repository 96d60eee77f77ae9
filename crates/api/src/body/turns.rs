//! Limits how many long and large request bodies are in memory at once: each of them needs a turn.
//!
//! A turn that nobody waits for lasts as long as its body arrives fast enough. One that others wait for lasts at least
//! for `Pace::grace`, and after that until its body is the slowest. So somebody who sends slowly to many repositories
//! at once, or with many tokens, keeps nobody waiting for longer than that. The more of them wait, the shorter that
//! time is for those who are slow.

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

/// A body of more bytes is long: it needs one of the turns for long bodies.
pub(super) const LONG_BYTES: usize = 64 << 10;
/// A body of more bytes is large: it needs one of the turns for large bodies.
pub(super) const LARGE_BYTES: usize = 1 << 20;
/// How many long and how many large bodies of verified senders are in memory at once. Unverified senders have as many
/// turns of their own.
pub(super) const TURNS: [usize; 2] = [64, 4];
/// How many of the turns of unverified senders one repository can have.
pub(super) const TURNS_PER_REPOSITORY: [usize; 2] = [16, 1];

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
const MIN_TURN: Duration = Duration::from_millis(300);
/// A body that arrives at this rate keeps its turn for the whole grace.
const FAST_BYTES_PER_SECOND: u128 = 1 << 20;

/// Who sends a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The request proves who sends it.
    Verified,
    /// The sender is unknown, since a signature can only be checked against the whole body. Has the repository or the
    /// connection that the delivery is for.
    Unverified(String),
}

/// Limits how many long and large bodies are in memory at once. Unverified senders have turns of their own, of which
/// each repository gets only a share. So they delay neither people who are signed in nor other repositories.
#[derive(Debug)]
pub(crate) struct LargeBodies {
    pub(super) verified: Turns,
    pub(super) unverified: Turns,
    pub(super) shares: Mutex<HashMap<String, Weak<Turns>>>,
}

/// Turns for long and for large bodies.
#[derive(Debug)]
pub(super) struct Turns(pub(super) [Slots; 2]);

/// The turns for bodies of one size.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) free: Arc<Semaphore>,
    held: Mutex<Vec<Weak<Holder>>>,
    /// How many bodies wait for a slot.
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
    _slots: Vec<OwnedSemaphorePermit>,
}

/// The body that has a turn.
#[derive(Debug)]
struct Holder {
    since: Instant,
    /// How many bytes have arrived since then.
    arrived: AtomicUsize,
    /// How many bytes had arrived before.
    arrived_before: usize,
    /// Cancelled when the turn is given to another body.
    ended: CancellationToken,
}

impl Size {
    /// Returns which turn a body of this length needs, `None` if it needs none.
    pub(super) fn of(length: usize) -> Option<Self> {
        if length > LARGE_BYTES { Some(Self::Large) } else { (length > LONG_BYTES).then_some(Self::Long) }
    }
}

impl Holder {
    fn bytes_per_second(&self) -> u128 {
        self.arrived.load(Ordering::Relaxed) as u128 * 1000 / self.since.elapsed().as_millis().max(1)
    }
}

/// Counts one waiting body until it is dropped.
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

impl Slots {
    fn new(at_once: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(at_once)), held: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a slot. Each time that `grace`, divided by the number of waiting bodies, has passed, ends the turn of
    /// the slowest body.
    async fn wait(&self, grace: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        let _waiting = Waiting::begin(&self.waiting);
        loop {
            let share = self.share_of(grace);
            match timeout(share, &mut free).await {
                Ok(slot) => return slot.map_err(ApiError::internal),
                Err(_) => self.end_slowest(share, grace),
            }
        }
    }

    /// Returns how long a slow body keeps a turn, so that the last waiting body waits for about `grace` in all.
    fn share_of(&self, grace: Duration) -> Duration {
        let waiting = u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX).max(1);
        (grace / waiting).max(MIN_TURN.min(grace))
    }

    fn end_slowest(&self, share: Duration, grace: Duration) {
        let held: Vec<_> = self.holders().iter().filter_map(Weak::upgrade).collect();
        let removable = held.iter().filter(|held| {
            let time = if held.bytes_per_second() < FAST_BYTES_PER_SECOND { share } else { grace };
            held.since.elapsed() >= time && !held.ended.is_cancelled()
        });
        if let Some(slowest) = removable.min_by_key(|held| held.bytes_per_second()) {
            slowest.ended.cancel();
        }
    }

    fn add_holder(&self, holder: &Arc<Holder>) {
        let mut held = self.holders();
        held.retain(|held| held.strong_count() > 0);
        held.push(Arc::downgrade(holder));
    }

    fn holders(&self) -> MutexGuard<'_, Vec<Weak<Holder>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    fn new(at_once: [usize; 2]) -> Self {
        Self(at_once.map(Slots::new))
    }
}

impl LargeBodies {
    pub(crate) fn new() -> Self {
        Self { verified: Turns::new(TURNS), unverified: Turns::new(TURNS), shares: Mutex::default() }
    }

    /// Returns a repository's share of the turns, which exists as long as somebody holds it.
    pub(super) fn share(&self, of: &str) -> Arc<Turns> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(of).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Turns::new(TURNS_PER_REPOSITORY));
        shares.insert(of.to_owned(), Arc::downgrade(&share));
        share
    }

    /// Waits for a turn for a body of which `arrived_before` bytes have arrived. Takes a slot of the repository's share
    /// first, so that a body that waits for that one occupies none that others need.
    pub(super) async fn turn(
        &self,
        share: Option<&Turns>,
        size: Size,
        arrived_before: usize,
        pace: Pace,
    ) -> Result<Turn, ApiError> {
        let all = match share {
            None => vec![&self.verified],
            Some(share) => vec![share, &self.unverified],
        };
        let mut slots = Vec::with_capacity(all.len());
        for turns in &all {
            slots.push(turns.0[size as usize].wait(pace.grace).await?);
        }
        let (arrived, ended) = (AtomicUsize::new(0), CancellationToken::new());
        let holder = Arc::new(Holder { since: Instant::now(), arrived, arrived_before, ended });
        for turns in all {
            turns.0[size as usize].add_holder(&holder);
        }
        Ok(Turn { size, holder, _slots: slots })
    }
}

impl Turn {
    /// Returns the time by which more than `length` bytes must have arrived.
    pub(super) fn ends(&self, length: usize, pace: Pace) -> Instant {
        let arrived = (length - self.holder.arrived_before) as u64;
        self.holder.since + pace.grace + Duration::from_millis(arrived * 1000 / pace.bytes_per_second)
    }

    /// Waits for more of a body of which `length` bytes have arrived, for as long as the pace allows.
    pub(super) async fn wait_for<T>(
        &self,
        more: impl Future<Output = T>,
        length: usize,
        pace: Pace,
    ) -> Result<T, ApiError> {
        self.holder.arrived.store(length - self.holder.arrived_before, Ordering::Relaxed);
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
