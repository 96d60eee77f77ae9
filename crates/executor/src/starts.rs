//! Counts the jobs that are being started, so that background work can wait for them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The number of jobs that are being started.
#[derive(Default)]
pub(crate) struct Starts {
    count: AtomicUsize,
    none: Notify,
}

impl Starts {
    /// Counts a start until the guard is dropped.
    pub(crate) fn begin(&self) -> StartGuard<'_> {
        self.count.fetch_add(1, Ordering::AcqRel);
        StartGuard(self)
    }

    /// Returns when no start is in progress.
    pub(crate) async fn none(&self) {
        loop {
            let notified = self.none.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// A start in progress.
pub(crate) struct StartGuard<'a>(&'a Starts);

impl Drop for StartGuard<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
