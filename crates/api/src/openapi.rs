//! `/openapi.json`: what the server answers, written from the same table that the router is made of.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};

use crate::{ApiError, routes};

/// The description as JSON, as it is committed under `docs/openapi.json`.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    let mut json = routes::all().into_openapi().to_pretty_json()?;
    json.push('\n');
    Ok(json)
}

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn show() -> Result<Response, ApiError> {
    let json = openapi_json().map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}
