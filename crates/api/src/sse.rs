//! Server-sent events: writes them, and makes the answer that carries them.

use std::{convert::Infallible, fmt::Write as _, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::error::ApiError;

/// After this long without an event, a comment is sent: proxies close connections that are silent for a minute.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(15);
/// A comment, which readers ignore.
pub(crate) const COMMENT: &str = ":\n\n";

/// Where a reader that comes back goes on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResumeQuery {
    /// The last event's `id`, for clients that cannot send the header `Last-Event-ID`, which takes precedence
    last_event_id: Option<String>,
}

impl ResumeQuery {
    /// Returns the last event's id that the reader sent, if any.
    pub(crate) fn last_id(self, headers: &HeaderMap) -> Option<String> {
        let header = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        header.or(self.last_event_id).filter(|id| !id.is_empty())
    }
}

/// Appends an event. JSON has no line breaks, so its data is one line.
pub(crate) fn write_event(out: &mut String, name: &str, id: &str, data: &impl Serialize) -> Result<(), ApiError> {
    let data = serde_json::to_string(data).map_err(ApiError::internal)?;
    let _ = write!(out, "event: {name}\nid: {id}\ndata: {data}\n\n");
    Ok(())
}

/// Puts a text before a stream of events, unless it is empty.
pub(crate) fn with_first(first: String, events: impl Stream<Item = Bytes>) -> impl Stream<Item = Bytes> {
    use futures_util::StreamExt as _;
    let first = (!first.is_empty()).then(|| Bytes::from(first));
    futures_util::stream::iter(first).chain(events)
}

/// Returns the answer that carries these events.
pub(crate) fn response(events: impl Stream<Item = impl Into<Bytes>> + Send + 'static) -> Response {
    use futures_util::StreamExt as _;
    let mut response = Body::from_stream(events.map(|text| Ok::<_, Infallible>(text.into()))).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    // nginx and other proxies would buffer the answer otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
