//! The pauses before the next try.

use std::time::Duration;

use longshore_core::Timestamp;
use longshore_store::StoreError;

/// Nothing waits longer for its next try, unless the other side wants it.
const MAX_PAUSE: Duration = Duration::from_secs(10 * 60);
/// The pause after the store could not be read or written. Without one, the next try would follow at once, for ever.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The longest sleep before the clock is read again, because it may be changed meanwhile.
const MAX_NAP: Duration = Duration::from_secs(60);

/// Returns how long to wait after `tries` failed tries before this one: 1 s, 2 s, 4 s, up to ten minutes.
pub(crate) fn after(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.min(10)).min(MAX_PAUSE)
}

/// Returns whether a next try is still to come. Nothing waits longer than `longest`: a time further ahead was noted
/// with a clock that has been set back since.
pub(crate) fn is_to_come(try_at: Timestamp, now: Timestamp, longest: Duration) -> bool {
    try_at > now && try_at.since(now) <= u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)
}

/// Keeps what is due, and returns when the next of the others will be.
pub(crate) fn keep_due<T>(
    waiting: &mut Vec<T>,
    try_at: impl Fn(&T) -> Timestamp,
    now: Timestamp,
    longest: Duration,
) -> Option<Timestamp> {
    let to_come = waiting.extract_if(.., |one| is_to_come(try_at(one), now, longest));
    to_come.map(|one| try_at(&one)).min()
}

/// Returns the time that was read, or one soon if it could not be read. `what` is due then.
pub(crate) fn or_soon(read: Result<Option<Timestamp>, StoreError>, what: &str) -> Option<Timestamp> {
    read.unwrap_or_else(|error| {
        tracing::error!(%error, "could not read which {what} are due");
        Some(Timestamp::now() + RETRY_PAUSE)
    })
}

/// Sleeps until that time, but a minute at most. Without a time it sleeps for ever.
pub(crate) async fn sleep_until(wake_at: Option<Timestamp>) {
    match wake_at {
        Some(at) => {
            let nap = Duration::from_millis(at.since(Timestamp::now()));
            tokio::time::sleep(nap.clamp(Duration::from_millis(10), MAX_NAP)).await;
        }
        None => std::future::pending().await,
    }
}
