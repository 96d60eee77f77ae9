//! The loop that accepts connections and answers their requests, until the shutdown token.

use std::{pin::pin, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::router::{Api, router_until};

/// How long unfinished answers may take after shutdown begins.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// How long a request's head may take, and how long a connection may wait for one: a connection whose client is gone
/// must not stay open for ever. Longer than proxies keep idle connections, so that no request of a proxy meets the end
/// of its connection.
const HEAD_LIMIT: Duration = Duration::from_secs(120);

/// Serves until `shutdown`. Then open streams end, and unfinished answers get half a second.
pub async fn serve(mut listener: TcpListener, api: Api, shutdown: CancellationToken) {
    let router = router_until(api, shutdown.clone());
    let connections = TaskTracker::new();
    while let Some((stream, _)) = shutdown.run_until_cancelled(Listener::accept(&mut listener)).await {
        // A live line is small and must not wait until the previous one is acknowledged (Nagle's algorithm).
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays without TCP_NODELAY");
        }
        connections.spawn(answer(stream, router.clone(), HEAD_LIMIT, shutdown.clone()));
    }
    connections.close();
    // A slow reader of a long log must not keep the process alive; it resumes after the next start.
    let _ = timeout(SHUTDOWN_GRACE, connections.wait()).await;
}

/// Answers all requests of one connection.
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    /// Returns everything that a client receives until its connection ends.
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
