//! `/access`: who may sign in. Shows the visitor's own sessions; administrators see all sessions and the tokens.

use std::collections::HashMap;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use longshore_core::{
    RepoId, SessionId, Timestamp, TokenId,
    access::{Action, Object, Rights},
};
use longshore_store::{
    repos,
    sessions::{self, Session},
    tokens::{self, CreatedToken, Scope, Token},
};

use super::{
    head::{Head, Place},
    html::Html,
    post::{NoFields, Post, Refused, refused, see_other},
    show,
    site::Site,
    visitor::Visitor,
};
use crate::{error::ApiError, params::Path, token_expiry::end_after};

#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    head: Head,
    csrf: String,
    this: Option<SessionId>,
    sessions: Vec<Session>,
    admin: bool,
    tokens: Vec<Token>,
    /// The names of the repositories that tokens and sessions are limited to.
    names: HashMap<RepoId, String>,
    /// The token that was just made: its name and its secret.
    made: Option<(String, String)>,
    form: NewToken,
    /// Why no token was made.
    refused: Option<String>,
}

impl AccessPage {
    /// Returns each scope with what it is for.
    fn scopes(&self) -> [(&'static str, &'static str); 4] {
        Scope::ALL.map(|scope| {
            let what = match scope {
                Scope::Read => "view everything",
                Scope::Build => "also start, cancel and rerun builds",
                Scope::Approve => "also approve and decline jobs",
                Scope::Admin => "everything",
            };
            (scope.as_str(), what)
        })
    }

    /// Returns the names of the repositories that a token or a session is limited to.
    fn repos(&self, rights: &Rights) -> String {
        let name = |id: &RepoId| self.names.get(id).cloned().unwrap_or_else(|| "a deleted repository".to_owned());
        rights.repos().map_or_else(String::new, |repos| repos.iter().map(name).collect::<Vec<_>>().join(", "))
    }
}

pub(crate) async fn show(State(site): State<Site>, visitor: Visitor) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see_other("/sign-in?next=/access"));
    }
    Ok(Html(page(&site, &visitor).await?).into_response())
}

async fn page(site: &Site, visitor: &Visitor) -> Result<AccessPage, ApiError> {
    let head = Head::new(site, visitor, Place::Access, "Access");
    let admin = visitor.caller.may(Action::ManageTokens, Object::Server);
    let mut sessions = sessions::list(&site.store, Timestamp::now()).await?;
    sessions.retain(|session| may_end(visitor, session));
    let tokens = if admin { tokens::list(&site.store).await? } else { Vec::new() };
    let this = visitor.signed_in.as_ref().map(|session| session.id);
    let (csrf, form) = (visitor.csrf(), NewToken::default());
    let mut listed: Vec<RepoId> = Vec::new();
    for rights in sessions.iter().map(|session| &session.rights).chain(tokens.iter().map(|token| &token.rights)) {
        listed.extend(rights.repos().unwrap_or_default());
    }
    let names = repo_names(site, &listed).await?;
    Ok(AccessPage { head, csrf, this, sessions, admin, tokens, names, made: None, form, refused: None })
}

async fn repo_names(site: &Site, ids: &[RepoId]) -> Result<HashMap<RepoId, String>, ApiError> {
    let mut names = HashMap::new();
    for id in ids {
        if !names.contains_key(id)
            && let Some(repo) = repos::get(&site.store, *id).await?
        {
            names.insert(*id, repo.name);
        }
    }
    Ok(names)
}

/// Returns the name that people know a browser by, from its user agent. Every browser claims to be several.
fn browser_name(agent: &str) -> String {
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

/// Returns whether the visitor may end this session. Their own sessions are those of the same token.
fn may_end(visitor: &Visitor, session: &Session) -> bool {
    let own = visitor.caller.opener().is_some_and(|opener| opener.token == session.token && session.token.is_some());
    let may = |action, object| visitor.caller.may(action, object);
    own && may(Action::UseOwnSessions, Object::Oneself) || may(Action::ManageSessions, Object::Server)
}

pub(crate) async fn end_session(
    State(site): State<Site>,
    Path(id): Path<SessionId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    let sessions = sessions::list(&site.store, Timestamp::now()).await?;
    let found = sessions.iter().any(|session| session.id == id && may_end(&visitor, session));
    if !found {
        return Err(ApiError::not_found("session"));
    }
    let mut tx = site.store.write().await?;
    sessions::end(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(session = %id, by = visitor.caller.name(), "a session was ended");
    Ok(see_other("/access"))
}

#[derive(Debug, Default)]
pub(crate) struct NewToken {
    name: String,
    scopes: Vec<String>,
    /// Names of repositories; empty for all of them.
    repos: String,
    /// Days; empty for ever.
    days: String,
}

impl NewToken {
    fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        let mut new = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "name" => value.trim().clone_into(&mut new.name),
                "scope" => new.scopes.push(value),
                "repos" => new.repos = value,
                "days" => value.trim().clone_into(&mut new.days),
                _ => {}
            }
        }
        new
    }

    fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|word| word == scope)
    }
}

/// Answers with the page itself, since the secret is shown only this once.
pub(crate) async fn create_token(
    State(site): State<Site>,
    Post { visitor, form }: Post<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let form = NewToken::from_pairs(form);
    visitor.caller.require(Action::ManageTokens, Object::Server)?;
    match make_token(&site, &form).await {
        Ok(new) => {
            tracing::info!(token = %new.token.id, name = new.token.name, by = visitor.caller.name(), "a token was created");
            let made = Some((new.token.name, new.secret));
            Ok(Html(AccessPage { made, ..page(&site, &visitor).await? }).into_response())
        }
        Err(error) => {
            let Refused { status, why } = refused(error)?;
            let page = AccessPage { form, refused: Some(why), ..page(&site, &visitor).await? };
            Ok((status, Html(page)).into_response())
        }
    }
}

async fn make_token(site: &Site, form: &NewToken) -> Result<CreatedToken, ApiError> {
    let scopes = form.scopes.iter().map(|word| word.parse()).collect::<Result<Vec<Scope>, String>>();
    let scopes = scopes.map_err(ApiError::bad_request)?;
    let mut listed = Vec::new();
    for name in form.repos.split([',', ' ', '\n', '\r']).filter(|name| !name.is_empty()) {
        let repo = repos::by_name(&site.store, name).await?;
        let repo =
            repo.ok_or_else(|| ApiError::bad_request(format!("repository `{}` not found", show::cut(name, 200))))?;
        listed.push(repo.id);
    }
    let repos = Some(listed).filter(|repos| !repos.is_empty());
    let now = Timestamp::now();
    let expires_at = match form.days.as_str() {
        "" => None,
        // Anything that is not a number is refused like 0 days.
        days => Some(end_after(days.parse().unwrap_or(0), now)?),
    };
    let new = tokens::NewToken { name: form.name.clone(), rights: Rights::new(scopes, repos), expires_at };
    let mut tx = site.store.write().await?;
    let made = tokens::create(&mut tx, &new, now).await?;
    tx.commit().await?;
    Ok(made)
}

pub(crate) async fn revoke_token(
    State(site): State<Site>,
    Path(id): Path<TokenId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    visitor.caller.require(Action::ManageTokens, Object::Server)?;
    let mut tx = site.store.write().await?;
    tokens::revoke(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(token = %id, by = visitor.caller.name(), "a token was revoked");
    Ok(see_other("/access"))
}

#[cfg(test)]
mod tests {
    use super::browser_name;

    #[test]
    fn a_browser_has_the_name_that_people_know() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 (KHTML, like Gecko) Version/18 Safari/604";
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let names = [chrome, phone, windows, "curl/8.5"].map(browser_name);
        assert_eq!(names, ["Chrome on Linux", "Safari on iPhone", "Firefox on Windows", "curl/8.5"]);
    }
}
