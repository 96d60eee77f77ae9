//! Who reads a page: the same [`Caller`] as the API's, and what the page's frame says of them.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use longshore_store::tokens::Scope;

use crate::{ApiError, auth::Caller, server::Server};

#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) caller: Caller,
    pub(crate) signed_in: Option<SignedIn>,
}

/// A browser's session, as pages show it.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    /// Goes into every form.
    pub(crate) csrf: String,
}

impl Visitor {
    pub(crate) fn is_admin(&self) -> bool {
        self.caller.require(Scope::Admin).is_ok()
    }
}

impl FromRequestParts<Arc<Server>> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, server).await?;
        Ok(Self { caller, signed_in: None })
    }
}
