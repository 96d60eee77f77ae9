//! `/repos/{repo}/deliveries`: what became of each webhook delivery, and why; takes one in once more.

use askama::Template;
use axum::{extract::State, response::Response};
use longshore_core::{
    BuildId, DeliveryId, RepoId, Status, Timestamp,
    access::{Action, Object},
};
use longshore_scheduler::{RequestError, Scheduler};
use longshore_store::{
    builds,
    deliveries::{self, Delivery, DeliveryStatus},
    refused_hooks::{self, RefusedHook},
};
use serde::Deserialize;

use super::frame::{Frame, Tab, find_repo};
use crate::{
    error::ApiError,
    pages::{
        head::{Head, Place},
        html::Html,
        post::{NoFields, Post, see_other},
        show,
        site::Site,
        visitor::Visitor,
    },
    params::{self, Path, Query},
};

/// Deliveries on a page.
const DELIVERIES_PER_PAGE: u32 = 40;
/// Builds shown of one delivery.
const MAX_BUILDS: usize = 5;

#[derive(Template)]
#[template(path = "repo/deliveries.html")]
pub(crate) struct Deliveries {
    head: Head,
    repo: Frame,
    rows: Vec<Row>,
    next: Option<i64>,
    first_page: bool,
    /// When the branches and tags were last compared with what webhooks reported.
    looked_at: Option<Timestamp>,
    /// The result of a check that was just asked for.
    looked: Option<String>,
    /// The calls of the webhook that were refused since one was accepted, by reason, for those who may change that.
    refused_hooks: Vec<RefusedHook>,
    /// Whether the forge calls a private address only where its settings list it.
    lists_hosts: bool,
}

struct Row {
    delivery: Delivery,
    /// The builds it became: id, number, status.
    builds: Vec<(BuildId, u64, Status)>,
    more: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DeliveriesQuery {
    before: Option<String>,
    /// How many pushes the check that was just requested has found, and how many more are not built.
    found: Option<usize>,
    left_out: Option<usize>,
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<RepoId>,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Html<Deliveries>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "").follows("delivery build", Some(id));
    let repo = find_repo(&site.store, &visitor, id).await?;
    let before = params::parse_before(query.before.as_deref())?;
    let page = deliveries::list(&site.store, id, before, DELIVERIES_PER_PAGE).await?;
    let mut rows = Vec::with_capacity(page.items.len());
    for delivery in page.items {
        let mut became = Vec::new();
        for build in delivery.builds.iter().take(MAX_BUILDS) {
            if let Some(build) = builds::get(&site.store, *build).await? {
                became.push((build.id, build.number, show::standing(&build)));
            }
        }
        let more = delivery.builds.len().saturating_sub(MAX_BUILDS);
        rows.push(Row { delivery, builds: became, more });
    }
    let frame = Frame::new(&visitor, &repo, Tab::Deliveries);
    let refused_hooks =
        if frame.may_change { refused_hooks::since_accepted(&site.store, id).await? } else { Vec::new() };
    Ok(Html(Deliveries {
        head: head.titled(format!("Deliveries of {}", repo.name)),
        lists_hosts: matches!(repo.forge.as_str(), "gitea" | "forgejo"),
        repo: frame,
        rows,
        next: page.next,
        first_page: before.is_none(),
        looked_at: repo.looked_at,
        refused_hooks,
        looked: query.found.map(|found| say_found(found, query.left_out.unwrap_or(0))),
    }))
}

/// Compares the repository's branches and tags with what webhooks reported.
pub(crate) async fn look(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<RepoId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Action::Redeliver, Object::SomeRepo)?;
    visitor.caller.repo_to(&site.store, Action::Redeliver, id).await?;
    let found = match scheduler.check_for_missed_pushes(id).await {
        Ok(checked) => format!("?found={}&left_out={}", checked.found.len(), checked.left_out),
        // The page says it.
        Err(RequestError::GitHost(_)) => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(see_other(&format!("/repos/{id}/deliveries{found}")))
}

/// Describes the result of a check.
fn say_found(found: usize, left_out: usize) -> String {
    let mut text = match found {
        0 => "No missed pushes: webhooks reported all of them.".to_owned(),
        1 => "Found one push that no webhook reported. It is being built.".to_owned(),
        more => format!("Found {more} pushes that no webhook reported. They are being built."),
    };
    if left_out > 0 {
        text.push_str(&format!(" {left_out} more are not built: that many at once look like an import."));
    }
    text
}

/// Takes the same bytes in once more, as a delivery of its own.
pub(crate) async fn redeliver(
    State(site): State<Site>,
    Path(id): Path<DeliveryId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Action::Redeliver, Object::SomeRepo)?;
    let delivery = deliveries::get(&site.store, id).await?.ok_or_else(|| ApiError::not_found("delivery"))?;
    let found = visitor.caller.repo_to(&site.store, Action::Redeliver, delivery.repo).await;
    found.map_err(|error| error.with_noun("delivery"))?;
    let mut tx = site.store.write().await?;
    let (repo, new) = deliveries::redeliver(&mut tx, id, Timestamp::now()).await?;
    tx.commit().await?;
    tracing::info!(delivery = %id, %new, by = visitor.caller.name(), "a delivery was repeated");
    Ok(see_other(&format!("/repos/{repo}/deliveries")))
}

impl Row {
    /// Returns whether a pending delivery has been tried, and is tried again later.
    fn waits(&self) -> bool {
        self.delivery.status == DeliveryStatus::Pending && self.delivery.attempts > 0
    }
}
