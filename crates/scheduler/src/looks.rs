//! Looks at repositories that people ask for: one at a time of a repository, shared by all who wait for it, and a few
//! at a time of all. Each is a process of git that a slow host keeps for a while.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use longshore_core::RepoId;
use tokio::sync::{Mutex, Semaphore};

use crate::{missed_pushes::Checked, scheduler::RequestError};

/// Repositories that are looked at on request at a time. Others wait.
pub(crate) const AT_ONCE: usize = 8;

#[derive(Debug)]
pub(crate) struct Looks {
    slots: Semaphore,
    /// Orders requests and the beginnings of looks.
    moments: AtomicU64,
    repos: std::sync::Mutex<HashMap<RepoId, Arc<Mutex<Option<Look>>>>>,
}

/// The last look at a repository that ended with an answer.
#[derive(Debug)]
struct Look {
    began: u64,
    /// What was found, or what is wrong with the git host.
    outcome: Result<Checked, String>,
}

impl Looks {
    pub(crate) fn new(at_once: usize) -> Self {
        Self { slots: Semaphore::new(at_once), moments: AtomicU64::new(0), repos: std::sync::Mutex::default() }
    }

    /// Looks by `work`, or returns the outcome of another look at the repository that begins after this call.
    pub(crate) async fn look<F>(&self, repo: RepoId, work: impl FnOnce() -> F) -> Result<Checked, RequestError>
    where
        F: Future<Output = Result<Checked, RequestError>>,
    {
        let asked = self.moments.fetch_add(1, Ordering::SeqCst);
        let last = Arc::clone(self.repos.lock().unwrap_or_else(PoisonError::into_inner).entry(repo).or_default());
        let mut last = last.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.began > asked) {
            return look.outcome.clone().map_err(RequestError::GitHost);
        }
        let _slot = self.slots.acquire().await.map_err(|_| RequestError::ShuttingDown)?;
        let began = self.moments.fetch_add(1, Ordering::SeqCst);
        let checked = work().await;
        *last = match &checked {
            Ok(checked) => Some(Look { began, outcome: Ok(checked.clone()) }),
            Err(RequestError::GitHost(reason)) => Some(Look { began, outcome: Err(reason.clone()) }),
            Err(_) => None,
        };
        checked
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::atomic::AtomicUsize};

    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test]
    async fn any_number_of_requests_are_few_looks_and_each_sees_what_was_pushed_before_it() {
        let (looks, began, gate) = (Looks::new(2), AtomicUsize::new(0), Semaphore::new(0));
        let look = async |repo| {
            let work = async || {
                let number = began.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                Ok(Checked { refs: number, found: Vec::new(), left_out: 0 })
            };
            looks.look(repo, work).await.unwrap().refs
        };
        let repo = RepoId::new();
        let mut all = pin!(join_all((0..20).map(|_| look(repo))));
        assert_eq!((all.as_mut().now_or_never(), began.load(Ordering::SeqCst)), (None, 1));
        gate.add_permits(2);
        let mut seen = all.await;
        // The first look began before the other requests came, and the second one after all of them.
        assert_eq!((seen.remove(0), began.load(Ordering::SeqCst)), (0, 2));
        assert!(seen.iter().all(|number| *number == 1), "{seen:?}");

        let mut others = pin!(join_all((0..5).map(|_| look(RepoId::new()))));
        assert_eq!((others.as_mut().now_or_never(), began.load(Ordering::SeqCst)), (None, 4));
        gate.add_permits(5);
        others.await;
        assert_eq!(began.load(Ordering::SeqCst), 7);
    }
}
