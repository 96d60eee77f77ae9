//! Reports whether the server is alive, and whether it can do its work now. Neither answer reveals anything that needs
//! a token.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use longshore_store::{Store, deliveries};
use tokio_util::sync::CancellationToken;

use crate::config::ApiConfig;

/// Returns 200 while the server responds
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Returns 200 if the store can be read and the Docker engine responds
#[utoipa::path(
    get, path = "/readyz", tag = "server",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 503, description = "What is not ready, one per line", body = String, content_type = "text/plain"),
    ),
)]
pub(crate) async fn ready(
    State(store): State<Store>,
    State(config): State<Arc<ApiConfig>>,
    State(shutdown): State<CancellationToken>,
) -> Response {
    let mut trouble = String::new();
    if let Err(error) = deliveries::next_due(&store, longshore_core::Timestamp::now()).await {
        tracing::error!(%error, "the store cannot be read");
        trouble.push_str("store: unavailable; see the server's log\n");
    }
    if let Some(words) = config.engine.trouble() {
        let _ = writeln!(trouble, "engine: {words}");
    }
    if shutdown.is_cancelled() {
        trouble.push_str("server: shutting down\n");
    }
    if trouble.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, trouble).into_response()
    }
}
