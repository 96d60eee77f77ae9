//! `/openapi.json`: what the server answers, written from the same table that the router is made of.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use utoipa::openapi::ServerBuilder;

use crate::{ApiError, public_url::BasePath, routes, server::Server};

/// The description as JSON, as it is committed under `docs/openapi.json`.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    described(&BasePath::default())
}

/// A program finds the paths below the base path.
fn described(base: &BasePath) -> Result<String, serde_json::Error> {
    let mut openapi = routes::all().into_openapi();
    if !base.is_empty() {
        openapi.servers = Some(vec![ServerBuilder::new().url(base.to_string()).build()]);
    }
    let mut json = openapi.to_pretty_json()?;
    json.push('\n');
    Ok(json)
}

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn show(State(server): State<Arc<Server>>) -> Result<Response, ApiError> {
    let json = described(server.base()).map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}
