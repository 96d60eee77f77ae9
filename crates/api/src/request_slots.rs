//! Limits how many costly requests are answered at once for callers who have not signed in: searches of logs, ranges of
//! logs, zips of artifacts, live streams, and reads that go through much of the database. Callers who have signed in
//! never wait for a slot and are not counted.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    auth::{Authenticator, Caller},
    error::ApiError,
};

/// Searches at once. Each reads a whole log.
const MAX_SEARCHES: usize = 4;
/// Answers with a range or an offset of a log at once. Each also reads what comes before it.
const MAX_RANGES: usize = 8;
/// Zips of artifacts at once. Each packs what it sends.
const MAX_ZIPS: usize = 4;
/// Live streams at once. Each holds a connection.
const MAX_STREAMS: usize = 256;

/// Reads of [`COSTLY_READS`] at once. The database has a few connections more for everybody else.
const MAX_COSTLY_READS: usize = 2;
/// How long such a read waits for its slot.
const READ_WAITS: Duration = Duration::from_secs(5);

/// The addresses whose answers go through many rows: of all repositories, of all builds of a branch, or of what the
/// jobs of a build reported.
pub(crate) const COSTLY_READS: [&str; 11] = [
    "/cc.xml",
    "/badges/{file}",
    "/api/v1/builds/{build}/tests",
    "/api/v1/builds/{build}/coverage",
    "/api/v1/builds/{build}/annotations",
    "/api/v1/tests/{test}/history",
    "/builds/{build}",
    "/builds/{build}/tests",
    "/builds/{build}/coverage",
    "/builds/{build}/annotations",
    "/tests/{test}",
];

/// The middleware: has a costly read of a caller who has not signed in wait for its slot.
pub(crate) async fn for_costly_reads(
    State(slots): State<Arc<RequestSlots>>,
    State(authenticator): State<Authenticator>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    if !path.is_some_and(|path| COSTLY_READS.contains(&path.as_str())) {
        return next.run(request).await;
    }
    let slot = match authenticator.identify(request.headers()).await {
        Ok(caller) => slots.wait_to_read(&caller).await,
        // The handler says what is wrong with the token.
        Err(_) => Ok(RequestSlot(None)),
    };
    match slot {
        Ok(_slot) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The slots shared by all callers who have not signed in.
#[derive(Debug)]
pub(crate) struct RequestSlots {
    searches: Arc<Semaphore>,
    ranges: Arc<Semaphore>,
    zips: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

/// Held while the request is answered. Empty for a caller who has signed in.
#[derive(Debug)]
pub(crate) struct RequestSlot(
    #[expect(dead_code, reason = "it is given back when it is dropped")] Option<OwnedSemaphorePermit>,
);

impl RequestSlot {
    /// Holds the slot until the stream has been sent, or its reader is gone.
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

impl Default for RequestSlots {
    fn default() -> Self {
        let slots = |at_once| Arc::new(Semaphore::new(at_once));
        Self {
            searches: slots(MAX_SEARCHES),
            ranges: slots(MAX_RANGES),
            zips: slots(MAX_ZIPS),
            streams: slots(MAX_STREAMS),
            reads: slots(MAX_COSTLY_READS),
        }
    }
}

impl RequestSlots {
    /// Takes a slot for this caller. Fails at once if all slots are taken.
    pub(crate) fn take(&self, caller: &Caller, costly: Costly) -> Result<RequestSlot, ApiError> {
        if !caller.is_anonymous() {
            return Ok(RequestSlot(None));
        }
        let (slots, most, what) = match costly {
            Costly::Search => (&self.searches, MAX_SEARCHES, "searches of logs"),
            Costly::Range => (&self.ranges, MAX_RANGES, "ranges of logs"),
            Costly::Zip => (&self.zips, MAX_ZIPS, "zips of artifacts"),
            Costly::Stream => (&self.streams, MAX_STREAMS, "live streams"),
        };
        match Arc::clone(slots).try_acquire_owned() {
            Ok(slot) => Ok(RequestSlot(Some(slot))),
            Err(_) => Err(ApiError::too_many(format!(
                "too many {what}: visitors who are not signed in can have {most} at once; sign in, or try again shortly"
            ))),
        }
    }

    /// Takes a slot for a costly read of this caller, as soon as there is one. Fails if that takes too long.
    async fn wait_to_read(&self, caller: &Caller) -> Result<RequestSlot, ApiError> {
        if !caller.is_anonymous() {
            return Ok(RequestSlot(None));
        }
        match tokio::time::timeout(READ_WAITS, Arc::clone(&self.reads).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(RequestSlot(Some(slot))),
            Ok(Err(_)) | Err(_) => Err(ApiError::too_many(format!(
                "too many visitors who are not signed in read what is costly: {MAX_COSTLY_READS} are answered at once; sign in, or try again shortly"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use axum::{Router, body::Body, extract::FromRef, http::StatusCode, middleware, routing::get};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use longshore_store::Store;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[derive(Clone)]
    struct Parts {
        slots: Arc<RequestSlots>,
        authenticator: Authenticator,
    }

    impl FromRef<Parts> for Arc<RequestSlots> {
        fn from_ref(parts: &Parts) -> Self {
            parts.slots.clone()
        }
    }

    impl FromRef<Parts> for Authenticator {
        fn from_ref(parts: &Parts) -> Self {
            parts.authenticator.clone()
        }
    }

    #[tokio::test]
    async fn a_costly_read_of_the_anonymous_waits_for_a_place_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let hash = Sha256::digest("admin").into();
        let authenticator = Authenticator::new(store, Some(hash), &"http://localhost".parse().unwrap());
        let parts = Parts { slots: Arc::default(), authenticator };
        let router = Router::new()
            .route("/cc.xml", get(async || {}))
            .route("/api/v1/builds", get(async || {}))
            .layer(middleware::from_fn_with_state(parts.clone(), for_costly_reads));
        let service = TowerToHyperService::new(router);
        let ask = async |path: &str, token: Option<&str>| {
            let mut request = axum::http::Request::builder().uri(path);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            service.call(request.body(Body::empty()).unwrap()).await.unwrap().status()
        };
        let mut held = Vec::new();
        for _ in 0..MAX_COSTLY_READS {
            held.push(parts.slots.wait_to_read(&Caller::nobody()).await.unwrap());
        }
        let mut waits = pin!(ask("/cc.xml", None));
        tokio::select! {
            biased;
            answered = &mut waits => panic!("{answered}"),
            other = ask("/api/v1/builds", None) => assert_eq!(other, StatusCode::OK),
        }
        assert_eq!(ask("/cc.xml", Some("admin")).await, StatusCode::OK);
        held.pop();
        assert_eq!(waits.await, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_costly_read_that_gets_no_place_says_so() {
        let slots = RequestSlots::default();
        let held = [slots.wait_to_read(&Caller::nobody()).await, slots.wait_to_read(&Caller::nobody()).await];
        let refused = slots.wait_to_read(&Caller::nobody()).await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(held);
    }
}
