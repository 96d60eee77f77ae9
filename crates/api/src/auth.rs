//! Who asks. What they may see and do is [`may`]'s to say, which every handler asks through [`Caller`].
//!
//! A program sends a token, a browser the cookie of its session, which has the rights of the token that opened it. By cookie alone
//! nothing is written: a write has to bring the session's CSRF token too, in the header `X-CSRF-Token` or in a page's form.
//!
//! What may not be seen is answered like what is not there. Whether a scope is missing is said before anything is looked up. So
//! nobody learns from an answer what exists.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use longshore_core::{
    RepoId, SessionId, Timestamp,
    access::{Action, Actor, Object, Rights, Verdict, Via, Visible, Who, may},
};
use longshore_store::{
    repos::{self, Repo},
    sessions::{self, Opener},
    tokens,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::{ApiError, pages::SignedIn, public_url::PublicUrl, server::Server, sse};

/// The cookie that holds a session. Over TLS its name is one that browsers take from this host alone, with `Secure`: no other host of
/// the domain can put its own in its place.
///
/// Browsers take such a name only for a whole host. Below a path the host is shared, so the cookie is bound to the path instead: what
/// else is served there is not sent the session's secret, and a second Longshore there does not replace it. Its name still says that it
/// was set over TLS.
pub(crate) fn session_cookie_name(url: &PublicUrl) -> &'static str {
    match (url.is_https(), url.base().is_empty()) {
        (true, true) => "__Host-longshore_session",
        (true, false) => "__Secure-longshore_session",
        (false, _) => "longshore_session",
    }
}

/// Whoever sent the request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Nothing of whoever has neither a token nor a session.
    holder: Option<Holder>,
    session: Option<BySession>,
}

/// Who has a token, or a session that came from one.
#[derive(Debug, Clone)]
struct Holder {
    rights: Rights,
    /// The token, for the record of who asked and for links that sign in as it.
    opener: Opener,
}

/// Who comes by a session's cookie.
#[derive(Debug, Clone)]
struct BySession {
    id: SessionId,
    csrf: String,
}

impl Caller {
    fn who(&self) -> Who<'_> {
        self.holder.as_ref().map_or(Who::Anonymous, |holder| Who::Holder(&holder.rights))
    }

    /// Whether they may, for what is shown to those who may and to no others.
    pub(crate) fn may(&self, action: Action, object: Object) -> bool {
        may(self.who(), action, object) == Verdict::Yes
    }

    /// Refuses whoever may not.
    pub(crate) fn require(&self, action: Action, object: Object) -> Result<(), ApiError> {
        match may(self.who(), action, object) {
            Verdict::Yes => Ok(()),
            Verdict::Hidden => Err(ApiError::no_such("repository")),
            Verdict::NeedsToken => Err(ApiError::unauthorized(format!(
                "this needs a token with the scope `{}`: send `Authorization: Bearer …`",
                action.scope()
            ))),
            Verdict::NeedsScope(needed) => {
                let has = self.holder.as_ref().map(|holder| holder.rights.to_string()).unwrap_or_default();
                Err(ApiError::forbidden(format!("this needs a token with the scope `{needed}`; yours has `{has}`")))
            }
            Verdict::NeedsAllRepos => {
                Err(ApiError::forbidden("this needs a token for all repositories; yours is for some of them"))
            }
        }
    }

    /// The repository, where they may do that with it.
    pub(crate) async fn repo_to(&self, server: &Server, action: Action, id: RepoId) -> Result<Repo, ApiError> {
        self.require(action, Object::SomeRepo)?;
        let repo = repos::get(&server.store, id).await?.ok_or_else(|| ApiError::no_such("repository"))?;
        self.require(action, of(&repo))?;
        Ok(repo)
    }

    /// The repository, where they may see it.
    pub(crate) async fn repo(&self, server: &Server, id: RepoId) -> Result<Repo, ApiError> {
        self.repo_to(server, Action::See, id).await
    }

    /// Whether they may see what belongs to this repository, or belonged to it.
    pub(crate) async fn may_see(&self, server: &Server, id: RepoId) -> Result<bool, ApiError> {
        // That a repository is gone is seen by those who would see it if it were private.
        if self.may(Action::See, Object::Repo { id, public: false }) {
            return Ok(true);
        }
        Ok(repos::get(&server.store, id).await?.is_some_and(|repo| self.may(Action::See, of(&repo))))
    }

    /// What lists show them.
    pub(crate) fn visible(&self) -> Visible {
        Visible::to(self.who())
    }

    /// Whether they would see more if they signed in. Says nothing of what they may.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.holder.is_none()
    }

    /// The token's name.
    pub(crate) fn name(&self) -> &str {
        self.holder.as_ref().map_or("", |holder| &holder.opener.name)
    }

    /// Who did it, for the record.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            name: self.name().to_owned(),
            via: if self.session.is_some() { Via::Session } else { Via::Token },
            token: self.holder.as_ref().and_then(|holder| holder.opener.token),
        }
    }

    /// Whom a sign-in link of the caller's signs in; nobody without a token.
    pub(crate) fn opener(&self) -> Option<&Opener> {
        self.holder.as_ref().map(|holder| &holder.opener)
    }

    /// The browser's session, if it is one.
    pub(crate) fn signed_in(&self) -> Option<SignedIn> {
        let (BySession { id, csrf }, Holder { rights, opener }) = (self.session.clone()?, self.holder.clone()?);
        Some(SignedIn { id, name: opener.name, rights, csrf })
    }
}

/// A repository, as it is asked about.
pub(crate) fn of(repo: &Repo) -> Object {
    Object::Repo { id: repo.id, public: repo.public }
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
        Self { holder: None, session: None }
    }

    /// Whose token it is; nobody's if it is none of ours.
    pub(crate) async fn by_token(server: &Server, secret: &str) -> Result<Option<Self>, ApiError> {
        if is_admin_token(secret, server.config.admin_token_hash) {
            let opener = Opener { name: "admin".to_owned(), token: None, until: None };
            return Ok(Some(Self { holder: Some(Holder { rights: Rights::everything(), opener }), session: None }));
        }
        let token = tokens::verify(&server.store, secret, Timestamp::now()).await?;
        Ok(token.map(|token| {
            let opener = Opener { name: token.name, token: Some(token.id), until: token.expires_at };
            Self { holder: Some(Holder { rights: token.rights, opener }), session: None }
        }))
    }

    /// A cookie of a session that is over is no error: its browser sees what everybody sees, and the way to sign in.
    async fn by_cookie(headers: &HeaderMap, server: &Server) -> Result<Self, ApiError> {
        let Some(secret) = session_cookie(headers, session_cookie_name(&server.config.public_url)) else {
            return Ok(Self::nobody());
        };
        let Some(session) = sessions::verify(&server.store, secret, Timestamp::now()).await? else {
            return Ok(Self::nobody());
        };
        let opener = Opener { name: session.name, token: session.token, until: Some(session.expires_at) };
        Ok(Self {
            holder: Some(Holder { rights: session.rights, opener }),
            session: Some(BySession { id: session.id, csrf: csrf_token(secret) }),
        })
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
        let rights = |caller: &Caller| caller.holder.as_ref().map(|holder| holder.rights.clone());
        rights(&self.caller) == rights(&before)
    }
}

fn session_cookie<'a>(headers: &'a HeaderMap, called: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == called).then_some(value)
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
