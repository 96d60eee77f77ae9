//! Limits how many costly requests are answered at once for callers who have not signed in: searches of logs, ranges of
//! logs, zips of artifacts, live streams. Callers who have signed in never wait for a place and are not counted.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{auth::Caller, error::ApiError};

/// Searches at once. Each reads a whole log.
const SEARCHES: usize = 4;
/// Answers with a range or an offset of a log at once. Each also reads what comes before it.
const RANGES: usize = 8;
/// Zips of artifacts at once. Each packs what it sends.
const ZIPS: usize = 4;
/// Live streams at once. Each holds a connection.
const STREAMS: usize = 256;

/// The places shared by all callers who have not signed in.
#[derive(Debug)]
pub(crate) struct Places {
    searches: Arc<Semaphore>,
    ranges: Arc<Semaphore>,
    zips: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// Held while the request is answered. Empty for a caller who has signed in.
#[derive(Debug)]
pub(crate) struct Place(
    #[expect(dead_code, reason = "it is given back when it is dropped")] Option<OwnedSemaphorePermit>,
);

impl Place {
    /// Holds the place until the stream has been sent, or its reader is gone.
    pub(crate) fn held_while<S: Stream>(self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        stream.inspect(move |_| {
            let _held = &self;
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Costly {
    Search,
    Range,
    /// All files of an artifact.
    Zip,
    Stream,
}

impl Default for Places {
    fn default() -> Self {
        let places = |at_once| Arc::new(Semaphore::new(at_once));
        Self { searches: places(SEARCHES), ranges: places(RANGES), zips: places(ZIPS), streams: places(STREAMS) }
    }
}

impl Places {
    /// Takes a place for this caller. Fails at once if all places are taken.
    pub(crate) fn take(&self, caller: &Caller, costly: Costly) -> Result<Place, ApiError> {
        if !caller.is_anonymous() {
            return Ok(Place(None));
        }
        let (places, most, what) = match costly {
            Costly::Search => (&self.searches, SEARCHES, "searches of logs"),
            Costly::Range => (&self.ranges, RANGES, "ranges of logs"),
            Costly::Zip => (&self.zips, ZIPS, "zips of artifacts"),
            Costly::Stream => (&self.streams, STREAMS, "live streams"),
        };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => Ok(Place(Some(place))),
            Err(_) => Err(ApiError::too_many(format!(
                "too many {what}: visitors who are not signed in can have {most} at once; sign in, or try again shortly"
            ))),
        }
    }
}
