//! Reads request bodies: up to a limit, within a time, and only a few large ones at once.

mod turns;

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use self::turns::{LONG_BYTES, PACE, Pace, Size, Turn};
pub(crate) use self::turns::{LargeBodies, Sender};
use crate::error::ApiError;

/// How much of a refused body is read and thrown away. A sender that reads only after it has sent everything then still
/// sees the answer.
const DISCARD_LIMIT: usize = 64 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the whole body if it is no longer than `limit`. A body that announces more is not read at all.
pub(crate) async fn read(body: Body, limit: usize, large: &LargeBodies, sender: &Sender) -> Result<Bytes, ApiError> {
    read_at_pace(PACE, body, limit, large, sender).await
}

async fn read_at_pace(
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
        Sender::Verified => None,
        Sender::Unverified(to) => Some(large.share(to)),
    };
    let mut turn: Option<Turn> = None;
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0).min(LONG_BYTES));
    let reading = async {
        loop {
            let frame = match &turn {
                None => body.frame().await,
                Some(turn) => turn.wait_for(body.frame(), bytes.len(), pace).await?,
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
                let next = large.turn(share.as_deref(), size, length, pace);
                turn = Some(match &turn {
                    Some(turn) => turn.while_held(next).await??,
                    None => next.await?,
                });
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

    use super::{
        turns::{LARGE_BYTES, TURNS, TURNS_PER_REPOSITORY},
        *,
    };

    const IMPATIENT: Pace = Pace { grace: Duration::from_millis(10), ..PACE };
    const LIMIT: usize = 25 << 20;

    /// Sends this many bytes at once, then neither more bytes nor an end.
    fn stalled(length: usize) -> Body {
        Body::from_stream(stream::iter([Ok::<_, Infallible>(vec![0; length])]).chain(stream::pending()))
    }

    #[tokio::test]
    async fn whoever_stops_sending_loses_the_turn_to_those_who_wait_for_it() {
        let (verified, unverified) = (Sender::Verified, Sender::Unverified("a".to_owned()));
        for (at_once, border, sender) in [
            (TURNS[1], LARGE_BYTES, &verified),
            (TURNS[0], LONG_BYTES, &verified),
            (TURNS_PER_REPOSITORY[1], LARGE_BYTES, &unverified),
            (TURNS_PER_REPOSITORY[0], LONG_BYTES, &unverified),
        ] {
            let large = LargeBodies::new();
            let stalled = (0..at_once).map(|_| read_at_pace(IMPATIENT, stalled(border + 4096), LIMIT, &large, sender));
            // Forges give up after 10 seconds.
            let forges = Pace { whole: Duration::from_secs(10), ..IMPATIENT };
            let signed = read_at_pace(forges, Body::from(vec![0; border * 2]), LIMIT, &large, sender);
            let (stalled, signed) = join(join_all(stalled), signed).await;
            assert!(stalled.iter().all(|read| read.as_ref().unwrap_err().status() == StatusCode::REQUEST_TIMEOUT));
            assert_eq!(signed.unwrap().len(), border * 2);
        }
    }

    #[tokio::test]
    async fn a_short_body_waits_for_nobody() {
        let large = LargeBodies::new();
        for slots in large.verified.0.iter().chain(&large.unverified.0) {
            slots.free.forget_permits(64);
        }
        for sender in [Sender::Verified, Sender::Unverified("a".to_owned())] {
            assert_eq!(read(Body::from(vec![0; LONG_BYTES]), LIMIT, &large, &sender).await.unwrap().len(), LONG_BYTES);
        }
    }

    #[tokio::test]
    async fn who_has_proven_nothing_keeps_neither_those_who_have_nor_other_repositories_waiting() {
        let large = LargeBodies::new();
        let to = |name: &str| Sender::Unverified(name.to_owned());
        let body = || Body::from(vec![0; LARGE_BYTES * 2]);
        let slow = (0..9).map(|_| async { read(stalled(LARGE_BYTES * 2), LIMIT, &large, &to("a")).await });
        let mut slow = Box::pin(join_all(slow));
        assert!((&mut slow).now_or_never().is_none());
        for sender in [Sender::Verified, to("b")] {
            assert_eq!(read(body(), LIMIT, &large, &sender).await.unwrap().len(), LARGE_BYTES * 2, "{sender:?}");
        }
        let mut same = Box::pin(async { read(body(), LIMIT, &large, &to("a")).await });
        assert!((&mut same).now_or_never().is_none(), "the share of `a` is taken");
        drop((slow, same));
        assert!(read(body(), LIMIT, &large, &to("c")).await.is_ok());
        assert_eq!(large.shares.lock().unwrap().len(), 1, "nothing is kept of whom nobody sends to");
    }

    /// Sends a body slowly, but quickly enough for a turn that nobody waits for.
    fn slow(length: usize, bytes_per_second: usize) -> Body {
        let sent = move |sent: usize| async move {
            if sent > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let next = if sent == 0 { LARGE_BYTES + 1 } else { bytes_per_second.min(length - sent) };
            (next > 0).then(|| (Ok::<_, Infallible>(vec![0; next]), sent + next))
        };
        Body::from_stream(stream::unfold(0, sent))
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_slowly_in_many_names_keeps_nobody_waiting_for_long() {
        let to = |name: &str| Sender::Unverified(name.to_owned());
        for (names, waits) in [
            (["a", "b", "c", "d"].map(to).to_vec(), to("e")),
            (vec![to("a")], to("a")),
            (vec![Sender::Verified; TURNS[1]], Sender::Verified),
        ] {
            let large = LargeBodies::new();
            // The first one is the slowest.
            let slow = names.iter().enumerate().map(|(number, name)| {
                let pace = (300 + 50 * number) << 10;
                read(slow(LARGE_BYTES * 20, pace), LIMIT, &large, name)
            });
            let quick = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let since = tokio::time::Instant::now();
                let read = read(Body::from(vec![0; LARGE_BYTES * 2]), LIMIT, &large, &waits).await;
                (read.map(|body| body.len()), since.elapsed())
            };
            let (slow, (quick, took)) = join(join_all(slow), quick).await;
            assert_eq!(quick.unwrap(), LARGE_BYTES * 2, "{names:?}");
            // Forges give up after 10 seconds.
            assert!(took < PACE.grace * 2, "{names:?}: {took:?}");
            let refused = slow[0].as_ref().unwrap_err();
            assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
            assert!(refused.message().contains("more slowly than others"), "{}", refused.message());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_behind_many_slow_senders_does_not_wait_for_each_of_them() {
        let (large, to) = (LargeBodies::new(), Sender::Unverified("a".to_owned()));
        let slow = (0..10).map(|_| read(slow(LARGE_BYTES * 20, 300 << 10), LIMIT, &large, &to));
        let quick = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            // Forges give up after 10 seconds.
            let forges = Pace { whole: Duration::from_secs(10), ..PACE };
            read_at_pace(forges, Body::from(vec![0; LARGE_BYTES * 2]), LIMIT, &large, &to).await
        };
        let (slow, quick) = join(join_all(slow), quick).await;
        assert_eq!(quick.unwrap().len(), LARGE_BYTES * 2);
        assert!(slow.iter().all(Result::is_err));
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_enough_comes() {
        let large = LargeBodies::new();
        let turn = large.turn(None, Size::Large, LARGE_BYTES, PACE).await.unwrap();
        let since = turn.since();
        assert_eq!(turn.ends(LARGE_BYTES, PACE) - since, Duration::from_secs(3));
        assert_eq!(turn.ends(LARGE_BYTES * 2, PACE) - since, Duration::from_secs(7));
    }
}
