//! Limits how many costly requests are answered at once, so that no caller holds the threads and cores that all others
//! need: searches of logs, ranges of logs and zips of artifacts; for callers who have not signed in also live streams,
//! and reads that go through much of the database.
//!
//! Those who have not signed in share a few slots, and are refused if none is free. Those who have wait a while for one
//! of their token's, of which there are fewer than of all tokens together: one token takes none from the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, StreamExt as _};
use longshore_core::TokenId;
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

/// Of each kind, for each token, with the sessions that it opened. The administrator's counts as one.
const MAX_OF_TOKEN: usize = 8;
/// Of each kind, for all tokens together. Each may hold a thread, of which the server has 512 for everything.
const MAX_OF_TOKENS: usize = 64;
/// How long a caller who has signed in waits for such a slot.
const TOKEN_WAITS: Duration = Duration::from_secs(20);

/// Reads of [`COSTLY_READS`] at once. The database has a few connections more for everybody else.
const MAX_COSTLY_READS: usize = 2;
/// How long such a read waits for its slot.
const READ_WAITS: Duration = Duration::from_secs(5);

/// The addresses whose answers go through many rows: of all repositories, of all builds of one or of a branch, or of
/// what the jobs of a build reported.
pub(crate) const COSTLY_READS: [&str; 16] = [
    "/",
    "/queue",
    "/repos/{repo}",
    "/api/v1/builds",
    "/api/v1/repos/{repo}/builds",
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
        Err(_) => Ok(RequestSlot::default()),
    };
    match slot {
        Ok(_slot) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The slots of all callers.
#[derive(Debug)]
pub(crate) struct RequestSlots {
    searches: Kind,
    ranges: Kind,
    zips: Kind,
    /// The last two are for those who have not signed in.
    streams: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

/// The slots of one kind of request.
#[derive(Debug)]
struct Kind {
    anonymous: Arc<Semaphore>,
    of_tokens: Arc<Semaphore>,
    /// Those of each token that has a request; `None` is the administrator's.
    of_each: Mutex<HashMap<Option<TokenId>, Arc<Semaphore>>>,
}

impl Kind {
    fn new(anonymous: usize) -> Self {
        Self {
            anonymous: Arc::new(Semaphore::new(anonymous)),
            of_tokens: Arc::new(Semaphore::new(MAX_OF_TOKENS)),
            of_each: Mutex::default(),
        }
    }

    fn of(&self, token: Option<TokenId>) -> Arc<Semaphore> {
        let mut of_each = self.of_each.lock().unwrap_or_else(PoisonError::into_inner);
        of_each.retain(|_, slots| Arc::strong_count(slots) > 1);
        Arc::clone(of_each.entry(token).or_insert_with(|| Arc::new(Semaphore::new(MAX_OF_TOKEN))))
    }

    /// Waits for a slot of the token, and then for one of all: whoever waits holds none of the others'.
    async fn wait_for(&self, token: Option<TokenId>) -> Option<RequestSlot> {
        let slots = async {
            let own = self.of(token).acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.of_tokens).acquire_owned().await.ok()?;
            Some(RequestSlot { _held: vec![own, of_all] })
        };
        tokio::time::timeout(TOKEN_WAITS, slots).await.ok().flatten()
    }
}

/// Held while the request is answered. Empty where the caller is not counted.
#[derive(Debug, Default)]
pub(crate) struct RequestSlot {
    _held: Vec<OwnedSemaphorePermit>,
}

impl From<OwnedSemaphorePermit> for RequestSlot {
    fn from(slot: OwnedSemaphorePermit) -> Self {
        Self { _held: vec![slot] }
    }
}

impl RequestSlot {
    /// Does the work to its end, also if the client is gone before, and holds the slot so long.
    pub(crate) async fn held_for<T: Send + 'static>(
        self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let done = tokio::spawn(async move {
            let _held = self;
            work.await
        });
        done.await.map_err(ApiError::internal)
    }

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
            searches: Kind::new(MAX_SEARCHES),
            ranges: Kind::new(MAX_RANGES),
            zips: Kind::new(MAX_ZIPS),
            streams: slots(MAX_STREAMS),
            reads: slots(MAX_COSTLY_READS),
        }
    }
}

impl RequestSlots {
    /// Takes a slot for this caller. Fails if all slots are taken: at once for a caller who has not signed in.
    pub(crate) async fn take(&self, caller: &Caller, costly: Costly) -> Result<RequestSlot, ApiError> {
        let (kind, most, what) = match costly {
            Costly::Search => (Some(&self.searches), MAX_SEARCHES, "searches of logs"),
            Costly::Range => (Some(&self.ranges), MAX_RANGES, "ranges of logs"),
            Costly::Zip => (Some(&self.zips), MAX_ZIPS, "zips of artifacts"),
            Costly::Stream => (None, MAX_STREAMS, "live streams"),
        };
        if let Some(opener) = caller.opener() {
            let Some(kind) = kind else { return Ok(RequestSlot::default()) };
            return kind.wait_for(opener.token).await.ok_or_else(|| {
                ApiError::too_many(format!(
                    "too many {what}: a token and its sessions can have {MAX_OF_TOKEN} at once, all tokens together \
                     {MAX_OF_TOKENS}; try again when others have ended"
                ))
            });
        }
        let slots = kind.map_or(&self.streams, |kind| &kind.anonymous);
        match Arc::clone(slots).try_acquire_owned() {
            Ok(slot) => Ok(slot.into()),
            Err(_) => Err(ApiError::too_many(format!(
                "too many {what}: visitors who are not signed in can have {most} at once; sign in, or try again shortly"
            ))),
        }
    }

    /// Takes a slot for a costly read of this caller, as soon as there is one. Fails if that takes too long.
    async fn wait_to_read(&self, caller: &Caller) -> Result<RequestSlot, ApiError> {
        if !caller.is_anonymous() {
            return Ok(RequestSlot::default());
        }
        match tokio::time::timeout(READ_WAITS, Arc::clone(&self.reads).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot.into()),
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
            .route("/api/v1/repos", get(async || {}))
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
        let mut lists = pin!(ask("/api/v1/builds", None));
        tokio::select! {
            biased;
            answered = &mut waits => panic!("{answered}"),
            answered = &mut lists => panic!("{answered}"),
            other = ask("/api/v1/repos", None) => assert_eq!(other, StatusCode::OK),
        }
        assert_eq!(ask("/cc.xml", Some("admin")).await, StatusCode::OK);
        held.pop();
        assert_eq!(waits.await, StatusCode::OK);
        assert_eq!(lists.await, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_holds_all_its_slots_waits_and_is_refused_while_others_have_theirs() {
        let slots = RequestSlots::default();
        let [one, other] = [TokenId::new(), TokenId::new()].map(Some);
        let mut held = Vec::new();
        for _ in 0..MAX_OF_TOKEN {
            held.push(slots.zips.wait_for(one).await.unwrap());
        }
        assert!(slots.zips.wait_for(one).await.is_none());
        assert!(slots.zips.wait_for(other).await.is_some() && slots.searches.wait_for(one).await.is_some());
        // Whoever waits gets the slot of the first that ends.
        let mut waits = pin!(slots.zips.wait_for(one));
        tokio::select! {
            biased;
            _ = &mut waits => panic!("there was none"),
            () = std::future::ready(()) => drop(held.pop()),
        }
        assert!(waits.await.is_some());
        drop(held);
        assert!(slots.zips.wait_for(other).await.is_some());
        assert_eq!(slots.zips.of_each.lock().unwrap().len(), 1, "who has no request is forgotten");
        assert_eq!(slots.zips.of_tokens.available_permits(), MAX_OF_TOKENS);
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
