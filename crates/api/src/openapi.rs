//! `/openapi.json`: what the server answers, written from the same table that the router is made of.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use utoipa::openapi::{OpenApi, ServerBuilder};

use crate::{error::ApiError, public_url::BasePath};

/// Makes the description. The table of routes does it, and this file does not know that table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Describe(pub(crate) fn() -> OpenApi);

/// Writes a description as JSON. Programs find its paths below the base path.
///
/// # Errors
/// If it cannot be written as JSON.
pub(crate) fn to_json(mut description: OpenApi, base: &BasePath) -> Result<String, serde_json::Error> {
    if !base.is_empty() {
        description.servers = Some(vec![ServerBuilder::new().url(base.to_string()).build()]);
    }
    let mut json = description.to_pretty_json()?;
    json.push('\n');
    Ok(json)
}

/// Returns this API description
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn show(
    State(Describe(describe)): State<Describe>,
    State(base): State<BasePath>,
) -> Result<Response, ApiError> {
    let json = to_json(describe(), &base).map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}
