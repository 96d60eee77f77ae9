//! A request of the API with a JSON body. The body is read only once the caller is known to have the right: a caller
//! without it takes up no memory.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{FromRef, FromRequest, FromRequestParts as _, Request},
    http::{HeaderMap, header},
};
use longshore_core::access::{Action, Object};
use serde::de::DeserializeOwned;

use crate::{
    audited,
    auth::{Authenticator, Caller},
    body::{LargeBodies, Sender, discard, read},
    error::ApiError,
};

/// The longest JSON body of the API.
const MAX_BODY_BYTES: usize = 1 << 20;

/// A caller with a JSON body that has not been read yet.
#[derive(Debug)]
pub(crate) struct JsonRequest {
    caller: Caller,
    headers: HeaderMap,
    body: Body,
    large_bodies: Arc<LargeBodies>,
}

impl<S> FromRequest<S> for JsonRequest
where
    Authenticator: FromRef<S>,
    Arc<LargeBodies>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        match Caller::from_request_parts(&mut parts, state).await {
            Ok(caller) => Ok(Self { caller, headers: parts.headers, body, large_bodies: Arc::from_ref(state) }),
            Err(error) => {
                discard(body);
                Err(error)
            }
        }
    }
}

impl JsonRequest {
    /// Reads and parses the body if the caller may do that. Unknown fields are refused by name (every type says
    /// `deny_unknown_fields`); an empty body reads as `{}`.
    pub(crate) async fn parse<T: DeserializeOwned>(
        self,
        action: Action,
        object: Object,
    ) -> Result<(Caller, T), ApiError> {
        let Self { caller, headers, body, large_bodies } = self;
        if let Err(error) = caller.require(action, object) {
            discard(body);
            return Err(error);
        }
        if !is_json(&headers) {
            discard(body);
            return Err(ApiError::unsupported_media_type());
        }
        let bytes = read(body, MAX_BODY_BYTES, &large_bodies, &Sender::Verified).await?;
        let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
        audited::note_json(&bytes);
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok((caller, value)),
            Err(error) => Err(ApiError::bad_request(format!("invalid request body: {error}"))),
        }
    }
}

/// Returns whether the content type is JSON, or not given.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        let essence = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"application/json") || essence.is_empty()
    })
}
