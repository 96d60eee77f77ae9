//! Shows what became of a repository's webhook deliveries.

use axum::extract::State;
use longshore_core::{BuildId, DeliveryId, RepoId, Timestamp};
use longshore_store::{
    Store,
    deliveries::{self, Delivery},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    params::{Path, Query, page_limit, parse_before},
    views::{Page, PageQuery},
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    #[schema(value_type = String, format = "uuid")]
    id: DeliveryId,
    #[schema(value_type = String, format = "uuid")]
    repo: RepoId,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// The event as the forge names it: `push`, `ping`, …
    event: String,
    /// `pending`, `done` (its builds were created), `ignored` or `failed`.
    status: &'static str,
    /// No webhook reported it: it was found by checking the repository.
    found: bool,
    /// Why the delivery was ignored, failed or is retried.
    reason: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// When a pending delivery is processed next.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_try_at: Option<Timestamp>,
    #[schema(value_type = Vec<String>)]
    builds: Vec<BuildId>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let Delivery { id, repo, received_at, event, status, reason, found, finished_at, next_try_at, builds, .. } =
            delivery;
        let next_try_at = finished_at.is_none().then_some(next_try_at);
        Self { id, repo, received_at, event, status: status.as_str(), found, reason, finished_at, next_try_at, builds }
    }
}

/// Lists a repository's webhook deliveries
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}/deliveries", tag = "hooks", security((), ("token" = ["read"])),
    params(("repo" = String, Path, description = "The repository's ID"), PageQuery),
    responses((status = 200, body = Page<DeliveryView>), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn list(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<RepoId>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<DeliveryView>>, ApiError> {
    let repo = caller.repo(&store, id).await?;
    let before = parse_before(query.before.as_deref())?;
    let page = deliveries::list(&store, repo.id, before, page_limit(query.limit)?).await?;
    Ok(axum::Json(Page::from_page(page, DeliveryView::from)))
}

/// Returns a webhook delivery
#[utoipa::path(
    get, path = "/api/v1/deliveries/{delivery}", tag = "hooks", security((), ("token" = ["read"])),
    params(("delivery" = String, Path, description = "The delivery's ID")),
    responses((status = 200, body = DeliveryView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn get(
    State(store): State<Store>,
    caller: Caller,
    Path(id): Path<DeliveryId>,
) -> Result<axum::Json<DeliveryView>, ApiError> {
    match deliveries::get(&store, id).await? {
        Some(delivery) if caller.may_see(&store, delivery.repo).await? => Ok(axum::Json(delivery.into())),
        Some(_) | None => Err(ApiError::not_found("delivery")),
    }
}
