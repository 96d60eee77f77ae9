//! Who reads a page or sends a form: the same [`Caller`] as the API's, and what the page's frame says of them.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, Uri, header, request::Parts},
};
use longshore_core::{
    SessionId,
    access::{Action, Object, Rights},
};
use subtle::ConstantTimeEq as _;

use crate::{ApiError, auth::Caller, public_url::BasePath, server::Server};

#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) caller: Caller,
    /// Nothing for whoever has not, and for a program with a token.
    pub(crate) signed_in: Option<SignedIn>,
    /// The page they are on: where signing in leads back to.
    pub(super) here: String,
}

/// What pages of a build and a job show buttons for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MayDo {
    pub(crate) cancel: bool,
    pub(crate) rerun: bool,
    pub(crate) approve: bool,
}

impl MayDo {
    pub(crate) fn with(caller: &Caller, object: Object) -> Self {
        let may = |action| caller.may(action, object);
        Self { cancel: may(Action::Cancel), rerun: may(Action::Rerun), approve: may(Action::Approve) }
    }
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

impl Visitor {
    /// The hidden field of forms.
    pub(crate) fn csrf(&self) -> String {
        self.signed_in.as_ref().map(|reader| reader.csrf.clone()).unwrap_or_default()
    }

    /// Whoever is shown an error, whatever was asked.
    pub(super) async fn of_any(parts: &Parts, server: &Server) -> Result<Self, ApiError> {
        let caller = Caller::identify(&parts.headers, server).await?;
        Ok(Self::of(caller, parts, server.base()))
    }

    /// Of a form, whose token the caller of this checks: only [`Post`](super::post::Post).
    pub(super) async fn of_write(parts: &Parts, server: &Arc<Server>) -> Result<Self, ApiError> {
        let visitor = Self::of_any(parts, server).await?;
        visitor.caller.require(Action::UseOwnSessions, Object::Oneself)?;
        Ok(visitor)
    }

    /// Whoever is about to sign in.
    pub(super) fn nobody() -> Self {
        Self { caller: Caller::nobody(), signed_in: None, here: "/".to_owned() }
    }

    fn of(caller: Caller, parts: &Parts, base: &BasePath) -> Self {
        let signed_in = caller.signed_in();
        Self { caller, signed_in, here: here(parts, base) }
    }
}

/// The address of the page; of a form, the page that it was sent from.
fn here(parts: &Parts, base: &BasePath) -> String {
    let from = |headers: &HeaderMap| headers.get(header::REFERER)?.to_str().ok()?.parse::<Uri>().ok();
    let address = if parts.method == Method::POST { from(&parts.headers) } else { Some(parts.uri.clone()) };
    let path = address.as_ref().and_then(|address| address.path_and_query()).map_or("/", |path| path.as_str());
    base.strip(path).unwrap_or_else(|| path.to_owned())
}

impl FromRequestParts<Arc<Server>> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, ApiError> {
        // A caller by cookie who writes has to show the CSRF token: this one knows of no form.
        Ok(Self::of(Caller::from_request_parts(parts, server).await?, parts, server.base()))
    }
}
