//! Request bodies: read up to a limit, within a time, and understood strictly.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{FromRequest, FromRequestParts as _, Request},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt as _;
use longshore_store::tokens::Scope;
use serde::de::DeserializeOwned;
use tokio::{sync::Semaphore, time::timeout};

use crate::{ApiError, auth::Caller, server::Server};

/// The longest JSON body of the API.
const JSON_LIMIT: usize = 1 << 20;
/// A body has to be here by then: a slow sender must not hold memory for ever.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// What a body may take before it has to wait for its turn among the large ones.
const LARGE: usize = 1 << 20;
/// Large bodies in memory at once.
const LARGE_AT_ONCE: usize = 4;
/// How much of a refused body is thrown away, so that a sender that reads only after it has sent still sees the answer.
const DISCARD_LIMIT: usize = 64 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Who may hold a large body in memory.
#[derive(Debug)]
pub(crate) struct LargeBodies(Semaphore);

impl LargeBodies {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(LARGE_AT_ONCE))
    }
}

/// The whole body, if it is no longer than `limit`. One that says it is longer is not read at all.
pub(crate) async fn read(mut body: Body, limit: usize, large: &LargeBodies) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        discard(body);
        return Err(ApiError::too_large(limit));
    }
    let mut turn = None;
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0).min(LARGE));
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::bad_request("the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(ApiError::too_large(limit));
            }
            if turn.is_none() && bytes.len() + data.len() > LARGE {
                turn = Some(large.0.acquire().await.map_err(ApiError::internal)?);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(())
    };
    match timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(())) => Ok(bytes.into()),
        Ok(Err(error)) => {
            discard(body);
            Err(error)
        }
        Err(_) => Err(ApiError::too_slow(READ_TIMEOUT.as_secs())),
    }
}

/// Throws a refused body away, in the background and within limits, instead of resetting the connection under its sender.
pub(crate) fn discard(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(DISCARD_TIMEOUT, async move {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_LIMIT {
                return;
            }
        }
    }));
}

/// Who asks, with a JSON body that nobody has read yet: whoever may not do what they ask for takes no memory by it.
#[derive(Debug)]
pub(crate) struct JsonRequest {
    caller: Caller,
    headers: HeaderMap,
    body: Body,
}

impl FromRequest<Arc<Server>> for JsonRequest {
    type Rejection = ApiError;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        match Caller::from_request_parts(&mut parts, server).await {
            Ok(caller) => Ok(Self { caller, headers: parts.headers, body }),
            Err(error) => {
                discard(body);
                Err(error)
            }
        }
    }
}

impl JsonRequest {
    /// What is asked, of whoever has this scope. Unknown fields are refused by name (every type says `deny_unknown_fields`); no body at
    /// all reads as `{}`.
    pub(crate) async fn of<T: DeserializeOwned>(self, needed: Scope, server: &Server) -> Result<(Caller, T), ApiError> {
        let Self { caller, headers, body } = self;
        if let Err(error) = caller.require(needed) {
            discard(body);
            return Err(error);
        }
        if !is_json(&headers) {
            discard(body);
            return Err(ApiError::unsupported_media_type());
        }
        let bytes = read(body, JSON_LIMIT, &server.large_bodies).await?;
        let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
        match serde_json::from_slice(&bytes) {
            Ok(asked) => Ok((caller, asked)),
            Err(error) => Err(ApiError::bad_request(format!("the body is not understood: {error}"))),
        }
    }
}

/// Whether it says so, or says nothing.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        let essence = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"application/json") || essence.is_empty()
    })
}
