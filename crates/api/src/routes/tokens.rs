//! Makes, lists and revokes tokens. Only an administrator of all repositories may.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    RepoId, Timestamp, TokenId,
    access::{Action, Object, Rights},
};
use longshore_store::{
    Store,
    tokens::{self, NewToken, Scope, Token},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    json_request::JsonRequest,
    params::Path,
    token_expiry::end_after,
    views::Page,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    #[schema(value_type = String, format = "uuid")]
    id: TokenId,
    /// Names are not unique; the ID is.
    name: String,
    scopes: Vec<&'static str>,
    /// IDs of the repositories that the token can access; `null` for all.
    #[schema(value_type = Option<Vec<String>>)]
    repos: Option<Vec<RepoId>>,
    /// The token's value. Present only in the response that creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Accurate to the minute.
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
            scopes: token.rights.scopes().iter().map(|scope| scope.as_str()).collect(),
            repos: token.rights.repos().map(<[RepoId]>::to_vec),
            token: None,
            created_at: token.created_at,
            last_used_at: token.last_used_at,
            expires_at: token.expires_at,
        }
    }
}

/// Lists all tokens, without their values
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tokens", security(("token" = ["admin"])),
    responses((status = 200, body = Page<TokenView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub(crate) async fn list(State(store): State<Store>, caller: Caller) -> Result<Json<Page<TokenView>>, ApiError> {
    caller.require(Action::ManageTokens, Object::Server)?;
    let tokens = tokens::list(&store).await?;
    Ok(Json(Page::complete(tokens.into_iter().map(TokenView::from).collect())))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateToken {
    /// A name for people to recognize the token by
    name: String,
    /// Any of `read` (view everything), `build` (also start, cancel and rerun builds), `approve` (also approve and decline jobs) and
    /// `admin` (everything)
    scopes: Vec<String>,
    /// IDs of the repositories that the token can access, at most 100; others are answered with 404. If omitted, all repositories,
    /// including future ones
    #[schema(value_type = Option<Vec<String>>)]
    repos: Option<Vec<RepoId>>,
    /// The token's lifetime in days; unlimited if neither this nor `expires_at` is given
    #[schema(minimum = 1, maximum = 36_500)]
    expires_in_days: Option<u32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Creates a token
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens", security(("token" = ["admin"])), request_body = CreateToken,
    responses((status = 201, description = "The token with its value, which is shown only once", body = TokenView), (status = 400, body = ErrorBody)),
)]
pub(crate) async fn create(
    State(store): State<Store>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<TokenView>), ApiError> {
    let (caller, new): (_, CreateToken) = request.parse(Action::ManageTokens, Object::Server).await?;
    let scopes: Result<Vec<Scope>, String> = new.scopes.iter().map(|word| word.parse()).collect();
    let scopes = scopes.map_err(ApiError::bad_request)?;
    let now = Timestamp::now();
    let expires_at = match (new.expires_in_days, new.expires_at) {
        (Some(_), Some(_)) => return Err(ApiError::bad_request("use either `expires_in_days` or `expires_at`")),
        (Some(days), None) => Some(end_after(days, now)?),
        (None, Some(end)) if end <= now => return Err(ApiError::bad_request("`expires_at` is in the past")),
        (None, end) => end,
    };
    let new = NewToken { name: new.name, rights: Rights::new(scopes, new.repos), expires_at };
    let mut tx = store.write().await?;
    let created = tokens::create(&mut tx, &new, now).await?;
    tx.commit().await?;
    tracing::info!(token = %created.token.id, name = created.token.name, by = caller.name(), "a token was created");
    let view = TokenView { token: Some(created.secret), ..created.token.into() };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Revokes a token
#[utoipa::path(
    delete, path = "/api/v1/tokens/{token}", tag = "tokens", security(("token" = ["admin"])),
    params(("token" = String, Path, description = "The token's ID")),
    responses((status = 204), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn revoke(
    State(store): State<Store>,
    caller: Caller,
    id: Result<Path<TokenId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::ManageTokens, Object::Server)?;
    let Path(id) = id?;
    let mut tx = store.write().await?;
    tokens::revoke(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(token = %id, by = caller.name(), "a token was revoked");
    Ok(StatusCode::NO_CONTENT)
}
