//! Tells people of webhook calls that were refused: in the log, and with the repository. Anybody can make such calls, so it
//! tells of few.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};
use longshore_core::{RepoId, Timestamp};
use longshore_forge::{Forge, sender_of, signature::SignatureError};
use longshore_store::{
    Store,
    refused_hooks::{self, RefusedHook},
};

/// How soon the next refused call of a repository is told of.
const PAUSE: Duration = Duration::from_secs(2);

/// When each repository's refused calls were last told of.
#[derive(Debug, Default)]
pub(crate) struct RefusedHooks(Mutex<HashMap<RepoId, Instant>>);

impl RefusedHooks {
    /// Tells of a refused call.
    pub(crate) async fn tell(&self, store: &Store, repo: RepoId, name: &str, reason: &str) {
        if !self.is_due(repo) {
            return;
        }
        tracing::warn!(%repo, name, reason, "a call of the repository's webhook was refused");
        let refused = RefusedHook { at: Timestamp::now(), reason: reason.to_owned() };
        let noted = async {
            let mut tx = store.write().await?;
            refused_hooks::note(&mut tx, repo, &refused).await?;
            tx.commit().await
        };
        if let Err(error) = noted.await {
            tracing::debug!(%repo, %error, "a refused call is not shown with the repository");
        }
    }

    fn is_due(&self, repo: RepoId) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_due = told.get(&repo).is_none_or(|at| now.duration_since(*at) >= PAUSE);
        if is_due {
            told.insert(repo, now);
        }
        is_due
    }
}

/// Returns what to say of a signature that is not accepted: what is most likely wrong, and what to change.
/// Whoever called may not know the repository, so its name is not said.
pub(crate) fn explain(error: &SignatureError, forge: Forge, headers: &HeaderMap) -> String {
    if let Some(sender) = sender_of(headers).filter(|sender| *sender != forge) {
        return format!(
            "{error}. The call is one of {}, and the repository is registered for another forge: change that in its \
             settings, or by `longshore repo change REPO --forge {sender}`",
            sender.shown(),
        );
    }
    match is_form(headers) {
        true => format!("{error}. The call is a form: set the webhook's content type to application/json"),
        false => error.to_string(),
    }
}

/// Returns whether the body is a form, which forges send unless they are told otherwise.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"))
}
