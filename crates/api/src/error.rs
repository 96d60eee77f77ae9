//! The error of every handler, answered as `{"error": {"code", "message", "details"}}`.
//!
//! An error that the caller made says what to do about it. An error of the server says only that it happened: its cause
//! is logged here, once, and never sent.

mod words;

use std::fmt;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use longshore_core::limits::Unfit;
use longshore_scheduler::RequestError;
use longshore_store::StoreError;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::public_url::BasePath;

/// An answer that is not a success.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Where the API is described; set if the request's address or method does not exist.
    see: Option<String>,
    details: Option<Value>,
}

/// The body of every error response.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// A stable code for programs: `not-found`, `conflict`, …
    code: &'static str,
    /// For people.
    message: String,
    /// Further details, such as the diagnostics of an invalid pipeline.
    details: Option<Value>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), see: None, details: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    /// No token, or a token that is not valid.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// Returns the error for something that does not exist, or that the caller may not see. `what` is a noun.
    pub(crate) fn not_found(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("{what} not found"))
    }

    /// Replaces the noun of a "not found" error. Leaves other errors as they are.
    pub(crate) fn with_noun(self, what: &str) -> Self {
        if self.status == StatusCode::NOT_FOUND { Self::not_found(what) } else { self }
    }

    /// Adds a sentence to the message.
    pub(crate) fn with_note(self, note: &str) -> Self {
        Self { message: format!("{}. {note}", self.message), ..self }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns whether the caller can do something about the error.
    pub(crate) fn is_about_the_request(&self) -> bool {
        self.status.is_client_error()
    }

    /// Returns the message, which is written for people.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn not_found_message(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// The message for an address without a route.
    pub(crate) const ROUTE_NOT_FOUND: &str = "not found";

    pub(crate) fn route_not_found(base: &BasePath) -> Self {
        Self::not_found_message(Self::ROUTE_NOT_FOUND).with_description(base)
    }

    pub(crate) fn method_not_allowed(base: &BasePath) -> Self {
        let message = "method not allowed";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message).with_description(base)
    }

    fn with_description(self, base: &BasePath) -> Self {
        Self { see: Some(format!("{base}/openapi.json")), ..self }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// Returns the error for something outside this server that refused, and would refuse again.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unusable", message)
    }

    /// Returns the error for a forge that cannot be reached at the moment.
    pub(crate) fn forge(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "forge", message)
    }

    /// Returns the error for a mailbox, a chat or a webhook that cannot be reached at the moment.
    pub(crate) fn unreached(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "unreached", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let shown = if limit < 1 << 20 { format!("{} KiB", limit >> 10) } else { format!("{} MiB", limit >> 20) };
        let message = format!("the request body is larger than the limit of {shown} ({limit} bytes)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
    }

    pub(crate) fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message)
    }

    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", message)
    }

    /// Returns the error for a request to a host that is not one of this server's names.
    pub(crate) fn misdirected(message: impl Into<String>) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "wrong-host", message)
    }

    pub(crate) fn range_not_satisfiable(length: u64) -> Self {
        let message = format!("range not satisfiable: there are {length} bytes");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", message)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let message = "the request body must be JSON: send `Content-Type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", message)
    }

    /// Returns the error for something that this server needs and that is not available at the moment.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// Returns the error for a fault of the server. Logs the cause and leaves it out of the answer.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed because of an internal error");
        let message = "internal error; see the server's log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // The layer that shows errors as pages reads it from the extensions.
        let copy = self.clone();
        let Self { status, code, message, see, details } = self;
        let message = match see {
            Some(see) => format!("{message}; see {see}"),
            None => message,
        };
        let body = Json(ErrorBody { error: ErrorDetail { code, message, details } });
        let mut response = (status, body).into_response();
        response.extensions_mut().insert(copy);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::not_found(what),
            StoreError::Conflict(conflict) => Self::conflict(words::of_conflict(&conflict)),
            StoreError::Invalid(invalid) => Self::bad_request(words::of_invalid(&invalid)),
            StoreError::DiskFull(cause) => {
                tracing::error!(%cause, "the disk of the data folder is full");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "no space left on the server's data disk")
            }
            StoreError::SecretKey(problem) => {
                tracing::error!(%problem, "secrets cannot be used");
                Self::unavailable(problem.to_string())
            }
            StoreError::Busy(cause) => {
                tracing::error!(%cause, "another program keeps the database locked");
                Self::unavailable("the server's database is locked by another program; try again shortly")
            }
            error @ (StoreError::Files(_)
            | StoreError::Newer { .. }
            | StoreError::Corrupt(_)
            | StoreError::Unopened(_)
            | StoreError::Migrate(_)
            | StoreError::Database(_)) => Self::internal(error),
        }
    }
}

impl From<Unfit> for ApiError {
    fn from(unfit: Unfit) -> Self {
        Self::bad_request(words::of_unfit(&unfit))
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotFound(message) => Self::not_found_message(message),
            RequestError::Conflict(message) => Self::conflict(message),
            RequestError::Unusable { message, diagnostics } => Self {
                details: (!diagnostics.is_empty()).then(|| serde_json::json!({ "diagnostics": diagnostics })),
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unusable", message)
            },
            // The scheduler writes this message for people: it quotes the host's answer and reveals nothing of the
            // server's internals.
            RequestError::GitHost(message) => Self::new(StatusCode::BAD_GATEWAY, "git-host", message),
            RequestError::ShuttingDown => Self::unavailable("the server is shutting down; try again shortly"),
            RequestError::Store(error) => error.into(),
        }
    }
}
