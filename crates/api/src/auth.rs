//! Who asks, and what they may see and do.
//!
//! A token has scopes, `read` < `build` < `admin`. Without one only public repositories are seen. What may not be
//! seen is answered like what is not there; what may not be done is refused before anything is looked up. So nobody
//! learns from an answer what exists.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use longshore_core::{RepoId, Timestamp};
use longshore_store::{
    repos::{self, Repo},
    tokens::{self, Scope},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{ApiError, server::Server};

/// Whoever sent the request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The highest scope of the token; nothing without a token.
    scope: Option<Scope>,
    /// The token's name, for the record of who asked.
    name: String,
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

    pub(crate) fn name(&self) -> &str {
        &self.name
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
        let Some(secret) = bearer(&parts.headers)? else { return Ok(Self { scope: None, name: String::new() }) };
        if is_admin_token(secret, server.config.admin_token_hash) {
            return Ok(Self { scope: Some(Scope::Admin), name: "admin".to_owned() });
        }
        match tokens::verify(&server.store, secret, Timestamp::now()).await? {
            Some(token) => Ok(Self { scope: token.scopes.iter().max().copied(), name: token.name }),
            None => {
                Err(ApiError::unauthorized("the token is not valid: it was revoked, has expired, or never was one"))
            }
        }
    }
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
