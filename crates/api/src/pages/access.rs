//! `/access`: who may get in. One's own sessions; for administrators all of them, and the tokens.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use longshore_core::{SessionId, Timestamp, TokenId};
use longshore_store::{
    sessions::{self, Session},
    tokens::{self, CreatedToken, Scope, Token},
};
use serde::Deserialize;

use super::{
    Head, Html, Place, Visitor,
    post::{Nothing, Post, Refused, refused, see},
    show,
};
use crate::{ApiError, params::Path, server::Server};

#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    head: Head,
    csrf: String,
    this: Option<SessionId>,
    sessions: Vec<Session>,
    admin: bool,
    tokens: Vec<Token>,
    /// A token that was just made: its name and its secret.
    made: Option<(String, String)>,
    form: NewToken,
    /// Why none was made.
    refused: Option<String>,
}

impl AccessPage {
    /// Scopes, and what they are for.
    fn scopes(&self) -> [(&'static str, &'static str); 3] {
        [
            ("read", "read: see everything"),
            ("build", "build: start, cancel and rerun builds too"),
            ("admin", "admin: everything"),
        ]
    }
}

pub(crate) async fn show(State(server): State<Arc<Server>>, visitor: Visitor) -> Result<Response, ApiError> {
    if visitor.caller.only_public() {
        return Ok(see("/sign-in?next=/access"));
    }
    Ok(Html(page(&server, &visitor).await?).into_response())
}

async fn page(server: &Server, visitor: &Visitor) -> Result<AccessPage, ApiError> {
    let head = Head::new(server, visitor, Place::Access, "Access");
    let admin = visitor.is_admin();
    let mut sessions = sessions::list(&server.store, Timestamp::now()).await?;
    sessions.retain(|session| may_end(visitor, session));
    let tokens = if admin { tokens::list(&server.store).await? } else { Vec::new() };
    let this = visitor.signed_in.as_ref().map(|session| session.id);
    let (csrf, form) = (visitor.csrf(), NewToken::default());
    Ok(AccessPage { head, csrf, this, sessions, admin, tokens, made: None, form, refused: None })
}

/// A browser as people call it, by what it calls itself: all of them claim to be several.
fn browser(agent: &str) -> String {
    let first =
        |names: &[(&str, &'static str)]| names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    let name = first(&[
        ("Firefox/", "Firefox"),
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = first(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (name, system) {
        (Some(name), Some(system)) => format!("{name} on {system}"),
        (Some(name), None) => name.to_owned(),
        (None, _) => agent.to_owned(),
    }
}

/// One's own are those of the same token.
fn may_end(visitor: &Visitor, session: &Session) -> bool {
    let own = visitor.caller.opener().is_some_and(|opener| opener.token == session.token && session.token.is_some());
    own || visitor.is_admin()
}

pub(crate) async fn end_session(
    State(server): State<Arc<Server>>,
    Path(id): Path<SessionId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    let sessions = sessions::list(&server.store, Timestamp::now()).await?;
    let found = sessions.iter().any(|session| session.id == id && may_end(&visitor, session));
    if !found {
        return Err(ApiError::no_such("session"));
    }
    let mut tx = server.store.write().await?;
    sessions::end(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(session = %id, by = visitor.caller.name(), "a session was ended");
    Ok(see("/access"))
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct NewToken {
    name: String,
    scope: String,
    /// Days; for ever where it is empty.
    #[serde(default)]
    days: String,
}

/// Answers with the page itself: the secret is shown this once.
pub(crate) async fn create_token(
    State(server): State<Arc<Server>>,
    Post { visitor, form }: Post<NewToken>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Admin)?;
    match token(&server, &form).await {
        Ok(new) => {
            tracing::info!(token = %new.token.id, name = new.token.name, by = visitor.caller.name(), "a token was made");
            let made = Some((new.token.name, new.secret));
            Ok(Html(AccessPage { made, ..page(&server, &visitor).await? }).into_response())
        }
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            let page = AccessPage { form, refused: Some(why), ..page(&server, &visitor).await? };
            Ok((status, Html(page)).into_response())
        }
    }
}

async fn token(server: &Server, form: &NewToken) -> Result<CreatedToken, ApiError> {
    let scope: Scope = form.scope.parse().map_err(ApiError::bad_request)?;
    let now = Timestamp::now();
    let expires_at = match form.days.trim() {
        "" => None,
        days => match days.parse::<u16>() {
            Ok(days @ 1..) => Some(Timestamp::from_millis(now.as_millis() + i64::from(days) * 86_400_000)),
            Ok(0) | Err(_) => return Err(ApiError::bad_request("a token lives for 1 to 65,535 days, or for ever")),
        },
    };
    let mut tx = server.store.write().await?;
    let made = tokens::create(&mut tx, form.name.trim(), &[scope], expires_at, now).await?;
    tx.commit().await?;
    Ok(made)
}

pub(crate) async fn revoke_token(
    State(server): State<Arc<Server>>,
    Path(id): Path<TokenId>,
    Post { visitor, .. }: Post<Nothing>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Scope::Admin)?;
    let mut tx = server.store.write().await?;
    tokens::revoke(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(token = %id, by = visitor.caller.name(), "a token was revoked");
    Ok(see("/access"))
}

#[cfg(test)]
mod tests {
    use super::browser;

    #[test]
    fn a_browser_has_the_name_that_people_know() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 (KHTML, like Gecko) Version/18 Safari/604";
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let names = [chrome, phone, windows, "curl/8.5"].map(browser);
        assert_eq!(names, ["Chrome on Linux", "Safari on iPhone", "Firefox on Windows", "curl/8.5"]);
    }
}
