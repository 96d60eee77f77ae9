//! Forms: every write of the pages comes through [`Post`], which checks the session's CSRF token. A page has no other
//! way to write: [`Visitor`] is refused for every method but GET.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequest, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::visitor::Visitor;
use crate::{
    audited,
    auth::Authenticator,
    body::{self, LargeBodies, Sender},
    error::ApiError,
    public_url::{BasePath, PublicUrl},
};

/// The longest form: a secret's value, with room for its percent signs.
const FORM_LIMIT: usize = 256 << 10;
/// The longest form of somebody who is not signed in: too short to wait for a turn, or to take one.
const OPEN_FORM_LIMIT: usize = 16 << 10;

/// A form and its sender.
#[derive(Debug)]
pub(crate) struct Post<T> {
    pub(crate) visitor: Visitor,
    pub(crate) form: T,
}

/// A form with no field but its token.
#[derive(Debug, Deserialize)]
pub(crate) struct NoFields {}

#[derive(Debug, Deserialize)]
struct Csrf {
    #[serde(default)]
    csrf: String,
}

impl<T, S> FromRequest<S> for Post<T>
where
    T: DeserializeOwned,
    Authenticator: FromRef<S>,
    BasePath: FromRef<S>,
    Arc<LargeBodies>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let (authenticator, base) = (Authenticator::from_ref(state), BasePath::from_ref(state));
        let visitor = match Visitor::identify_sender(&parts, &authenticator, &base).await {
            Ok(visitor) => visitor,
            Err(error) => {
                body::discard(body);
                return Err(error);
            }
        };
        let bytes = form_bytes(&parts.headers, body, FORM_LIMIT, &Arc::from_ref(state)).await?;
        if let Some(session) = &visitor.signed_in {
            let Csrf { csrf } = parse_form(&bytes)?;
            if !session.has_token(&csrf) {
                return Err(ApiError::forbidden("this form has expired: reload the page and submit it again"));
            }
        }
        Ok(Self { visitor, form: parse_form(&bytes)? })
    }
}

/// A form without a session: only the one that signs in.
#[derive(Debug)]
pub(crate) struct OpenPost<T>(pub(crate) T);

impl<T, S> FromRequest<S> for OpenPost<T>
where
    T: DeserializeOwned,
    PublicUrl: FromRef<S>,
    Arc<LargeBodies>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        // Another site's page must not sign anybody in.
        if !is_from_this_site(&parts.headers, PublicUrl::from_ref(state).authority()) {
            body::discard(body);
            return Err(ApiError::forbidden("this form was submitted from another site"));
        }
        let bytes = form_bytes(&parts.headers, body, OPEN_FORM_LIMIT, &Arc::from_ref(state)).await?;
        Ok(Self(parse_form(&bytes)?))
    }
}

/// Returns whether a page of this server sent the form. Browsers say where a form comes from; a client that does not
/// say is not a browser.
fn is_from_this_site(headers: &HeaderMap, ours: &str) -> bool {
    let same_site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    let same_origin = headers.get(header::ORIGIN).is_none_or(|origin| {
        let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
        // A proxy may use another name than the browser does.
        let from = origin.as_bytes().splitn(3, |b| *b == b'/').nth(2);
        from == Some(host) || from == Some(ours.as_bytes())
    });
    same_site && same_origin
}

async fn form_bytes(
    headers: &HeaderMap,
    body: axum::body::Body,
    limit: usize,
    large_bodies: &LargeBodies,
) -> Result<bytes::Bytes, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !content_type.starts_with(b"application/x-www-form-urlencoded") && !content_type.is_empty() {
        body::discard(body);
        return Err(ApiError::bad_request("a form has to be application/x-www-form-urlencoded"));
    }
    let bytes = body::read(body, limit, large_bodies, &Sender::Verified).await?;
    audited::note_form(&bytes);
    Ok(bytes)
}

fn parse_form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_urlencoded::from_bytes(bytes).map_err(|error| ApiError::bad_request(format!("invalid form: {error}")))
}

/// Why a form was refused, and the status of the answer.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) why: String,
}

/// Returns why the form was refused if its sender can correct it: the form is then shown again. Any other error stays
/// an error.
pub(crate) fn refused(error: ApiError) -> Result<Refused, ApiError> {
    match error.status() {
        status @ (StatusCode::BAD_REQUEST
        | StatusCode::CONFLICT
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::BAD_GATEWAY) => Ok(Refused { status, why: error.message().to_owned() }),
        _ => Err(error),
    }
}

/// Redirects to the page that shows the result of a form, so that a reload sends nothing twice. Takes the router's
/// address; `layers` puts the base path before it.
pub(crate) fn see_other(address: &str) -> Response {
    let location = HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}
