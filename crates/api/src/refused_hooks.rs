//! Reports refused webhook calls to people: in the log, and with the repository. Anybody can make such calls, so only a
//! few are reported.

use std::{
    collections::{BTreeMap, HashMap},
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

/// The shortest time between two reports about a repository's refused calls.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// The last report about each repository's refused calls.
#[derive(Debug, Default)]
pub(crate) struct RefusedHooks(Mutex<HashMap<RepoId, LastReport>>);

#[derive(Debug, Default)]
struct LastReport {
    at: Option<Instant>,
    /// The calls that were refused since, by reason.
    since: BTreeMap<String, RefusedHook>,
}

impl RefusedHooks {
    /// Reports a refused call.
    pub(crate) async fn report(&self, store: &Store, repo: RepoId, name: &str, reason: &str) {
        let due = self.due(repo, reason);
        if due.is_empty() {
            return;
        }
        for RefusedHook { reason, calls, .. } in &due {
            tracing::warn!(%repo, name, reason, calls, "a call of the repository's webhook was refused");
        }
        let noted = async {
            let mut tx = store.write().await?;
            for refused in &due {
                refused_hooks::note(&mut tx, repo, refused).await?;
            }
            tx.commit().await
        };
        if let Err(error) = noted.await {
            tracing::debug!(%repo, %error, "a refused call is not shown with the repository");
        }
    }

    /// Counts a call, and returns the calls to report now: none if the last report is too recent.
    fn due(&self, repo: RepoId, reason: &str) -> Vec<RefusedHook> {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let report = reports.entry(repo).or_default();
        if report.since.contains_key(reason) || report.since.len() < refused_hooks::MAX_REASONS as usize {
            let new = || RefusedHook { at: Timestamp::now(), reason: reason.to_owned(), calls: 0 };
            let refused = report.since.entry(reason.to_owned()).or_insert_with(new);
            refused.at = Timestamp::now();
            refused.calls += 1;
        }
        let now = Instant::now();
        if report.at.is_some_and(|at| now.duration_since(at) < REPORT_INTERVAL) {
            return Vec::new();
        }
        report.at = Some(now);
        std::mem::take(&mut report.since).into_values().collect()
    }
}

/// Returns the message about a rejected signature: the likely mistake, and what to change.
/// The caller may not know the repository, so its name is left out.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn due(hooks: &RefusedHooks, repo: RepoId, reason: &str) -> BTreeMap<String, u64> {
        hooks.due(repo, reason).into_iter().map(|refused| (refused.reason, refused.calls)).collect()
    }

    fn map(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        of.iter().map(|(reason, calls)| ((*reason).to_owned(), *calls)).collect()
    }

    #[test]
    fn calls_that_come_at_once_are_counted_by_their_reasons_and_told_of_once() {
        let hooks = RefusedHooks::default();
        let repo = RepoId::new();
        assert_eq!(due(&hooks, repo, "wrong secret"), map(&[("wrong secret", 1)]));
        for reason in ["no signature", "wrong secret", "no signature"] {
            assert_eq!(due(&hooks, repo, reason), map(&[]));
        }
        for strange in 0..100 {
            hooks.due(repo, &format!("strange {strange}"));
        }
        assert_eq!(due(&hooks, RepoId::new(), "another repository's"), map(&[("another repository's", 1)]));
        hooks.0.lock().unwrap_or_else(PoisonError::into_inner).entry(repo).or_default().at = None;
        let calls = due(&hooks, repo, "wrong secret");
        assert_eq!(calls.len(), refused_hooks::MAX_REASONS as usize, "{calls:?}");
        assert_eq!((calls["wrong secret"], calls["no signature"]), (2, 2));
    }
}
