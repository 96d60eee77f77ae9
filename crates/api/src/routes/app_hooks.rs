//! `POST /hooks/apps/{connection}`: the webhook of a GitHub App, by which people ask for reruns at GitHub. Pushes and
//! pull requests come by the repositories' own webhooks.
//!
//! Only a hash of the body is kept, of a request of which something came: the rerun is made before the answer, and what
//! could not be made can be asked for again, there or by sending the delivery once more. A caller without a valid signature does not learn which connections exist.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use longshore_core::{BuildId, ConnectionId};
use longshore_forge::{Forge, checks, signature};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    body::{LargeBodies, Sender, discard, read},
    check_reruns::CheckReruns,
    error::{ApiError, ErrorBody},
    forges::Forges,
    params::Path,
};

/// The longest body. GitHub sends none longer.
const BODY_LIMIT: usize = 25 << 20;

#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct AskedBody {
    /// The builds that were made; none if the delivery asks for nothing
    #[schema(value_type = Vec<String>)]
    builds: Vec<BuildId>,
}

/// Receives the webhook of a GitHub App: reruns that people ask for at check runs
///
/// The raw body must be signed with the secret that Longshore gave the App when it was connected.
#[utoipa::path(
    post, path = "/hooks/apps/{connection}", tag = "hooks",
    params(("connection" = String, Path, description = "The connection's ID")),
    request_body(content_type = "application/json", content = String, description = "The request body exactly as GitHub sends it, at most 25 MiB"),
    responses(
        (status = 202, description = "What was asked for was started; of other events nothing", body = AskedBody),
        (status = 400, description = "The signature is valid, but the body is not such an event", body = ErrorBody),
        (status = 401, description = "The signature is missing or wrong, or there is no such connection", body = ErrorBody),
        (status = 403, description = "Whoever asks may not write to the repository", body = ErrorBody),
        (status = 404, description = "The repository or the build is not here", body = ErrorBody),
        (status = 409, description = "The build is not over, or its rerun is not, or the same request was delivered before", body = ErrorBody),
        (status = 413, description = "The request body is larger than 25 MiB", body = ErrorBody),
        (status = 502, description = "GitHub does not say who may write", body = ErrorBody),
    ),
)]
pub(crate) async fn receive(
    State(forges): State<Forges>,
    State(reruns): State<CheckReruns>,
    State(large_bodies): State<Arc<LargeBodies>>,
    id: Result<Path<ConnectionId>, ApiError>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<AskedBody>), ApiError> {
    let refused = || ApiError::unauthorized("the signature is missing or wrong: connect the App again to renew it");
    if signature::check_headers(Forge::Github, &headers).is_err() {
        discard(body);
        return Err(refused());
    }
    let secret = match id {
        Ok(Path(id)) => forges.app_hook_secret(id).await?.map(|secret| (id, secret)),
        Err(_) => None,
    };
    // All unknown connections together have one share.
    let share = secret.as_ref().map(|(id, _)| id.to_string()).unwrap_or_default();
    let body = read(body, BODY_LIMIT, &large_bodies, &Sender::Unverified(share)).await?;
    let (id, secret) = secret.ok_or_else(refused)?;
    // Hashing 25 MiB takes longer than a handler may block its thread.
    let asked = tokio::task::spawn_blocking(move || {
        signature::verify(Forge::Github, &headers, &body, secret.as_bytes()).map_err(|_| refused())?;
        let event = headers.get("x-github-event").and_then(|value| value.to_str().ok()).unwrap_or_default();
        checks::parse(event, &body).map_err(|error| ApiError::bad_request(error.to_string()))
    });
    let builds = match asked.await.map_err(ApiError::internal)?? {
        Some(request) => reruns.start(&forges, id, request).await?,
        None => Vec::new(),
    };
    Ok((StatusCode::ACCEPTED, Json(AskedBody { builds })))
}
