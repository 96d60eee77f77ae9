//! `POST /api/v1/sign-in-links`: creates a link that signs a browser in.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    Timestamp,
    access::{Action, Object},
};
use longshore_store::{
    Store,
    sessions::{self, LINK_LIFETIME_MS},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ErrorBody},
    public_url::PublicUrl,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignInLinkView {
    /// Signs a browser in, once. Present only in this response.
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Creates a sign-in link for a browser
///
/// The link works once, within ten minutes. The session has the token's rights, and ends with the token or after 30 days.
#[utoipa::path(
    post, path = "/api/v1/sign-in-links", tag = "tokens", security(("token" = ["read"])),
    responses((status = 201, body = SignInLinkView), (status = 401, body = ErrorBody)),
)]
pub(crate) async fn create(
    State(store): State<Store>,
    State(public_url): State<PublicUrl>,
    caller: Caller,
) -> Result<(StatusCode, Json<SignInLinkView>), ApiError> {
    caller.require(Action::UseOwnSessions, Object::Oneself)?;
    let opener = caller.opener().ok_or_else(|| ApiError::unauthorized("sign-in links require a token"))?;
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    let code = sessions::make_link(&mut tx, opener, now).await?;
    tx.commit().await?;
    let url = format!("{}/sign-in?code={code}", public_url);
    let expires_at = Timestamp::from_millis(now.as_millis() + LINK_LIFETIME_MS);
    Ok((StatusCode::CREATED, Json(SignInLinkView { url, expires_at })))
}
