//! The server: what handlers share, the routes, and the loop that serves them until the shutdown token.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware,
    serve::Listener,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use longshore_core::Timestamp;
use longshore_scheduler::Scheduler;
use longshore_store::Store;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ApiError,
    body::LargeBodies,
    host, layers,
    logs::{Tails, line_stream::LineShow, live::EventShow},
    metrics::Requests,
    pages,
    places::Places,
    public_url::{BasePath, PublicUrl},
    routes,
};

/// How long running answers may take once the end was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// How long a request's head may take, and how long a connection may wait for one: those whose clients are gone hold nothing for
/// ever. Longer than proxies keep theirs, so that no request of a proxy's meets the end of its connection.
const HEAD_LIMIT: Duration = Duration::from_secs(120);

/// What the binary gives to [`serve`].
#[derive(Debug, Clone)]
pub struct Api {
    pub store: Store,
    pub scheduler: Scheduler,
    pub config: ApiConfig,
}

/// Facts and settings of this process.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    pub public_url: PublicUrl,
    /// Names beside that address's which people reach the server by.
    pub more_hosts: Vec<String>,
    /// SHA-256 of the administrator's token; without one only stored tokens count.
    pub admin_token_hash: Option<[u8; 32]>,
    /// Jobs at once.
    pub capacity: usize,
    pub version: &'static str,
    pub started_at: Timestamp,
    /// Whether the engine answers, as it is known now: asked by `/readyz`, must not block.
    pub engine: EngineProbe,
}

/// Says why no job could be run now; nothing where one could.
#[derive(Clone)]
pub struct EngineProbe(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl EngineProbe {
    pub fn new(probe: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(probe))
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        (self.0)()
    }
}

impl fmt::Debug for EngineProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineProbe(..)")
    }
}

/// What every handler reaches.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) scheduler: Scheduler,
    pub(crate) config: ApiConfig,
    /// Ends the open streams.
    pub(crate) shutdown: CancellationToken,
    pub(crate) large_bodies: LargeBodies,
    pub(crate) requests: Requests,
    pub(crate) places: Places,
    /// What followers of logs share.
    pub(crate) event_tails: Tails<EventShow>,
    pub(crate) line_tails: Tails<LineShow>,
}

impl Server {
    /// What stands before every address of the server's as browsers know it.
    pub(crate) fn base(&self) -> &BasePath {
        self.config.public_url.base()
    }
}

/// Serves until `shutdown`: then open streams end, and running answers get half a second.
pub async fn serve(mut listener: TcpListener, api: Api, shutdown: CancellationToken) {
    let router = router_until(api, shutdown.clone());
    let connections = TaskTracker::new();
    while let Some((stream, _)) = shutdown.run_until_cancelled(Listener::accept(&mut listener)).await {
        // A live line is small and must not wait for the one before to be acknowledged.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays without TCP_NODELAY");
        }
        connections.spawn(answer(stream, router.clone(), HEAD_LIMIT, shutdown.clone()));
    }
    connections.close();
    // A slow reader of a long log does not keep the process; it resumes at the next start.
    let _ = timeout(SHUTDOWN_GRACE, connections.wait()).await;
}

/// Answers the requests of one connection.
async fn answer<S>(stream: S, router: Router, head_limit: Duration, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_limit);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// The routes, for tests that bring their own way of serving; open streams end when it is dropped with its connections.
pub fn router(api: Api) -> Router {
    router_until(api, CancellationToken::new())
}

fn router_until(api: Api, shutdown: CancellationToken) -> Router {
    let Api { store, scheduler, config } = api;
    let server = Arc::new(Server {
        store,
        scheduler,
        config,
        shutdown,
        large_bodies: LargeBodies::new(),
        requests: Requests::default(),
        places: Places::default(),
        event_tails: Tails::default(),
        line_tails: Tails::default(),
    });
    let (router, _) = routes::all().split_for_parts();
    let router = router
        .merge(pages::routes())
        .fallback(async |State(server): State<Arc<Server>>| ApiError::no_address(server.base()))
        .method_not_allowed_fallback(async |State(server): State<Arc<Server>>| {
            ApiError::method_not_allowed(server.base())
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&server), host::check))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), pages::html::errors_as_pages))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), layers::around))
        .with_state(Arc::clone(&server));
    // Taken off before the routes are looked at: a proxy may have left it on, or not.
    let without_base =
        middleware::map_request_with_state(server, async |State(server): State<Arc<Server>>, request: Request| {
            server.base().taken_off(request)
        });
    Router::new().fallback_service(router).layer(without_base)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    /// What a client is sent, until the end of its connection.
    async fn answer_to(sent: &str, router: Router) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let answering = tokio::spawn(answer(server, router, LIMIT, CancellationToken::new()));
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        answering.await.unwrap();
        received
    }

    #[tokio::test]
    async fn a_connection_whose_client_is_silent_is_closed() {
        assert_eq!(answer_to("", Router::new()).await, "");
        assert_eq!(answer_to("GET / HTTP/1.1\r\nHost:", Router::new()).await, "");
        assert!(answer_to("GET / HTTP/1.1\r\n\r\n", Router::new()).await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn an_answer_may_take_longer_than_its_question() {
        let slow = Router::new().route("/", get(async || tokio::time::sleep(LIMIT * 5).await));
        assert!(answer_to("GET / HTTP/1.1\r\n\r\n", slow).await.starts_with("HTTP/1.1 200"));
    }
}
