//! The layer that gives every request that changes something its record in the audit log. All routes and pages pass it:
//! a handler does nothing for its record, and no record is forgotten.
//!
//! The record is carried while the request is handled, and written by the transaction that changes something
//! (`longshore_store::audit`). Refusals, and requests that change nothing in the store, are written here, before the
//! answer goes out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use longshore_core::{Timestamp, access::Actor};
use longshore_store::{
    Store, StoreError,
    audit::{self, Decision, Entry, Pending},
};
use serde_json::{Map, Value};

use crate::{auth::Authenticator, error::ApiError};

/// How much is recorded of what was refused: anybody can send such requests, and none of them is lost uncounted.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);
const REFUSED_OF_NOBODY: u32 = 60;
const REFUSED_OF_SOMEBODY: u32 = 600;

/// The fields that name the object if the address does not, the first that is given.
const NAME_FIELDS: [&str; 4] = ["name", "host", "ref", "kind"];

/// Returns what a request to this route does, `None` for the route of webhooks: deliveries are records of their own.
///
/// A route that is missing here is recorded by its method and address.
#[must_use]
pub fn action(method: &str, path: &str) -> Option<String> {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let known = match (method, path) {
        ("POST", "/hooks/{repo}") => return None,
        // The webhook of a GitHub App: people ask for reruns at GitHub.
        ("POST", "/hooks/apps/{connection}") => "build.rerun",
        ("POST", "/sign-in") => "session.open",
        ("POST", "/sign-out" | "/access/sessions/{session}/end") => "session.end",
        ("POST", "/sign-in-links") => "session.link",
        ("POST", "/tokens" | "/access/tokens") => "token.create",
        ("DELETE", "/tokens/{token}") | ("POST", "/access/tokens/{token}/revoke") => "token.revoke",
        ("POST", "/repos" | "/repos/new" | "/connections/{connection}/register") => "repo.add",
        ("PATCH", "/repos/{repo}") | ("POST", "/repos/{repo}/settings") => "repo.change",
        ("DELETE", "/repos/{repo}") | ("POST", "/repos/{repo}/remove") => "repo.remove",
        ("POST", "/repos/{repo}/hook-secret") => "repo.renew-hook-secret",
        ("DELETE", "/repos/{repo}/hook-secret/former") | ("POST", "/repos/{repo}/hook-secret/former/reject") => {
            "repo.reject-former-hook-secret"
        }
        ("POST", "/repos/{repo}/connection") => "repo.connect",
        ("POST", "/repos/{repo}/look") => "repo.look",
        ("POST", "/repos/{repo}/deploy-key") => "deploy-key.create",
        ("DELETE", "/repos/{repo}/deploy-key") | ("POST", "/repos/{repo}/deploy-key/remove") => "deploy-key.remove",
        ("PUT", "/repos/{repo}/secrets/{name}") | ("POST", "/repos/{repo}/secrets") => "secret.set",
        ("DELETE", "/repos/{repo}/secrets/{name}") | ("POST", "/repos/{repo}/secrets/remove") => "secret.remove",
        ("PUT", "/registries/{host}" | "/repos/{repo}/registries/{host}") => "registry.set",
        ("DELETE", "/registries/{host}" | "/repos/{repo}/registries/{host}") => "registry.remove",
        ("POST", "/connections") => "connection.set",
        ("DELETE", "/connections/{connection}") | ("POST", "/connections/{connection}/remove") => "connection.remove",
        ("POST", "/notifications" | "/repos/{repo}/notifications") => "notification.add",
        ("DELETE", "/notifications/{notification}" | "/repos/{repo}/notifications/{notification}")
        | ("POST", "/notifications/{notification}/remove" | "/repos/{repo}/notifications/{notification}/remove") => {
            "notification.remove"
        }
        ("POST", "/notifications/{notification}/test" | "/repos/{repo}/notifications/{notification}/test") => {
            "notification.test"
        }
        ("DELETE", "/repos/{repo}/caches/{cache}") | ("POST", "/repos/{repo}/caches/{cache}/remove") => "cache.remove",
        ("POST", "/deliveries/{delivery}/redeliver") => "delivery.redeliver",
        ("POST", "/repos/{repo}/builds" | "/repos/{repo}/run") => "build.start",
        ("POST", "/builds/{build}/cancel") => "build.cancel",
        ("POST", "/builds/{build}/rerun") => "build.rerun",
        ("POST", "/builds/{build}/approve") => "build.approve",
        ("POST", "/jobs/{job}/cancel") => "job.cancel",
        ("POST", "/jobs/{job}/rerun") => "job.rerun",
        ("POST", "/jobs/{job}/approve") => "job.approve",
        ("POST", "/jobs/{job}/decline") => "job.decline",
        _ => return Some(format!("{method} {path}")),
    };
    Some(known.to_owned())
}

/// The state of the layer.
#[derive(Debug, Clone)]
pub(crate) struct Auditor {
    pub(crate) store: Store,
    pub(crate) authenticator: Authenticator,
    pub(crate) flood: Arc<Flood>,
}

/// The middleware.
pub(crate) async fn record(State(auditor): State<Auditor>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let route = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let Some(action) = route.and_then(|route| action(parts.method.as_str(), &route)) else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let actor = match auditor.authenticator.identify(&parts.headers).await {
        Ok(caller) if !caller.is_anonymous() => Some(caller.actor()),
        // The handler finds out the same, and refuses.
        Ok(_) | Err(_) => None,
    };
    let mut entry = match &actor {
        Some(actor) => Entry::by(actor, action),
        None => Entry { via: "anonymous".to_owned(), ..Entry::by(&Actor::default(), action) },
    };
    if let Ok(params) = RawPathParams::from_request_parts(&mut parts, &()).await {
        for (name, value) in &params {
            match name {
                "repo" => entry.repo = value.parse().ok(),
                "build" => entry.build = value.parse().ok(),
                "job" => entry.job = value.parse().ok(),
                _ => entry.object = value.to_owned(),
            }
        }
    }
    let pending = Pending::new(entry);
    let response = Pending::carry(Some(pending.clone()), next.run(Request::from_parts(parts, body))).await;
    let decision = decision(response.status());
    let (entry, is_written) = pending.outcome();
    if is_written && decision == Decision::Allowed {
        return response;
    }
    let mut reason =
        response.extensions().get::<ApiError>().map(|error| error.message().to_owned()).unwrap_or_default();
    if decision != Decision::Allowed {
        match auditor.flood.admit(actor.is_some()) {
            None => return response,
            Some(0) => {}
            Some(more) => reason = format!("{reason} ({more} more that were refused before are not recorded)"),
        }
    }
    if let Err(error) = write(&auditor.store, Entry { decision, reason, ..entry }).await {
        tracing::error!(%error, "could not record a request in the audit log");
    }
    response
}

async fn write(store: &Store, entry: Entry) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    audit::record(&mut tx, entry, Timestamp::now()).await?;
    tx.commit().await.map(drop)
}

fn decision(status: StatusCode) -> Decision {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Decision::Denied,
        status if status.is_client_error() || status.is_server_error() => Decision::Failed,
        _ => Decision::Allowed,
    }
}

/// Notes which fields a JSON body gives.
pub(crate) fn note_json(body: &[u8]) {
    if let Ok(Value::Object(fields)) = serde_json::from_slice(body) {
        note(&fields);
    }
}

/// Notes which fields a form gives.
pub(crate) fn note_form(body: &[u8]) {
    if let Ok(pairs) = serde_urlencoded::from_bytes::<Vec<(String, String)>>(body) {
        let given = pairs.into_iter().filter(|(name, value)| name != "csrf" && !value.is_empty());
        note(&given.map(|(name, value)| (name, Value::String(value))).collect());
    }
}

fn note(fields: &Map<String, Value>) {
    Pending::describe_carried(|entry| {
        entry.fields = fields.keys().cloned().collect();
        if entry.object.is_empty()
            && let Some(name) = NAME_FIELDS.iter().find_map(|key| fields.get(*key)?.as_str())
        {
            entry.object = name.to_owned();
        }
    });
}

/// Counts what was refused, so that nobody fills the disk with it.
#[derive(Debug, Default)]
pub(crate) struct Flood(Mutex<[Counted; 2]>);

#[derive(Debug, Default)]
struct Counted {
    since: Option<Instant>,
    recorded: u32,
    left_out: u32,
}

impl Flood {
    /// Returns how many were left out since the last that was recorded; `None` leaves this one out.
    fn admit(&self, is_somebody: bool) -> Option<u32> {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (counted, most) = match is_somebody {
            true => (&mut both[0], REFUSED_OF_SOMEBODY),
            false => (&mut both[1], REFUSED_OF_NOBODY),
        };
        if counted.since.is_none_or(|since| since.elapsed() > REFUSED_WITHIN) {
            (counted.since, counted.recorded) = (Some(Instant::now()), 0);
        }
        if counted.recorded >= most {
            counted.left_out += 1;
            return None;
        }
        counted.recorded += 1;
        Some(std::mem::take(&mut counted.left_out))
    }
}
