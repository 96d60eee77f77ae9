//! `/sign-in` and `/sign-out`: a one-time link opens a session, whose cookie the browser keeps.
//!
//! Following a link only shows whom it would sign in; a click signs in. Any other site can make a browser follow a
//! link, and none may change who somebody is here.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use longshore_core::Timestamp;
use longshore_store::sessions::{self, OpenedSession, SESSION_LIFETIME_MS};
use serde::Deserialize;

use super::{
    head::{Head, Place},
    html::Html,
    post::{NoFields, OpenPost, Post, see_other},
    show,
    site::Site,
    visitor::Visitor,
};
use crate::{
    auth::{Authenticator, session_cookie_name},
    error::ApiError,
    params::Query,
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    head: Head,
    url: String,
    /// The sign-in that the link offers.
    offer: Option<Offer>,
    /// The link is not valid.
    refused: bool,
    next: String,
}

#[derive(Debug)]
struct Offer {
    /// Whom it signs in.
    name: String,
    code: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SignInQuery {
    code: Option<String>,
    /// Where to go afterwards.
    next: Option<String>,
}

/// With a link's code, offers to sign in and does not use the code up. Without one, says how to get a link.
pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Query(query): Query<SignInQuery>,
) -> Result<Response, ApiError> {
    let next = local_address(query.next.as_deref());
    let Some(code) = query.code else { return Ok(page(&site, &visitor, Shown::Nothing, next)) };
    match sessions::name_of_link(&site.store, &code, Timestamp::now()).await? {
        Some(name) => Ok(page(&site, &visitor, Shown::Offer(Offer { name, code }), next)),
        // A visitor who has signed in with this link and comes back.
        None if visitor.signed_in.is_some() => Ok(see_other(&next)),
        None => Ok(page(&site, &visitor, Shown::Refusal, next)),
    }
}

#[derive(Deserialize)]
pub(crate) struct SignInForm {
    /// A link, its code, or a token.
    #[serde(default)]
    code: String,
    next: Option<String>,
}

/// Opens a session for a link's code, clicked or pasted, or for a token.
pub(crate) async fn sign_in(
    State(site): State<Site>,
    State(authenticator): State<Authenticator>,
    headers: HeaderMap,
    OpenPost(form): OpenPost<SignInForm>,
) -> Result<Response, ApiError> {
    let next = local_address(form.next.as_deref());
    let secret = form.code.trim();
    let secret = secret.rsplit_once("code=").map_or(secret, |(_, code)| code);
    let by_token = authenticator.by_token(secret).await?.and_then(|caller| caller.opener().cloned());
    let now = Timestamp::now();
    let mut tx = site.store.write().await?;
    let opened = match by_token {
        Some(opener) => Some(sessions::open(&mut tx, opener, user_agent(&headers), now).await?),
        None => sessions::open_by_link(&mut tx, secret, user_agent(&headers), now).await?,
    };
    match opened {
        Some(opened) => {
            tx.commit().await?;
            Ok(signed_in(&site, &opened, &next))
        }
        // Nothing has changed.
        None => Ok(page(&site, &Visitor::nobody(), Shown::Refusal, next)),
    }
}

pub(crate) async fn sign_out(
    State(site): State<Site>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    if let Some(session) = visitor.signed_in {
        let mut tx = site.store.write().await?;
        sessions::end(&mut tx, session.id).await?;
        tx.commit().await?;
    }
    let mut response = see_other("/");
    response.headers_mut().insert(header::SET_COOKIE, cookie(&site, "", 0));
    Ok(response)
}

enum Shown {
    Nothing,
    Offer(Offer),
    Refusal,
}

fn page(site: &Site, visitor: &Visitor, shown: Shown, next: String) -> Response {
    let head = Head::new(site, visitor, Place::Elsewhere, "Sign in");
    let (offer, refused) = match shown {
        Shown::Nothing => (None, false),
        Shown::Offer(offer) => (Some(offer), false),
        Shown::Refusal => (None, true),
    };
    let page = SignInPage { head, url: site.public_url.to_string(), offer, refused, next };
    let status = if refused { StatusCode::FORBIDDEN } else { StatusCode::OK };
    (status, Html(page)).into_response()
}

fn signed_in(site: &Site, opened: &OpenedSession, next: &str) -> Response {
    tracing::info!(session = %opened.session.id, by = opened.session.name, "a browser was signed in");
    let mut response = see_other(next);
    response.headers_mut().insert(header::SET_COOKIE, cookie(site, &opened.secret, SESSION_LIFETIME_MS / 1000));
    response
}

fn cookie(site: &Site, secret: &str, seconds: i64) -> HeaderValue {
    let url = &site.public_url;
    let secure = if url.is_https() { "; Secure" } else { "" };
    let (name, path) = (session_cookie_name(url), url.base().cookie_path());
    let text = format!("{name}={secret}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Returns the address to go to, `/` if it is not one of this server: no link may send anybody elsewhere.
fn local_address(next: Option<&str>) -> String {
    let here = |next: &&str| {
        next.starts_with('/') && !next.starts_with("//") && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    next.filter(here).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_signs_in_stays_on_this_server() {
        assert_eq!(local_address(Some("/builds/1?a=b")), "/builds/1?a=b");
        for bad in ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/\r\nx: y"] {
            assert_eq!(local_address(Some(bad)), "/", "{bad}");
        }
    }
}
