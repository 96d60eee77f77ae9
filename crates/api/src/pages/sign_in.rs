//! `/sign-in`, `/sign-out`: a one-time link opens a session, whose cookie the browser keeps.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use longshore_core::Timestamp;
use longshore_store::sessions::{self, OpenedSession, SESSION_LIFETIME_MS};
use serde::Deserialize;

use super::{
    Head, Html, Place, Visitor,
    post::{Nothing, OpenPost, Post, see},
};
use crate::{
    ApiError,
    auth::{Caller, SESSION_COOKIE},
    params::Query,
    server::Server,
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    head: Head,
    url: String,
    /// What was tried is no link.
    refused: bool,
    next: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SignInQuery {
    code: Option<String>,
    /// Where to go on.
    next: Option<String>,
}

/// With a link's code it opens the session; without one it says how to get a link.
pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    method: Method,
    visitor: Visitor,
    headers: HeaderMap,
    Query(query): Query<SignInQuery>,
) -> Result<Response, ApiError> {
    let next = within(query.next.as_deref());
    // A look at the head (a chat's preview) uses no link up.
    let Some(code) = query.code.filter(|_| method == Method::GET) else {
        return Ok(page(&server, &visitor, false, next));
    };
    let mut tx = server.store.write().await?;
    let opened = sessions::open_by_link(&mut tx, &code, browser(&headers), Timestamp::now()).await?;
    tx.commit().await?;
    match opened {
        Some(opened) => Ok(welcome(&server, &opened, &next)),
        // The link was followed twice.
        None if visitor.signed_in.is_some() => Ok(see(&next)),
        None => Ok(page(&server, &visitor, true, next)),
    }
}

#[derive(Deserialize)]
pub(crate) struct SignInForm {
    /// A link, its code, or a token.
    #[serde(default)]
    code: String,
    next: Option<String>,
}

/// The same for what was pasted: a link, its code, or a token.
pub(crate) async fn sign_in(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    OpenPost(form): OpenPost<SignInForm>,
) -> Result<Response, ApiError> {
    let next = within(form.next.as_deref());
    let secret = form.code.trim();
    let secret = secret.rsplit_once("code=").map_or(secret, |(_, code)| code);
    let by_token = Caller::by_token(&server, secret).await?.and_then(|caller| caller.opener().cloned());
    let now = Timestamp::now();
    let mut tx = server.store.write().await?;
    let opened = match by_token {
        Some(opener) => Some(sessions::open(&mut tx, opener, browser(&headers), now).await?),
        None => sessions::open_by_link(&mut tx, secret, browser(&headers), now).await?,
    };
    tx.commit().await?;
    match opened {
        Some(opened) => Ok(welcome(&server, &opened, &next)),
        None => Ok(page(&server, &Visitor::nobody(), true, next)),
    }
}

pub(crate) async fn sign_out(
    State(server): State<Arc<Server>>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    if let Some(session) = visitor.signed_in {
        let mut tx = server.store.write().await?;
        sessions::end(&mut tx, session.id).await?;
        tx.commit().await?;
    }
    let mut response = see("/");
    response.headers_mut().insert(header::SET_COOKIE, cookie(&server, "", 0));
    Ok(response)
}

fn page(server: &Server, visitor: &Visitor, refused: bool, next: String) -> Response {
    let head = Head::new(server, visitor, Place::Elsewhere, "Sign in");
    let page = SignInPage { head, url: server.config.public_url.clone(), refused, next };
    let status = if refused { StatusCode::FORBIDDEN } else { StatusCode::OK };
    (status, Html(page)).into_response()
}

fn welcome(server: &Server, opened: &OpenedSession, next: &str) -> Response {
    tracing::info!(session = %opened.session.id, by = opened.session.name, "a browser was signed in");
    let mut response = see(next);
    response.headers_mut().insert(header::SET_COOKIE, cookie(server, &opened.secret, SESSION_LIFETIME_MS / 1000));
    response
}

fn cookie(server: &Server, secret: &str, seconds: i64) -> HeaderValue {
    let secure = if server.config.public_url.starts_with("https://") { "; Secure" } else { "" };
    let text = format!("{SESSION_COOKIE}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

fn browser(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Only an address of this server: nobody is sent anywhere else by a link.
fn within(next: Option<&str>) -> String {
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
        assert_eq!(within(Some("/builds/1?a=b")), "/builds/1?a=b");
        for bad in ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/\r\nx: y"] {
            assert_eq!(within(Some(bad)), "/", "{bad}");
        }
    }
}
