//! Answers with a page, and turns errors into pages.

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    head::{Head, Place},
    show,
    site::Site,
    visitor::Visitor,
};
use crate::{auth::Authenticator, error::ApiError};

/// The content policy: only what this server serves, and nothing inline.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'",
);

/// A page: a template whose field `head` is a [`Head`].
#[derive(Debug)]
pub(crate) struct Html<T>(pub(crate) T);

impl<T: Template> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(page) => {
                let headers = [
                    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
                    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
                ];
                (headers, page).into_response()
            }
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    head: Head,
    status: u16,
    heading: &'static str,
    message: String,
    /// A visitor who has not signed in may see more afterwards. Also shown for what does not exist, so that it reveals
    /// nothing.
    sign_in: bool,
}

/// The layer around all pages and unknown addresses. Shows an error as a page to clients that accept HTML. The errors
/// of the API stay JSON.
pub(crate) async fn errors_as_pages(
    State(site): State<Site>,
    State(authenticator): State<Authenticator>,
    request: Request,
    next: Next,
) -> Response {
    let wants_page = request.headers().get(header::ACCEPT).is_some_and(accepts_html)
        && !request.uri().path().starts_with("/api/")
        && !request.uri().path().starts_with("/hooks/");
    if !wants_page {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let response = next.run(Request::from_parts(parts.clone(), body)).await;
    let Some(message) = response.extensions().get::<ApiError>().map(|error| error.message().to_owned()) else {
        return response;
    };
    let Ok(visitor) = Visitor::identify(&parts, &authenticator, site.base()).await else { return response };
    let status = response.status();
    // The message tells programs to send a token. For a visitor of a page, the session has ended or there was none.
    let message = match status {
        StatusCode::UNAUTHORIZED => "Sign in and try again.".to_owned(),
        StatusCode::NOT_FOUND if message == ApiError::ROUTE_NOT_FOUND => "There is nothing at this address.".to_owned(),
        _ => message,
    };
    let heading = match status {
        StatusCode::NOT_FOUND => "Page not found",
        StatusCode::UNAUTHORIZED => "Sign-in required",
        StatusCode::FORBIDDEN => "Access denied",
        StatusCode::MISDIRECTED_REQUEST => "Unknown host",
        status if status.is_server_error() => "Something went wrong",
        _ => "Request failed",
    };
    let page = ErrorPage {
        head: Head::new(&site, &visitor, Place::Elsewhere, heading),
        status: status.as_u16(),
        heading,
        message,
        sign_in: visitor.caller.is_anonymous(),
    };
    (status, kept_headers(response.headers()), Html(page)).into_response()
}

fn accepts_html(accept: &HeaderValue) -> bool {
    accept.to_str().is_ok_and(|accept| accept.contains("text/html"))
}

/// Returns the headers of the error's own answer that the page keeps.
fn kept_headers(headers: &HeaderMap) -> HeaderMap {
    let kept = [header::ALLOW, header::WWW_AUTHENTICATE, header::RETRY_AFTER];
    kept.into_iter().filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))).collect()
}
