//! Finds out who sent a request, and what they may see and do. [`may`] decides that; every handler asks it through
//! [`Caller`].
//!
//! A program sends a token. A browser sends the cookie of its session, which has the rights of the token that opened
//! it. The cookie alone writes nothing: a write must bring the session's CSRF token too, in the header `X-CSRF-Token`
//! or in a page's form.
//!
//! An object that a caller may not see is answered for like one that does not exist. A missing scope is reported before
//! anything is looked up. So no answer tells anybody what exists.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use longshore_core::{
    RepoId, SessionId, Timestamp,
    access::{Action, Actor, Object, Rights, Verdict, Via, Visible, Who, may},
};
use longshore_store::{
    Store,
    repos::{self, Repo},
    sessions::{self, Opener},
    tokens,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{error::ApiError, public_url::PublicUrl};

/// Returns the name of the cookie that holds a session. Over TLS, browsers accept this name from this host alone and
/// with `Secure`: no other host of the domain can put its own cookie in its place.
///
/// Browsers accept the prefix `__Host-` only for a whole host. Below a path the host is shared, so the cookie is bound
/// to the path instead: other things served there do not receive the session's secret, and a second Longshore there
/// does not replace it. The name still says that the cookie was set over TLS.
pub(crate) fn session_cookie_name(url: &PublicUrl) -> &'static str {
    match (url.is_https(), url.base().is_empty()) {
        (true, true) => "__Host-longshore_session",
        (true, false) => "__Secure-longshore_session",
        (false, _) => "longshore_session",
    }
}

/// The sender of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// `None` without a token or a session.
    holder: Option<Holder>,
    session: Option<BySession>,
}

/// Somebody with a token, or with a session that a token opened.
#[derive(Debug, Clone)]
struct Holder {
    rights: Rights,
    /// The token: recorded with what the caller does, and used for links that sign in as it.
    opener: Opener,
}

/// The session whose cookie the request carries.
#[derive(Debug, Clone)]
struct BySession {
    id: SessionId,
    csrf: String,
}

/// A browser's session, as pages show it.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    pub(crate) id: SessionId,
    pub(crate) name: String,
    pub(crate) rights: Rights,
    /// Goes into every form.
    pub(crate) csrf: String,
}

impl SignedIn {
    pub(crate) fn has_token(&self, csrf: &str) -> bool {
        self.csrf.as_bytes().ct_eq(csrf.as_bytes()).into()
    }
}

impl Caller {
    /// Returns a caller without a token or a session.
    pub(crate) fn nobody() -> Self {
        Self { holder: None, session: None }
    }

    fn who(&self) -> Who<'_> {
        self.holder.as_ref().map_or(Who::Anonymous, |holder| Who::Holder(&holder.rights))
    }

    /// Returns whether the caller may do it, for parts of a page that only they see.
    pub(crate) fn may(&self, action: Action, object: Object) -> bool {
        may(self.who(), action, object) == Verdict::Yes
    }

    /// Fails if the caller may not do it.
    pub(crate) fn require(&self, action: Action, object: Object) -> Result<(), ApiError> {
        match may(self.who(), action, object) {
            Verdict::Yes => Ok(()),
            Verdict::Hidden => Err(ApiError::not_found("repository")),
            Verdict::NeedsToken => Err(ApiError::unauthorized(format!(
                "authentication required: send `Authorization: Bearer <token>` with a token that has the scope `{}`",
                action.scope()
            ))),
            Verdict::NeedsScope(needed) => {
                let has = self.holder.as_ref().map(|holder| holder.rights.to_string()).unwrap_or_default();
                Err(ApiError::forbidden(format!("this requires the scope `{needed}`; your token has `{has}`")))
            }
            Verdict::NeedsAllRepos => {
                Err(ApiError::forbidden("this requires a token for all repositories; yours is limited to some"))
            }
        }
    }

    /// Returns the repository if the caller may do that with it.
    pub(crate) async fn repo_to(&self, store: &Store, action: Action, id: RepoId) -> Result<Repo, ApiError> {
        self.require(action, Object::SomeRepo)?;
        let repo = repos::get(store, id).await?.ok_or_else(|| ApiError::not_found("repository"))?;
        self.require(action, object_of(&repo))?;
        Ok(repo)
    }

    /// Returns the repository if the caller may see it.
    pub(crate) async fn repo(&self, store: &Store, id: RepoId) -> Result<Repo, ApiError> {
        self.repo_to(store, Action::See, id).await
    }

    /// Returns whether the caller may see what belongs or belonged to this repository.
    pub(crate) async fn may_see(&self, store: &Store, id: RepoId) -> Result<bool, ApiError> {
        // Callers who would see the repository if it were private also see that it is gone.
        if self.may(Action::See, Object::Repo { id, public: false }) {
            return Ok(true);
        }
        Ok(repos::get(store, id).await?.is_some_and(|repo| self.may(Action::See, object_of(&repo))))
    }

    /// Returns what lists show the caller.
    pub(crate) fn visible(&self) -> Visible {
        Visible::to(self.who())
    }

    /// Returns whether the caller has not signed in, and might see more afterwards. Their rights are not considered.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.holder.is_none()
    }

    /// Returns the token's name, empty without a token.
    pub(crate) fn name(&self) -> &str {
        self.holder.as_ref().map_or("", |holder| &holder.opener.name)
    }

    /// Returns the caller as the record of an act names them.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            name: self.name().to_owned(),
            via: if self.session.is_some() { Via::Session } else { Via::Token },
            token: self.holder.as_ref().and_then(|holder| holder.opener.token),
        }
    }

    /// Returns whom a sign-in link of the caller signs in; `None` without a token.
    pub(crate) fn opener(&self) -> Option<&Opener> {
        self.holder.as_ref().map(|holder| &holder.opener)
    }

    pub(crate) fn rights(&self) -> Option<&Rights> {
        self.holder.as_ref().map(|holder| &holder.rights)
    }

    /// Returns the browser's session, if the caller came by one.
    pub(crate) fn signed_in(&self) -> Option<SignedIn> {
        let (BySession { id, csrf }, Holder { rights, opener }) = (self.session.clone()?, self.holder.clone()?);
        Some(SignedIn { id, name: opener.name, rights, csrf })
    }
}

/// Returns a repository as the object of a question of rights.
pub(crate) fn object_of(repo: &Repo) -> Object {
    Object::Repo { id: repo.id, public: repo.public }
}

impl<S> FromRequestParts<S> for Caller
where
    Authenticator: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Authenticator::from_ref(state).identify(&parts.headers).await?;
        if let Some(session) = &caller.session
            && !parts.method.is_safe()
        {
            let token = parts.headers.get("x-csrf-token").map_or(&b""[..], |value| value.as_bytes());
            if !bool::from(session.csrf.as_bytes().ct_eq(token)) {
                return Err(ApiError::forbidden(
                    "requests from a browser session that change something need its token in `X-CSRF-Token`",
                ));
            }
        }
        Ok(caller)
    }
}

/// Finds out who sent a request.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    store: Store,
    admin_token_hash: Option<[u8; 32]>,
    cookie_name: &'static str,
}

impl Authenticator {
    /// `admin_token_hash` is the SHA-256 of the administrator's token, if there is one.
    pub(crate) fn new(store: Store, admin_token_hash: Option<[u8; 32]>, public_url: &PublicUrl) -> Self {
        Self { store, admin_token_hash, cookie_name: session_cookie_name(public_url) }
    }

    /// Returns who sent these headers, whatever the request asks for.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        match bearer(headers)? {
            Some(secret) => match self.by_token(&secret).await? {
                Some(caller) => Ok(caller),
                None => Err(ApiError::unauthorized("invalid token: it was revoked, has expired or never existed")),
            },
            None => self.by_cookie(headers).await,
        }
    }

    /// Returns whose token it is, or `None` if it is not one of this server.
    pub(crate) async fn by_token(&self, secret: &str) -> Result<Option<Caller>, ApiError> {
        if is_admin_token(secret, self.admin_token_hash) {
            let opener = Opener { name: "admin".to_owned(), token: None, until: None };
            return Ok(Some(Caller { holder: Some(Holder { rights: Rights::everything(), opener }), session: None }));
        }
        let token = tokens::verify(&self.store, secret, Timestamp::now()).await?;
        Ok(token.map(|token| {
            let opener = Opener { name: token.name, token: Some(token.id), until: token.expires_at };
            Caller { holder: Some(Holder { rights: token.rights, opener }), session: None }
        }))
    }

    /// Returns the caller of a cookie. The cookie of a session that has ended is not an error: its browser sees what
    /// everybody sees, and the way to sign in.
    async fn by_cookie(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let Some(secret) = session_cookie(headers, self.cookie_name) else {
            return Ok(Caller::nobody());
        };
        let Some(session) = sessions::verify(&self.store, secret, Timestamp::now()).await? else {
            return Ok(Caller::nobody());
        };
        let opener = Opener { name: session.name, token: session.token, until: Some(session.expires_at) };
        Ok(Caller {
            holder: Some(Holder { rights: session.rights, opener }),
            session: Some(BySession { id: session.id, csrf: csrf_token(secret) }),
        })
    }
}

fn session_cookie<'a>(headers: &'a HeaderMap, cookie_name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == cookie_name).then_some(value)
    })
}

/// Returns the CSRF token that a session's forms hold. It follows from the cookie; the cookie does not follow from it.
fn csrf_token(secret: &str) -> String {
    let hash = Sha256::new().chain_update("longshore csrf ").chain_update(secret).finalize();
    hash.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the token of the `Authorization` header, `None` without that header.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let token = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => token.trim().to_owned(),
            // Desktop tools know names and passwords: the token is the password. No answer asks a browser for one.
            "basic" => {
                let decoded = String::from_utf8(STANDARD.decode(token.trim()).ok()?).ok()?;
                decoded.split_once(':')?.1.to_owned()
            }
            _ => return None,
        };
        Some(token).filter(|token| !token.is_empty())
    });
    match token {
        Some(token) => Ok(Some(token)),
        None => Err(ApiError::unauthorized("the header must be `Authorization: Bearer <token>`")),
    }
}

/// Compares hashes in constant time, so that neither the length nor the beginning of the secret shows.
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
        assert_eq!(bearer(&with("bearer abc")).unwrap().as_deref(), Some("abc"));
        // `any:abc`
        assert_eq!(bearer(&with("Basic YW55OmFiYw==")).unwrap().as_deref(), Some("abc"));
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
