//! `POST /hooks/{repo}`: puts a forge's delivery into the inbox, and does nothing else.
//!
//! It checks in this order: the repository, whether there is a signature, the size, the signature over the raw bytes,
//! whether the body is JSON at all, and whether it is here already. Then it writes one row and answers 202. The ingest loop
//! finds out what the delivery means.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use longshore_core::{DeliveryId, RepoId, Timestamp};
use longshore_forge::{BodyKey, Forge, SignatureError, body_key, delivery_key, signature};
use longshore_store::{
    Store, StoreError,
    deliveries::{self, NewDelivery},
    repos::{self, HookSecret, Repo},
};
use serde::{Serialize, de::IgnoredAny};
use utoipa::ToSchema;

use crate::{
    body::{LargeBodies, Sender, discard, read},
    error::{ApiError, ErrorBody},
    params::Path,
    refused_hooks::{RefusedHooks, explain, is_form},
};

/// The longest body. GitHub sends none longer.
const BODY_LIMIT: usize = 25 << 20;
/// The longest name of an event.
const MAX_EVENT_LEN: usize = 100;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AcceptedBody {
    /// The delivery's ID; `/api/v1/deliveries/{id}` shows its result.
    #[schema(value_type = String, format = "uuid")]
    delivery: DeliveryId,
}

/// Receives a forge's webhook
///
/// The raw body must be signed with the repository's hook secret, in the header that the repository's forge uses. A repeated
/// delivery gets the ID of the first, also under another ID of the forge's if no two events have that body.
#[utoipa::path(
    post, path = "/hooks/{repo}", tag = "hooks",
    params(("repo" = String, Path, description = "The repository's ID")),
    request_body(content_type = "application/json", content = String, description = "The request body exactly as the forge sends it, at most 25 MiB"),
    responses(
        (status = 202, description = "Accepted; builds are created shortly", body = AcceptedBody),
        (status = 400, description = "The signature is valid, but the body is not JSON or the forge's event header is missing", body = ErrorBody),
        (status = 401, description = "The signature is missing or wrong", body = ErrorBody),
        (status = 404, description = "The repository does not exist", body = ErrorBody),
        (status = 408, description = "The request body did not arrive in time", body = ErrorBody),
        (status = 413, description = "The request body is larger than 25 MiB", body = ErrorBody),
    ),
)]
pub(crate) async fn receive(
    State(store): State<Store>,
    State(large_bodies): State<Arc<LargeBodies>>,
    State(refused_hooks): State<Arc<RefusedHooks>>,
    id: Result<Path<RepoId>, ApiError>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, axum::Json<AcceptedBody>), ApiError> {
    let received_at = Timestamp::now();
    let repo = match find_repo(&store, id).await {
        Ok(repo) => repo,
        Err(error) => {
            discard(body);
            return Err(error);
        }
    };
    let (id, name) = (repo.id, repo.name.clone());
    let accepted = accept(&store, &large_bodies, repo, headers, body, received_at).await;
    if let Err(error) = &accepted
        && error.is_about_the_request()
    {
        refused_hooks.report(&store, id, &name, error.message()).await;
    }
    Ok((StatusCode::ACCEPTED, axum::Json(AcceptedBody { delivery: accepted? })))
}

/// Checks a call of a repository's webhook, and puts it into the inbox.
async fn accept(
    store: &Store,
    large_bodies: &LargeBodies,
    repo: Repo,
    headers: HeaderMap,
    body: Body,
    received_at: Timestamp,
) -> Result<DeliveryId, ApiError> {
    let forge: Forge = repo.forge.parse().map_err(ApiError::internal)?;
    if let Err(error) = signature::check_headers(forge, &headers) {
        discard(body);
        return Err(ApiError::unauthorized(explain(&error, forge, &headers)));
    }
    let id = repo.id;
    let body = read(body, BODY_LIMIT, large_bodies, &Sender::Unverified(id.to_string())).await?;
    // Hashing 25 MiB takes longer than a handler may block its thread.
    let delivery = tokio::task::spawn_blocking(move || {
        let verify = |secret: &HookSecret| {
            Ok::<_, StoreError>(signature::verify(forge, &headers, &body, secret.expose()?.as_bytes()))
        };
        let verified = match (verify(&repo.hook_secret)?, &repo.former_hook_secret) {
            (Err(SignatureError::Mismatch { .. }), Some(former)) => verify(former)?,
            (verified, _) => verified,
        };
        verified.map_err(|error| ApiError::unauthorized(explain(&error, forge, &headers)))?;
        check_json(&headers, &body)?;
        let event = event_name(forge, &headers)?;
        let key = delivery_key(forge, &headers, &body);
        let BodyKey { key: body_key, is_unique } = body_key(forge, &event, &body);
        let (body, body_key) = (body.into(), Some(body_key));
        Ok::<_, ApiError>(NewDelivery { repo: id, key, event, body, body_key, is_unique, received_at })
    })
    .await
    .map_err(ApiError::internal)??;
    let mut tx = store.write().await?;
    let accepted = deliveries::accept(&mut tx, &delivery).await?;
    tx.commit().await?;
    Ok(accepted.id)
}

async fn find_repo(store: &Store, id: Result<Path<RepoId>, ApiError>) -> Result<Repo, ApiError> {
    let Path(id) = id?;
    repos::get(store, id).await?.ok_or_else(|| ApiError::not_found("repository"))
}

/// Checks only that the body is JSON. Nothing is kept, and the depth is limited.
fn check_json(headers: &HeaderMap, body: &[u8]) -> Result<(), ApiError> {
    let Err(error) = serde_json::from_slice::<IgnoredAny>(body) else { return Ok(()) };
    let help = if is_form(headers) { ": set the webhook's content type to application/json" } else { "" };
    Err(ApiError::bad_request(format!("the request body is not JSON{help} ({error})")))
}

fn event_name(forge: Forge, headers: &HeaderMap) -> Result<String, ApiError> {
    let Some(name) = forge.event_header() else { return Ok("push".to_owned()) };
    let event = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match event.len() {
        0 => Err(ApiError::bad_request(format!("the header `{name}` is missing"))),
        1..=MAX_EVENT_LEN => Ok(event.to_owned()),
        _ => Err(ApiError::bad_request(format!("the header `{name}` is longer than {MAX_EVENT_LEN} characters"))),
    }
}
