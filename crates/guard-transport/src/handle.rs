//! A request, from its head to the head of its answer.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Request, Response, StatusCode};
use longshore_guard::audit::{Entry, Outcome};
use longshore_guard::{
    BodyKind, Decision, EngineBody, Head, Headers, Local, NO_BUILDKIT, Prune, Refusal, Rule, printable,
};
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::forward::{forward, load};
use crate::proxy::Proxy;
use crate::push;

/// Why a request got no answer of the engine.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    /// The engine could not be reached, or its answer is invalid.
    Engine(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Failure {
    pub(crate) fn engine(reason: impl Into<String>) -> Self {
        Self::Engine(reason.into())
    }
}

/// A request's entry for the audit log, as it is collected.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    route: String,
    pub(crate) object: String,
}

/// Answers a request, and records the request and the decision in the audit log.
pub(crate) async fn handle(proxy: &Arc<Proxy>, request: Request<Incoming>, stop: CancellationToken) -> Response<Body> {
    let (started, at) = (Instant::now(), SystemTime::now());
    let method = request.method().as_str().to_owned();
    let upgrades = request.headers().contains_key(UPGRADE);
    let mut trace = Trace { route: printable(request.uri().path()).chars().take(200).collect(), object: String::new() };
    if let Err(error) = proxy.record_waiting() {
        return unrecorded(&error);
    }
    let frozen = proxy.guard().frozen();
    let outcome = match frozen {
        Some(refusal) => Err(Failure::Refused(refusal)),
        None => answer(proxy, request, &mut trace, stop).await,
    };
    let mut entry = Entry {
        object: trace.object,
        took: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ..allowed(proxy, at, &printable(&method), &trace.route)
    };
    let mut response = match outcome {
        Ok(response) => response,
        Err(Failure::Refused(refusal)) => {
            match refusal.rule {
                // Usually, a client asks whether an object exists.
                Rule::Foreign | Rule::Frozen => {
                    tracing::debug!(client = entry.client, reason = refusal.reason, "not answered")
                }
                rule => tracing::info!(client = entry.client, %rule, reason = refusal.reason, "refused"),
            }
            entry.decision = Outcome::Denied;
            entry.rule = refusal.rule.to_string();
            entry.reason.clone_from(&refusal.reason);
            proxy.note_refusal(&refusal, &format!("{} {}", entry.method, entry.route), entry.at);
            message(refusal.rule.status(), &refusal.body())
        }
        Err(Failure::Engine(reason)) => {
            tracing::warn!(client = entry.client, reason, "the engine did not answer");
            entry.decision = Outcome::Failed;
            entry.reason = printable(&reason);
            let text = serde_json::json!({ "message": format!("longshore guard: {}", entry.reason) });
            message(502, &text.to_string())
        }
    };
    entry.status = response.status().as_u16();
    if let Err(error) = proxy.record(entry) {
        response = unrecorded(&error);
    }
    // After a request for a stream, what the client sends is not another request.
    if upgrades && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn unrecorded(error: &std::io::Error) -> Response<Body> {
    tracing::error!(%error, "the audit log cannot be written: all requests are refused");
    message(500, r#"{"message":"longshore guard: the audit log cannot be written"}"#)
}

/// Returns the entry of a request that is allowed.
pub(crate) fn allowed(proxy: &Proxy, at: SystemTime, method: &str, route: &str) -> Entry {
    let since = at.duration_since(UNIX_EPOCH).ok();
    Entry {
        at: since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or_default(),
        client: proxy.guard().policy().client(),
        method: method.to_owned(),
        route: route.to_owned(),
        object: String::new(),
        decision: Outcome::Allowed,
        rule: String::new(),
        reason: String::new(),
        status: 0,
        took: 0,
    }
}

fn message(status: u16, json: &str) -> Response<Body> {
    let mut response = Response::new(body::full(Bytes::copy_from_slice(json.as_bytes())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // The body of a refused request is not read to its end.
    if matches!(status, 400 | 413 | 415) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer(
    proxy: &Arc<Proxy>,
    mut request: Request<Incoming>,
    trace: &mut Trace,
    stop: CancellationToken,
) -> Result<Response<Body>, Failure> {
    let wants_stream = wants_stream(request.headers())?;
    let api = proxy.guard().engine().api;
    let target = match request.uri().path_and_query() {
        Some(target) if request.uri().scheme().is_none() => target.as_str().to_owned(),
        _ => return Err(refusal(Rule::Syntax, "the request's target is not a path").into()),
    };
    let media = request.headers().get_all(CONTENT_TYPE).iter().map(|value| text(CONTENT_TYPE.as_str(), value));
    let media = media.collect::<Result<Vec<_>, _>>()?.join(",");
    let headers = Headers { content_type: Some(&media), ..read_headers(request.headers())? };
    let head = Head::parse(request.method().as_str(), &target, headers, api)?;
    head.route().clone_into(&mut trace.route);
    let kind = head.body_kind();
    let client = wants_stream.then(|| hyper::upgrade::on(&mut request));
    let incoming = request.into_body();
    let ((bytes, large), incoming) = match kind {
        BodyKind::Tar => ((Bytes::new(), None), Some(incoming)),
        BodyKind::Empty | BodyKind::Json => (proxy.read_json(incoming).await?, None),
    };
    let judged = head.read(&bytes)?;
    proxy.learn_instance(&judged);
    let unknown = proxy.guard().unknown_containers(&judged);
    for reference in unknown {
        let found = proxy.engine.get(&format!("/containers/{reference}/json")).await.map_err(Failure::Engine)?;
        proxy.change(|guard| guard.learn_container(&reference, found.as_ref()));
    }
    let unknown = proxy.guard().unknown_images(&judged);
    for reference in unknown {
        learn(proxy, &reference).await?;
    }
    if proxy.guard().names_anonymous_volumes(&judged) {
        let containers = proxy.own_containers().await.map_err(Failure::Engine)?;
        proxy.change(|guard| guard.learn_anonymous_volumes(&containers));
    }
    let filled = proxy.guard().may_be_filled(&judged);
    let filling = proxy.hold_volumes(&filled).await;
    let has_budget = proxy.guard().label().is_some();
    let creating = match judged.route() {
        "containers/create"
        | "containers/*/exec"
        | "containers/*/update"
        | "networks/create"
        | "volumes/create"
        | "images/**/tag"
            if has_budget =>
        {
            Some(proxy.creating.lock().await)
        }
        _ => None,
    };
    let nonce = hex::encode(rand::random::<[u8; 16]>());
    let decided = proxy.guard().judge(&judged, &nonce);
    let decision = match decided {
        // Containers that removed themselves have returned their share of the budget.
        Err(refusal) if refusal.rule == Rule::Budget => {
            proxy.forget_gone().await.map_err(Failure::Engine)?;
            proxy.guard().judge(&judged, &nonce)?
        }
        decided => decided?,
    };
    let response = match decision {
        Decision::Answer(local) => local_answer(proxy, local),
        Decision::Push(push) => push::push(proxy, *push, trace, &stop).await?,
        Decision::Prune(what) => prune(proxy, &what, trace, stop).await?,
        Decision::Forward(allowed) if allowed.call.body == EngineBody::Images => {
            load(proxy, *allowed, incoming, trace, stop).await?
        }
        Decision::Forward(allowed) => forward(proxy, *allowed, incoming, client, trace, stop).await?,
    };
    drop((creating, filling, large));
    Ok(response)
}

pub(crate) fn refusal(rule: Rule, reason: &str) -> Refusal {
    Refusal { rule, reason: reason.to_owned() }
}

/// Whether the client asks for its connection to become a stream.
fn wants_stream(headers: &HeaderMap) -> Result<bool, Refusal> {
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        return Err(refusal(Rule::Syntax, "the request has both Content-Length and Transfer-Encoding"));
    }
    match single(headers, UPGRADE.as_str())? {
        None => Ok(false),
        Some(protocol) if protocol.eq_ignore_ascii_case("tcp") => Ok(true),
        Some(_) => {
            Err(refusal(Rule::Route, &format!("a connection may be upgraded only to a plain stream; {NO_BUILDKIT}")))
        }
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(refusal(Rule::Syntax, &format!("the header {name} is repeated")));
    }
    first.map(|value| text(name, value)).transpose()
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, Refusal> {
    value.to_str().map_err(|_| refusal(Rule::Syntax, &format!("the header {name} is not text")))
}

fn read_headers(headers: &HeaderMap) -> Result<Headers<'_>, Refusal> {
    Ok(Headers {
        content_type: None,
        content_encoding: single(headers, CONTENT_ENCODING.as_str())?,
        registry_auth: single(headers, "x-registry-auth")?,
        registry_config: single(headers, "x-registry-config")?,
    })
}

/// Asks the engine about an image that the policy may let the client use.
pub(crate) async fn learn(proxy: &Proxy, reference: &str) -> Result<(), Failure> {
    let found = proxy.engine.get(&format!("/images/{reference}/json")).await.map_err(Failure::Engine)?;
    if let Some(image) = &found {
        proxy.change(|guard| guard.learn_answer(reference, image));
    }
    Ok(())
}

fn local_answer(proxy: &Proxy, local: Local) -> Response<Body> {
    match local {
        Local::Json { status, body } => message(status, &body.to_string()),
        Local::Pong => {
            let mut response = Response::new(body::full("OK"));
            let api = format!("1.{}", proxy.guard().engine().api);
            let headers = response.headers_mut();
            for (name, value) in [
                ("content-type", "text/plain; charset=utf-8"),
                ("cache-control", "no-cache, no-store, must-revalidate"),
                // The classic builder. BuildKit's requests do not show what it does, so no policy could be enforced on
                // them.
                ("builder-version", "1"),
                ("docker-experimental", "false"),
                ("ostype", "linux"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            if let Ok(api) = HeaderValue::from_str(&api) {
                headers.insert("api-version", api);
            }
            response
        }
    }
}

/// Removes what the client does not use any more, as if it asked for each.
async fn prune(
    proxy: &Arc<Proxy>,
    what: &Prune,
    trace: &mut Trace,
    stop: CancellationToken,
) -> Result<Response<Body>, Failure> {
    let listed = proxy.engine.get(&what.list).await.map_err(Failure::Engine)?.unwrap_or_default();
    let removals = proxy.guard().prunable(what, &listed);
    let mut gone = Vec::new();
    for (shown, removal) in removals {
        match forward(proxy, removal, None, None, &mut Trace::default(), stop.clone()).await {
            Ok(answer) if answer.status().is_success() => gone.push(shown),
            // It is in use by now.
            Ok(_) | Err(Failure::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    trace.object = gone.join(" ");
    Ok(message(200, &what.answer(&gone).to_string()))
}
