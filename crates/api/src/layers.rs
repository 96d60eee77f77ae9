//! The layer around every request. It catches panics, counts answers, sets security headers, and puts the base path
//! before addresses that redirects lead to.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;

use crate::{error::ApiError, public_url::BasePath, request_counts::RequestCounts};

/// The default: nothing served loads or runs anything. Pages set a policy of their own.
const NO_CONTENT_AT_ALL: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

const SECURITY_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// The middleware.
pub(crate) async fn wrap(
    State(requests): State<Arc<RequestCounts>>,
    State(base): State<BasePath>,
    request: Request,
    next: Next,
) -> Response {
    // Handlers share only the store, and a panic leaves it whole: an open transaction is rolled back.
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            ApiError::internal(format_args!("a handler panicked: {}", panic_message(&*panic))).into_response()
        }
    };
    requests.count(response.status());
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, value);
    }
    if let Some(location) = headers.get_mut(header::LOCATION) {
        base.put_before(location);
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NO_CONTENT_AT_ALL);
    // Answers depend on the caller, and change.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "without words",
    }
}
