//! The person who reads a page or sends a form: the same [`Caller`] as in the API, and what the page's frame shows of
//! them.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, Method, Uri, header, request::Parts},
};
use longshore_core::access::{Action, Object};

use crate::{
    auth::{Authenticator, Caller, SignedIn},
    error::ApiError,
    public_url::BasePath,
};

#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) caller: Caller,
    /// `None` for a visitor who has not signed in, and for a program with a token.
    pub(crate) signed_in: Option<SignedIn>,
    /// The address of their page, which signing in leads back to.
    pub(super) here: String,
}

/// Which buttons the pages of a build and a job show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AllowedActions {
    pub(crate) cancel: bool,
    pub(crate) rerun: bool,
    pub(crate) approve: bool,
}

impl AllowedActions {
    pub(crate) fn with(caller: &Caller, object: Object) -> Self {
        let may = |action| caller.may(action, object);
        Self { cancel: may(Action::Cancel), rerun: may(Action::Rerun), approve: may(Action::Approve) }
    }
}

impl Visitor {
    /// Returns the value of the hidden field `csrf` of forms.
    pub(crate) fn csrf(&self) -> String {
        self.signed_in.as_ref().map(|reader| reader.csrf.clone()).unwrap_or_default()
    }

    /// Returns the sender of the request, whatever it asks for. For pages that show an error.
    pub(super) async fn identify(
        parts: &Parts,
        authenticator: &Authenticator,
        base: &BasePath,
    ) -> Result<Self, ApiError> {
        let caller = authenticator.identify(&parts.headers).await?;
        Ok(Self::new(caller, parts, base))
    }

    /// Returns the sender of a form. Does not check the form's CSRF token: only [`Post`](super::post::Post) may call
    /// this, and checks it.
    pub(super) async fn identify_sender(
        parts: &Parts,
        authenticator: &Authenticator,
        base: &BasePath,
    ) -> Result<Self, ApiError> {
        let visitor = Self::identify(parts, authenticator, base).await?;
        visitor.caller.require(Action::UseOwnSessions, Object::Oneself)?;
        Ok(visitor)
    }

    /// Returns somebody who is about to sign in.
    pub(super) fn nobody() -> Self {
        Self { caller: Caller::nobody(), signed_in: None, here: "/".to_owned() }
    }

    fn new(caller: Caller, parts: &Parts, base: &BasePath) -> Self {
        let signed_in = caller.signed_in();
        Self { caller, signed_in, here: page_address(parts, base) }
    }
}

/// Returns the address of the page. For a form, that of the page that sent it.
fn page_address(parts: &Parts, base: &BasePath) -> String {
    let from = |headers: &HeaderMap| headers.get(header::REFERER)?.to_str().ok()?.parse::<Uri>().ok();
    let address = if parts.method == Method::POST { from(&parts.headers) } else { Some(parts.uri.clone()) };
    let path = address.as_ref().and_then(|address| address.path_and_query()).map_or("/", |path| path.as_str());
    base.strip(path).unwrap_or_else(|| path.to_owned())
}

impl<S> FromRequestParts<S> for Visitor
where
    Authenticator: FromRef<S>,
    BasePath: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // A caller with a cookie who writes must show the CSRF token in a header. A form has it in its body, so only
        // `Post` accepts forms.
        let caller = Caller::from_request_parts(parts, state).await?;
        Ok(Self::new(caller, parts, &BasePath::from_ref(state)))
    }
}
