//! Answers that have no end of their own: what they need of the server, and their reader, whose rights are checked
//! again and again.

use axum::http::{HeaderMap, header};
use longshore_store::Store;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Authenticator, Caller},
    sse,
};

/// The parts of the server that a live answer needs.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) store: Store,
    pub(crate) authenticator: Authenticator,
    /// Ends every live answer.
    pub(crate) shutdown: CancellationToken,
}

/// The reader of a live answer. With every sign of life their credentials are checked again: when the token or the
/// session ends, so does the answer.
#[derive(Debug)]
pub(crate) struct Reader {
    caller: Caller,
    credentials: HeaderMap,
    next_check: Instant,
}

impl Reader {
    pub(crate) fn new(caller: Caller, headers: &HeaderMap) -> Self {
        let mut credentials = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::COOKIE] {
            for value in headers.get_all(&name) {
                credentials.append(&name, value.clone());
            }
        }
        Self { caller, credentials, next_check: Instant::now() + sse::KEEPALIVE }
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Waits until the next check is due; a sign of life is due at the same time.
    pub(crate) async fn check_is_due(&self) {
        tokio::time::sleep_until(self.next_check).await;
    }

    /// Identifies the caller again. Returns whether they still have the rights that they had.
    pub(crate) async fn still_has_rights(&mut self, authenticator: &Authenticator) -> bool {
        self.next_check = Instant::now() + sse::KEEPALIVE;
        // A reader who is no longer known reconnects, and is told so then.
        let Ok(caller) = authenticator.identify(&self.credentials).await else { return false };
        let before = std::mem::replace(&mut self.caller, caller);
        self.caller.rights() == before.rights()
    }
}
