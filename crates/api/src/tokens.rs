//! Tokens: made, listed, ended. Only an administrator may.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{Timestamp, TokenId};
use longshore_store::tokens::{self, Scope, Token};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ApiError, auth::Caller, body::JsonRequest, error::ErrorBody, params::Path, server::Server, views::Page};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    #[schema(value_type = String, format = "uuid")]
    id: TokenId,
    name: String,
    scopes: Vec<&'static str>,
    /// The secret. Shown once: when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scopes: token.scopes.iter().map(|scope| scope.as_str()).collect(),
            token: None,
            created_at: token.created_at,
            last_used_at: token.last_used_at,
            expires_at: token.expires_at,
        }
    }
}

/// All tokens, without their secrets
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tokens", security(("token" = ["admin"])),
    responses((status = 200, body = Page<TokenView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn list(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<Page<TokenView>>, ApiError> {
    caller.require(Scope::Admin)?;
    let tokens = tokens::list(&server.store).await?;
    Ok(Json(Page::whole(tokens.into_iter().map(TokenView::from).collect())))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateToken {
    /// For people, to know it by
    name: String,
    /// Of `read` (see everything), `build` (start, cancel and rerun builds too) and `admin` (everything)
    scopes: Vec<String>,
    /// For ever where it is not given
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Makes a token
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens", security(("token" = ["admin"])), request_body = CreateToken,
    responses((status = 201, description = "With its secret, this once", body = TokenView), (status = 400, body = ErrorBody)),
)]
pub(crate) async fn create(
    State(server): State<Arc<Server>>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<TokenView>), ApiError> {
    let (caller, new): (_, CreateToken) = request.of(Scope::Admin, &server).await?;
    let scopes: Result<Vec<Scope>, String> = new.scopes.iter().map(|word| word.parse()).collect();
    let scopes = scopes.map_err(ApiError::bad_request)?;
    let now = Timestamp::now();
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(ApiError::bad_request("`expires_at` is over already"));
    }
    let mut tx = server.store.write().await?;
    let created = tokens::create(&mut tx, &new.name, &scopes, new.expires_at, now).await?;
    tx.commit().await?;
    tracing::info!(token = %created.token.id, name = created.token.name, by = caller.name(), "a token was made");
    let view = TokenView { token: Some(created.secret), ..created.token.into() };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Ends a token
#[utoipa::path(
    delete, path = "/api/v1/tokens/{token}", tag = "tokens", security(("token" = ["admin"])),
    params(("token" = String, Path, description = "The token's id")),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn revoke(
    State(server): State<Arc<Server>>,
    caller: Caller,
    id: Result<Path<TokenId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Scope::Admin)?;
    let Path(id) = id?;
    let mut tx = server.store.write().await?;
    tokens::revoke(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(token = %id, by = caller.name(), "a token was revoked");
    Ok(StatusCode::NO_CONTENT)
}
