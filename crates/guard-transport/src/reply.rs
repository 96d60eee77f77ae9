//! Turns the engine's answer into the client's.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use longshore_guard::{Effect, Forward, Reply, Shape};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::building::Building;
use crate::handle::Failure;
use crate::lines;
use crate::proxy::Proxy;

/// The media types of streams that clients distinguish.
const STREAMS: [&str; 5] = [
    "application/vnd.docker.raw-stream",
    "application/vnd.docker.multiplexed-stream",
    "application/json",
    "application/x-tar",
    "application/octet-stream",
];
/// The header that describes a file in a container.
const FILE: &str = "x-docker-container-path-stat";

/// A client whose connection becomes a stream, and the stream's place among those of the job.
type Client = (OnUpgrade, Option<OwnedSemaphorePermit>);

pub(crate) async fn answer(
    proxy: &Arc<Proxy>,
    forward: Forward,
    answered: Response<Incoming>,
    client: Option<Client>,
    (stop, building): (CancellationToken, Option<Building>),
    object: &mut String,
) -> Result<Response<Body>, Failure> {
    let status = answered.status();
    let Forward { reply, effect, .. } = forward;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return match (reply, client) {
            (Reply::Hijack, Some(client)) => Ok(stream(proxy, answered, client, stop)),
            _ => Err(Failure::engine("the engine opened a stream where it should not")),
        };
    }
    let is_done = status.is_success() || status == StatusCode::NOT_MODIFIED;
    if status.is_informational() || (status.is_redirection() && !is_done) {
        return Err(Failure::engine(format!("the engine answered with a redirect: {status}")));
    }
    if !is_done {
        return failed(proxy, &reply, &effect, answered).await;
    }
    match reply {
        Reply::Status => Ok(bare(proxy, &effect, answered).await),
        Reply::Json(shape) => json(proxy, &shape, &effect, answered, object).await,
        Reply::Lines(shape) => {
            let lines = lines::carry(proxy, shape, effect, answered.into_body(), (stop, building));
            Ok(of_json(status, lines))
        }
        Reply::Stream | Reply::Processes | Reply::Files | Reply::Hijack => {
            proxy.change(|guard| guard.settle(&effect, true, None));
            Ok(raw(&reply, answered))
        }
    }
}

/// Returns an answer without a body.
async fn bare(proxy: &Arc<Proxy>, effect: &Effect, answered: Response<Incoming>) -> Response<Body> {
    let status = answered.status();
    let _ = body::read_answer(answered.into_body()).await;
    proxy.change(|guard| guard.settle(effect, true, None));
    match effect {
        Effect::ContainerRemoved { id } => proxy.unpublish(id),
        Effect::ImageTagged { .. } => proxy.remove_left_names().await,
        _ => {}
    }
    with_status(status, body::empty())
}

/// Returns an answer of JSON, rewritten for the client.
async fn json(
    proxy: &Arc<Proxy>,
    shape: &Shape,
    effect: &Effect,
    answered: Response<Incoming>,
    object: &mut String,
) -> Result<Response<Body>, Failure> {
    let status = answered.status();
    let bytes = body::read_answer(answered.into_body()).await.map_err(Failure::Engine)?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::engine(format!("the engine's answer is invalid: {error}")))?;
    let created = value.get("Id").and_then(Value::as_str).map(str::to_owned);
    if let Some(id) = created.as_deref().filter(|_| *effect != Effect::None) {
        object.push_str(&format!(" {}", longshore_guard::printable(id)));
    }
    // Under one lock: a new object is recorded as the client's before the client can use it.
    let rewritten = proxy.change(|guard| {
        guard.settle(effect, true, created.as_deref());
        guard.rewrite(shape, value)
    });
    if let (Effect::NetworkCreated { .. }, Some(network)) = (effect, &created) {
        let joined = proxy.join(network).await;
        joined.map_err(|reason| Failure::engine(format!("the job could not be connected to its network: {reason}")))?;
    }
    Ok(of_json(status, body::full(rewritten.map_err(Failure::Engine)?.to_string())))
}

/// Returns an answer whose bytes are passed on as they are: a stream, or files.
fn raw(reply: &Reply, answered: Response<Incoming>) -> Response<Body> {
    let (parts, incoming) = answered.into_parts();
    let mut response = with_status(parts.status, incoming.map_err(Into::into).boxed_unsync());
    let headers = response.headers_mut();
    pass_media(&parts.headers, headers);
    if let Some(file) = parts.headers.get(FILE).filter(|_| *reply == Reply::Files) {
        headers.insert(FILE, file.clone());
    }
    // Without an upgrade, a stream ends with its connection.
    if *reply == Reply::Hijack {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Passes on the media type of a stream, if it is one that clients distinguish.
fn pass_media(answered: &HeaderMap, headers: &mut HeaderMap) {
    let media = answered.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(known) = media.and_then(|media| STREAMS.iter().find(|known| media.starts_with(**known))) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(known));
    }
}

fn of_json(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = with_status(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn with_status(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Returns the engine's error in its own words, unless they can quote what is not the client's, with the client's names.
async fn failed(
    proxy: &Arc<Proxy>,
    reply: &Reply,
    effect: &Effect,
    answered: Response<Incoming>,
) -> Result<Response<Body>, Failure> {
    let status = answered.status();
    let bytes = body::read_answer(answered.into_body()).await.map_err(Failure::Engine)?;
    if *reply == Reply::Processes {
        let message = "the engine could not list the container's processes";
        return Ok(of_json(status, body::full(json!({ "message": message }).to_string())));
    }
    let is_gone = status == StatusCode::NOT_FOUND;
    let removes = matches!(
        effect,
        Effect::ContainerRemoved { .. }
            | Effect::NetworkRemoved { .. }
            | Effect::VolumeRemoved { .. }
            | Effect::ImageUntagged { .. }
    );
    let message = serde_json::from_slice::<Value>(&bytes)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("the engine answers {status}"));
    match effect {
        Effect::ContainerStarted { id } => proxy.unpublish(id),
        Effect::NetworkRemoved { id } if !is_gone => {
            if let Err(reason) = proxy.join(id).await {
                tracing::warn!(reason, "the job's sandbox could not be reconnected to a network");
            }
        }
        _ => {}
    }
    let message = proxy.change(|guard| {
        guard.settle(effect, is_gone && removes, None);
        guard.rewrite_text(&message)
    });
    Ok(of_json(status, body::full(json!({ "message": message }).to_string())))
}

/// Joins both connections into one stream. Each side may end its half by itself.
fn stream(
    proxy: &Arc<Proxy>,
    answered: Response<Incoming>,
    (client, place): Client,
    stop: CancellationToken,
) -> Response<Body> {
    let mut response = with_status(StatusCode::SWITCHING_PROTOCOLS, body::empty());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    pass_media(answered.headers(), headers);
    proxy.tasks.spawn(async move {
        let carried = async {
            let (client, engine) =
                tokio::try_join!(client, hyper::upgrade::on(answered)).map_err(std::io::Error::other)?;
            let (mut client, mut engine) = (TokioIo::new(client), TokioIo::new(engine));
            tokio::io::copy_bidirectional(&mut client, &mut engine).await
        };
        tokio::select! {
            carried = carried => if let Err(error) = carried {
                tracing::debug!(%error, "a stream broke");
            },
            () = stop.cancelled() => {}
        }
        drop(place);
    });
    response
}
