//! Reads request bodies: up to a limit, within a time, and only a few large ones at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use crate::error::ApiError;

/// A body longer than `LONG` waits for a turn of the long ones, one longer than `LARGE` for one of the large ones.
const LONG: usize = 64 << 10;
const LARGE: usize = 1 << 20;
/// How many of these bodies are in memory at once, of those whose right is proven and as many of all others.
const AT_ONCE: [usize; 2] = [64, 4];
/// How many of deliveries to one repository.
const AT_ONCE_TO_ONE: [usize; 2] = [16, 1];
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

/// Who sends a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Somebody whose right to send it is proven.
    Known,
    /// Anybody: only the whole body shows whether the signature is right. It is a delivery to this repository, or to this
    /// connection.
    Anybody(String),
}

/// Limits how many long and large bodies are in memory at once. Those of anybody take turns of their own, and only a
/// share of them for each repository: they keep neither those who are signed in nor other repositories waiting.
#[derive(Debug)]
pub(crate) struct LargeBodies {
    known: Turns,
    anybody: Turns,
    shares: Mutex<HashMap<String, Weak<Turns>>>,
}

/// Turns for long and for large bodies.
#[derive(Debug)]
struct Turns([Arc<Semaphore>; 2]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Long = 0,
    Large = 1,
}

/// One of these turns, and how many bytes had arrived when it was got.
#[derive(Debug)]
struct Turn {
    size: Size,
    _places: Vec<OwnedSemaphorePermit>,
    since: Instant,
    had: usize,
}

impl Size {
    /// Returns which turn a body of this length needs, `None` if it needs none.
    fn of(length: usize) -> Option<Self> {
        if length > LARGE { Some(Self::Large) } else { (length > LONG).then_some(Self::Long) }
    }
}

impl Turns {
    fn new(at_once: [usize; 2]) -> Self {
        Self(at_once.map(|places| Arc::new(Semaphore::new(places))))
    }

    async fn place(&self, size: Size) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.0[size as usize]).acquire_owned().await.map_err(ApiError::internal)
    }
}

impl LargeBodies {
    pub(crate) fn new() -> Self {
        Self { known: Turns::new(AT_ONCE), anybody: Turns::new(AT_ONCE), shares: Mutex::default() }
    }

    /// Returns the share of a repository, which lasts while somebody holds it.
    fn share(&self, of: &str) -> Arc<Turns> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(of).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Turns::new(AT_ONCE_TO_ONE));
        shares.insert(of.to_owned(), Arc::downgrade(&share));
        share
    }

    /// Waits for a turn. Who waits for the share of a repository keeps nobody else waiting.
    async fn turn(&self, share: Option<&Turns>, size: Size, had: usize) -> Result<Turn, ApiError> {
        let places = match share {
            None => vec![self.known.place(size).await?],
            Some(share) => vec![share.place(size).await?, self.anybody.place(size).await?],
        };
        Ok(Turn { size, _places: places, since: Instant::now(), had })
    }
}

impl Turn {
    /// Returns the time at which more than `length` bytes must have arrived.
    fn ends(&self, length: usize, pace: Pace) -> Instant {
        let came = (length - self.had) as u64;
        self.since + pace.grace + Duration::from_millis(came * 1000 / pace.bytes_per_second)
    }
}

/// Returns the whole body if it is no longer than `limit`. A body that announces more is not read at all.
pub(crate) async fn read(body: Body, limit: usize, large: &LargeBodies, sender: &Sender) -> Result<Bytes, ApiError> {
    read_at(PACE, body, limit, large, sender).await
}

async fn read_at(
    pace: Pace,
    mut body: Body,
    limit: usize,
    large: &LargeBodies,
    sender: &Sender,
) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        discard(body);
        return Err(ApiError::too_large(limit));
    }
    let share = match sender {
        Sender::Known => None,
        Sender::Anybody(to) => Some(large.share(to)),
    };
    let mut turn: Option<Turn> = None;
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
            if let Some(size) = Size::of(length)
                && turn.as_ref().is_none_or(|turn| turn.size != size)
            {
                turn = Some(large.turn(share.as_deref(), size, length).await?);
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
        FutureExt as _, StreamExt as _,
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
        let (known, to_one) = (Sender::Known, Sender::Anybody("a".to_owned()));
        for (at_once, border, sender) in [
            (AT_ONCE[1], LARGE, &known),
            (AT_ONCE[0], LONG, &known),
            (AT_ONCE_TO_ONE[1], LARGE, &to_one),
            (AT_ONCE_TO_ONE[0], LONG, &to_one),
        ] {
            let large = LargeBodies::new();
            let stalled = (0..at_once).map(|_| read_at(IMPATIENT, stalled(border + 4096), LIMIT, &large, sender));
            // Forges give up after 10 seconds.
            let forges = Pace { whole: Duration::from_secs(10), ..IMPATIENT };
            let signed = read_at(forges, Body::from(vec![0; border * 2]), LIMIT, &large, sender);
            let (stalled, signed) = join(join_all(stalled), signed).await;
            assert!(stalled.iter().all(|read| read.as_ref().unwrap_err().status() == StatusCode::REQUEST_TIMEOUT));
            assert_eq!(signed.unwrap().len(), border * 2);
        }
    }

    #[tokio::test]
    async fn a_short_body_waits_for_nobody() {
        let large = LargeBodies::new();
        for semaphore in large.known.0.iter().chain(&large.anybody.0) {
            semaphore.forget_permits(64);
        }
        for sender in [Sender::Known, Sender::Anybody("a".to_owned())] {
            assert_eq!(read(Body::from(vec![0; LONG]), LIMIT, &large, &sender).await.unwrap().len(), LONG);
        }
    }

    #[tokio::test]
    async fn who_has_proven_nothing_keeps_neither_those_who_have_nor_other_repositories_waiting() {
        let large = LargeBodies::new();
        let to = |name: &str| Sender::Anybody(name.to_owned());
        let body = || Body::from(vec![0; LARGE * 2]);
        let slow = (0..9).map(|_| async { read(stalled(LARGE * 2), LIMIT, &large, &to("a")).await });
        let mut slow = Box::pin(join_all(slow));
        assert!((&mut slow).now_or_never().is_none());
        for sender in [Sender::Known, to("b")] {
            assert_eq!(read(body(), LIMIT, &large, &sender).await.unwrap().len(), LARGE * 2, "{sender:?}");
        }
        let mut same = Box::pin(async { read(body(), LIMIT, &large, &to("a")).await });
        assert!((&mut same).now_or_never().is_none(), "the share of `a` is taken");
        drop((slow, same));
        assert!(read(body(), LIMIT, &large, &to("c")).await.is_ok());
        assert_eq!(large.shares.lock().unwrap().len(), 1, "nothing is kept of whom nobody sends to");
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_enough_comes() {
        let large = LargeBodies::new();
        let turn = large.turn(None, Size::Large, LARGE).await.unwrap();
        let since = turn.since;
        assert_eq!(turn.ends(LARGE, PACE) - since, Duration::from_secs(3));
        assert_eq!(turn.ends(LARGE * 2, PACE) - since, Duration::from_secs(7));
    }
}
