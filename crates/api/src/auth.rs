//! Who asks, and what they may see and do.
//!
//! A program sends a token, a browser the cookie of its session, which does what the token did that opened it. By cookie alone
//! nothing is written: a write has to bring the session's CSRF token too, in the header `X-CSRF-Token` or in a page's form.
//!
//! A token has scopes, `read` < `build` < `admin`. Without one only public repositories are seen. What may not be
//! seen is answered like what is not there; what may not be done is refused before anything is looked up. So nobody
//! learns from an answer what exists.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use longshore_core::{RepoId, SessionId, Timestamp};
use longshore_store::{
    repos::{self, Repo},
    sessions::{self, Opener},
    tokens::{self, Scope},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::{ApiError, pages::SignedIn, server::Server, sse};

/// The cookie that holds a session.
pub(crate) const SESSION_COOKIE: &str = "longshore_session";

/// Whoever sent the request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The highest scope of the token or the session; nothing without one.
    scope: Option<Scope>,
    /// The token, for the record of who asked and for links that sign in as it.
    opener: Option<Opener>,
    session: Option<BySession>,
}

/// Who comes by a session's cookie.
#[derive(Debug, Clone)]
struct BySession {
    id: SessionId,
    csrf: String,
}

impl Caller {
    /// Refuses whoever has no token with this scope.
    pub(crate) fn require(&self, needed: Scope) -> Result<(), ApiError> {
        match self.scope {
            Some(scope) if scope >= needed => Ok(()),
            Some(scope) => {
                Err(ApiError::forbidden(format!("this needs a token with the scope `{needed}`; yours has `{scope}`")))
            }
            None => Err(ApiError::unauthorized(format!(
                "this needs a token with the scope `{needed}`: send `Authorization: Bearer …`"
            ))),
        }
    }

    /// Whether private repositories are hidden from the caller.
    pub(crate) fn only_public(&self) -> bool {
        self.scope.is_none()
    }

    /// The token's name.
    pub(crate) fn name(&self) -> &str {
        self.opener.as_ref().map_or("", |opener| &opener.name)
    }

    /// Whom a sign-in link of the caller's signs in; nobody without a token.
    pub(crate) fn opener(&self) -> Option<&Opener> {
        self.opener.as_ref()
    }

    /// The browser's session, if it is one.
    pub(crate) fn signed_in(&self) -> Option<SignedIn> {
        let (BySession { id, csrf }, Opener { name, scope, .. }) = (self.session.clone()?, self.opener.clone()?);
        Some(SignedIn { id, name, scope, csrf })
    }

    /// The repository, if the caller may see it.
    pub(crate) async fn repo(&self, server: &Server, id: RepoId) -> Result<Repo, ApiError> {
        match repos::get(&server.store, id).await? {
            Some(repo) if repo.public || !self.only_public() => Ok(repo),
            Some(_) | None => Err(ApiError::no_such("repository")),
        }
    }

    /// Whether the caller may see what belongs to this repository.
    pub(crate) async fn may_see(&self, server: &Server, repo: RepoId) -> Result<bool, ApiError> {
        if !self.only_public() {
            return Ok(true);
        }
        Ok(repos::get(&server.store, repo).await?.is_some_and(|repo| repo.public))
    }
}

impl FromRequestParts<Arc<Server>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, ApiError> {
        let caller = Self::identify(&parts.headers, server).await?;
        if let Some(session) = &caller.session
            && !parts.method.is_safe()
        {
            let token = parts.headers.get("x-csrf-token").map_or(&b""[..], |value| value.as_bytes());
            if !bool::from(session.csrf.as_bytes().ct_eq(token)) {
                return Err(ApiError::forbidden("a write by a browser's session needs its token in `X-CSRF-Token`"));
            }
        }
        Ok(caller)
    }
}

impl Caller {
    /// Who sent these headers, whatever they want.
    pub(crate) async fn identify(headers: &HeaderMap, server: &Server) -> Result<Self, ApiError> {
        match bearer(headers)? {
            Some(secret) => match Self::by_token(server, secret).await? {
                Some(caller) => Ok(caller),
                None => {
                    Err(ApiError::unauthorized("the token is not valid: it was revoked, has expired, or never was one"))
                }
            },
            None => Self::by_cookie(headers, server).await,
        }
    }

    pub(crate) fn nobody() -> Self {
        Self { scope: None, opener: None, session: None }
    }

    /// Whose token it is; nobody's if it is none of ours.
    pub(crate) async fn by_token(server: &Server, secret: &str) -> Result<Option<Self>, ApiError> {
        if is_admin_token(secret, server.config.admin_token_hash) {
            let admin = Opener { name: "admin".to_owned(), scope: Scope::Admin, token: None, until: None };
            return Ok(Some(Self { scope: Some(Scope::Admin), opener: Some(admin), session: None }));
        }
        let token = tokens::verify(&server.store, secret, Timestamp::now()).await?;
        Ok(token.and_then(|token| {
            let scope = token.scopes.iter().max().copied()?;
            let opener = Opener { name: token.name, scope, token: Some(token.id), until: token.expires_at };
            Some(Self { scope: Some(scope), opener: Some(opener), session: None })
        }))
    }

    /// A cookie of a session that is over is no error: its browser sees what everybody sees, and the way to sign in.
    async fn by_cookie(headers: &HeaderMap, server: &Server) -> Result<Self, ApiError> {
        let session = match session_cookie(headers) {
            Some(secret) => sessions::verify(&server.store, secret, Timestamp::now()).await?.map(|session| {
                let csrf = csrf_token(secret);
                (session, csrf)
            }),
            None => None,
        };
        let Some((session, csrf)) = session else { return Ok(Self::nobody()) };
        let opener =
            Opener { name: session.name, scope: session.scope, token: session.token, until: Some(session.expires_at) };
        Ok(Self { scope: Some(session.scope), opener: Some(opener), session: Some(BySession { id: session.id, csrf }) })
    }
}

/// Whoever reads an answer that has no end of its own. Now and then it is asked again who that is: when the token or the session is
/// over, so is the answer.
#[derive(Debug)]
pub(crate) struct Reader {
    caller: Caller,
    credentials: HeaderMap,
    next_look: Instant,
}

impl Reader {
    pub(crate) fn new(caller: Caller, headers: &HeaderMap) -> Self {
        let mut credentials = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::COOKIE] {
            for value in headers.get_all(&name) {
                credentials.append(&name, value.clone());
            }
        }
        Self { caller, credentials, next_look: Instant::now() + sse::KEEPALIVE }
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Waits until it is time to look, which is when a sign of life is due, too.
    pub(crate) async fn time_to_look(&self) {
        tokio::time::sleep_until(self.next_look).await;
    }

    /// Whether it may do what it might.
    pub(crate) async fn look(&mut self, server: &Server) -> bool {
        self.next_look = Instant::now() + sse::KEEPALIVE;
        // Whom nobody knows any more comes back, and is answered.
        let Ok(caller) = Caller::identify(&self.credentials, server).await else { return false };
        let before = std::mem::replace(&mut self.caller, caller);
        self.caller.scope >= before.scope
    }
}

fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == SESSION_COOKIE).then_some(value)
    })
}

/// What a session's forms hold: known to whoever has the cookie, and useless to whoever sees it.
fn csrf_token(secret: &str) -> String {
    let hash = Sha256::new().chain_update("longshore csrf ").chain_update(secret).finalize();
    hash.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

/// The token of an `Authorization` header; nothing where there is no such header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    });
    match token {
        Some(token) => Ok(Some(token)),
        None => Err(ApiError::unauthorized("the header has to be `Authorization: Bearer <token>`")),
    }
}

/// Compares hashes, in constant time: neither the length nor the beginning of the secret shows.
fn is_admin_token(secret: &str, admin_hash: Option<[u8; 32]>) -> bool {
    let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
    admin_hash.is_some_and(|admin| bool::from(admin.ct_eq(&hash)))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_header_that_is_no_bearer_token_is_refused_and_not_passed_over() {
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
        assert_eq!(bearer(&with("bearer abc")).unwrap(), Some("abc"));
        for bad in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert!(bearer(&with(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_an_admin_token_no_secret_is_the_admins() {
        let hash: [u8; 32] = Sha256::digest(b"secret").into();
        assert!(is_admin_token("secret", Some(hash)));
        assert!(!is_admin_token("secre", Some(hash)));
        assert!(!is_admin_token("", None));
    }
}
