//! Reads request bodies: up to a limit, within a time, and only a few large ones at once.

use std::{ptr, time::Duration};

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout, timeout_at},
};

use crate::error::ApiError;

/// A body longer than `LONG` waits for one of `LONG_AT_ONCE` turns, one longer than `LARGE` for one of `LARGE_AT_ONCE`.
const LONG: usize = 64 << 10;
const LARGE: usize = 1 << 20;
/// How many of these bodies are in memory at once.
const LONG_AT_ONCE: usize = 64;
const LARGE_AT_ONCE: usize = 4;
/// How much of a refused body is read and thrown away. A sender that reads only after it has sent everything then still
/// sees the answer.
const DISCARD_LIMIT: usize = 64 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// How fast a body must arrive. A slow sender must not hold memory for ever, nor a turn that others wait for.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The time by which the whole body has arrived.
    whole: Duration,
    /// After this time, a body that holds a turn must have arrived at `bytes_per_second` on average since it got the
    /// turn.
    grace: Duration,
    bytes_per_second: u64,
}

const PACE: Pace = Pace { whole: Duration::from_secs(60), grace: Duration::from_secs(3), bytes_per_second: 256 << 10 };

/// Limits how many long and large bodies are in memory at once.
#[derive(Debug)]
pub(crate) struct LargeBodies {
    long: Semaphore,
    large: Semaphore,
}

/// One of these turns, and how many bytes had arrived when it was got.
#[derive(Debug)]
struct Turn<'a> {
    queue: &'a Semaphore,
    _place: SemaphorePermit<'a>,
    since: Instant,
    had: usize,
}

impl LargeBodies {
    pub(crate) fn new() -> Self {
        Self { long: Semaphore::new(LONG_AT_ONCE), large: Semaphore::new(LARGE_AT_ONCE) }
    }

    /// Returns the turns that a body of this length waits for, `None` if it needs none.
    fn queue(&self, length: usize) -> Option<&Semaphore> {
        if length > LARGE { Some(&self.large) } else { (length > LONG).then_some(&self.long) }
    }
}

impl Turn<'_> {
    /// Returns the time at which more than `length` bytes must have arrived.
    fn ends(&self, length: usize, pace: Pace) -> Instant {
        let came = (length - self.had) as u64;
        self.since + pace.grace + Duration::from_millis(came * 1000 / pace.bytes_per_second)
    }
}

/// Returns the whole body if it is no longer than `limit`. A body that announces more is not read at all.
pub(crate) async fn read(body: Body, limit: usize, large: &LargeBodies) -> Result<Bytes, ApiError> {
    read_at(PACE, body, limit, large).await
}

async fn read_at(pace: Pace, mut body: Body, limit: usize, large: &LargeBodies) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        discard(body);
        return Err(ApiError::too_large(limit));
    }
    let mut turn: Option<Turn<'_>> = None;
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0).min(LONG));
    let reading = async {
        loop {
            let frame = match &turn {
                None => body.frame().await,
                Some(turn) => timeout_at(turn.ends(bytes.len(), pace), body.frame()).await.map_err(|_| {
                    ApiError::too_slow(format!(
                        "the request body arrived slower than {} KiB/s",
                        pace.bytes_per_second >> 10
                    ))
                })?,
            };
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|_| ApiError::bad_request("the request body ended early"))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > limit {
                return Err(ApiError::too_large(limit));
            }
            if let Some(queue) = large.queue(length)
                && turn.as_ref().is_none_or(|turn| !ptr::eq(turn.queue, queue))
            {
                let place = queue.acquire().await.map_err(ApiError::internal)?;
                turn = Some(Turn { queue, _place: place, since: Instant::now(), had: length });
            }
            bytes.extend_from_slice(&data);
        }
    };
    match timeout(pace.whole, reading).await {
        Ok(Ok(())) => Ok(bytes.into()),
        Ok(Err(error)) => {
            discard(body);
            Err(error)
        }
        Err(_) => Err(ApiError::too_slow(format!("the request body did not arrive within {} s", pace.whole.as_secs()))),
    }
}

/// Reads and throws away a refused body, in the background and within limits, so that the connection is not reset under
/// its sender.
pub(crate) fn discard(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(DISCARD_TIMEOUT, async move {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_LIMIT {
                return;
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::StatusCode;
    use futures_util::{
        StreamExt as _,
        future::{join, join_all},
        stream,
    };

    use super::*;

    const IMPATIENT: Pace = Pace { grace: Duration::from_millis(10), ..PACE };
    const LIMIT: usize = 25 << 20;

    /// Sends this many bytes at once, then neither more bytes nor an end.
    fn stalled(length: usize) -> Body {
        Body::from_stream(stream::iter([Ok::<_, Infallible>(vec![0; length])]).chain(stream::pending()))
    }

    #[tokio::test]
    async fn whoever_stops_sending_loses_the_turn_to_those_who_wait_for_it() {
        for (at_once, border) in [(LARGE_AT_ONCE, LARGE), (LONG_AT_ONCE, LONG)] {
            let large = LargeBodies::new();
            let stalled = (0..at_once).map(|_| read_at(IMPATIENT, stalled(border + 4096), LIMIT, &large));
            // Forges give up after 10 seconds.
            let forges = Pace { whole: Duration::from_secs(10), ..IMPATIENT };
            let signed = read_at(forges, Body::from(vec![0; border * 2]), LIMIT, &large);
            let (stalled, signed) = join(join_all(stalled), signed).await;
            assert!(stalled.iter().all(|read| read.as_ref().unwrap_err().status() == StatusCode::REQUEST_TIMEOUT));
            assert_eq!(signed.unwrap().len(), border * 2);
        }
    }

    #[tokio::test]
    async fn a_short_body_waits_for_nobody() {
        let large = LargeBodies::new();
        let _all = (large.long.acquire_many(64).await.unwrap(), large.large.acquire_many(4).await.unwrap());
        assert_eq!(read(Body::from(vec![0; LONG]), LIMIT, &large).await.unwrap().len(), LONG);
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_enough_comes() {
        let large = LargeBodies::new();
        let (queue, since) = (&large.large, Instant::now());
        let turn = Turn { queue, _place: queue.acquire().await.unwrap(), since, had: LARGE };
        assert_eq!(turn.ends(LARGE, PACE) - since, Duration::from_secs(3));
        assert_eq!(turn.ends(LARGE * 2, PACE) - since, Duration::from_secs(7));
    }
}
