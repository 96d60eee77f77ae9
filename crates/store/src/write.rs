//! The transaction of the one writer. Its changes are announced after its commit, never before.

use longshore_core::{BuildId, JobId, RepoId, Timestamp};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tokio::sync::OwnedMutexGuard;

use crate::{
    ChangeKind, Store, StoreError, artifacts,
    audit::{self, Pending},
    changes, removals,
};

/// A write transaction. There is only one at a time; others wait in line.
#[derive(Debug)]
pub struct WriteTx {
    tx: Transaction<'static, Sqlite>,
    changes: Vec<NewChange>,
    /// Jobs, each with the attempt that begins: all earlier ones are over.
    ended: Vec<(JobId, u32)>,
    removes_logs: bool,
    has_commit_statuses: bool,
    has_notices: bool,
    has_comments: bool,
    removes_blobs: bool,
    /// The record of the request that this is a part of.
    audited: Option<Pending>,
    has_records: bool,
    /// Attempts whose received files have become artifacts or are not needed.
    forgotten: Vec<(JobId, u32)>,
    store: Store,
    // The last field, so that it is dropped after the transaction.
    turn: OwnedMutexGuard<()>,
}

/// A change that has no cursor yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewChange {
    pub(crate) kind: ChangeKind,
    pub(crate) repo: Option<RepoId>,
    pub(crate) build: Option<BuildId>,
    pub(crate) job: Option<JobId>,
}

impl WriteTx {
    pub(crate) fn new(tx: Transaction<'static, Sqlite>, turn: OwnedMutexGuard<()>, store: Store) -> Self {
        Self {
            tx,
            changes: Vec::new(),
            ended: Vec::new(),
            removes_logs: false,
            has_commit_statuses: false,
            has_notices: false,
            has_comments: false,
            removes_blobs: false,
            audited: Pending::carried(),
            has_records: false,
            forgotten: Vec::new(),
            store,
            turn,
        }
    }

    /// Commits, then wakes the watchers. Returns the cursor of the last change, if there was one.
    ///
    /// Once it is polled it runs to its end, even if its caller is gone (a client that has hung up): what is committed
    /// is announced.
    pub async fn commit(self) -> Result<Option<u64>, StoreError> {
        match tokio::spawn(self.commit_and_announce()).await {
            Ok(result) => result,
            Err(error) => Err(sqlx::Error::Io(std::io::Error::other(error)).into()),
        }
    }

    async fn commit_and_announce(mut self) -> Result<Option<u64>, StoreError> {
        let pending = std::mem::take(&mut self.changes);
        let mut announced = Vec::with_capacity(pending.len());
        let now = Timestamp::now();
        for change in pending {
            announced.push(changes::insert(&mut self.tx, change, now).await?);
        }
        if let (Some(first), Some(last)) = (announced.first(), announced.last()) {
            changes::trim(&mut self.tx, first.cursor, last.cursor).await?;
        }
        let record = self.audited.take().and_then(|pending| Some((pending.unwritten()?, pending)));
        if let Some((entry, _)) = &record {
            audit::append(&mut self.tx, entry.clone(), now).await?;
            self.has_records = true;
        }
        let Self {
            tx,
            ended,
            removes_logs,
            removes_blobs,
            forgotten,
            has_commit_statuses,
            has_notices,
            has_comments,
            has_records,
            store,
            turn,
            ..
        } = self;
        tx.commit().await?;

        if let Some((_, pending)) = record {
            pending.note_written();
        }
        let inner = &store.inner;
        for (job, attempt) in ended {
            inner.logs.end_attempts_before(job, attempt);
        }
        // The cursor comes first: a reader that subscribes to changes and then reads the cursor misses nothing after
        // it.
        let last = announced.last().map(|change| change.cursor);
        if let Some(cursor) = last {
            inner.cursor.send_replace(cursor);
        }
        for change in &announced {
            // An error means only that nobody listens.
            let _ = inner.changes.send(*change);
        }
        if has_commit_statuses {
            inner.commit_statuses_added.notify_one();
        }
        if has_notices {
            inner.notices_added.notify_one();
        }
        if has_comments {
            inner.comments_added.notify_one();
        }
        if has_records {
            inner.audited.send_modify(|count| *count += 1);
        }
        drop(turn);
        if removes_logs && let Err(error) = removals::logs::carry_out(&store).await {
            tracing::warn!(%error, "cannot remove logs that nothing refers to any more; the next removal tries again");
        }
        for (job, attempt) in forgotten {
            artifacts::forget_attempt(&store, job, attempt).await;
        }
        if removes_blobs && let Err(error) = removals::artifacts::carry_out(&store).await {
            tracing::warn!(%error, "cannot remove artifacts that nothing refers to any more; the next removal tries again");
        }
        Ok(last)
    }

    /// Leaves the transaction out of the audit log, although it is part of a request: it only records, for example,
    /// that a token was used.
    #[must_use]
    pub fn unaudited(mut self) -> Self {
        self.audited = None;
        self
    }

    /// Notes that this commit adds records to the audit log.
    pub(crate) fn note_audited(&mut self) {
        self.has_records = true;
    }

    pub(crate) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn note_change(&mut self, change: NewChange) {
        self.changes.push(change);
    }

    /// Drops all changes of a build so far. Others see a new build as one change.
    pub(crate) fn collapse_to_new_build(&mut self, build: BuildId) {
        self.changes.retain(|change| change.build != Some(build));
    }

    /// Notes that the job is final with this commit: readers that follow its log read to the end and finish.
    pub(crate) fn note_end(&mut self, job: JobId) {
        self.note_attempt(job, u32::MAX);
    }

    /// Notes that an attempt begins with this commit: readers that follow an earlier one read to the end and finish.
    pub(crate) fn note_attempt(&mut self, job: JobId, attempt: u32) {
        self.ended.push((job, attempt));
    }

    /// Notes that this commit adds statuses to send to forges: their outbox is woken.
    pub(crate) fn note_commit_statuses(&mut self) {
        self.has_commit_statuses = true;
    }

    /// Notes that this commit adds messages to people: their outbox is woken.
    pub(crate) fn note_notices(&mut self) {
        self.has_notices = true;
    }

    /// Notes that this commit adds comments on pull requests: their outbox is woken.
    pub(crate) fn note_comments(&mut self) {
        self.has_comments = true;
    }

    /// Removes, after the commit, the blobs that were noted.
    pub(crate) fn remove_blobs_after_commit(&mut self) {
        self.removes_blobs = true;
    }

    /// Forgets, after the commit, the files that have arrived of an attempt, and removes those that nothing refers to.
    pub(crate) fn forget_attempt_after_commit(&mut self, job: JobId, attempt: u32) {
        if self.store.blobs().may_have(job, attempt) {
            self.forgotten.push((job, attempt));
            self.removes_blobs = true;
        }
    }

    /// Removes, after the commit, the log files that were noted.
    pub(crate) fn remove_logs_after_commit(&mut self) {
        self.removes_logs = true;
    }
}

#[cfg(test)]
mod tests {
    use crate::{Store, StoreError, settings};

    #[tokio::test]
    async fn a_full_disk_is_said_to_be_one_and_writing_goes_on_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let mut tx = store.write().await.unwrap();
        settings::set(&mut tx, "before", "1").await.unwrap();
        // SQLite's error when the file cannot grow, as for ENOSPC.
        sqlx::query("PRAGMA max_page_count = 1").execute(tx.conn()).await.unwrap();
        let full = settings::set(&mut tx, "large", &"x".repeat(1 << 20)).await.unwrap_err();
        assert!(matches!(full, StoreError::DiskFull(_)), "{full}");
        assert!(full.to_string().contains("no space left"), "{full}");
        drop(tx);

        let mut tx = store.write().await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1000000").execute(tx.conn()).await.unwrap();
        settings::set(&mut tx, "large", &"x".repeat(1 << 20)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(settings::get(&store, "before").await.unwrap(), None, "half of a transaction stayed");
        assert!(settings::get(&store, "large").await.unwrap().is_some());
        store.close().await;
    }

    #[tokio::test]
    async fn a_database_that_stays_locked_is_said_to_be_and_writing_goes_on_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let mut tx = store.write().await.unwrap();
        sqlx::query("PRAGMA busy_timeout = 10").execute(tx.conn()).await.unwrap();
        drop(tx);
        let mut other = crate::backup::connect(&dir.path().join("longshore.db"), false).await.unwrap();
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
        let busy = store.write().await.unwrap_err();
        assert!(matches!(busy, StoreError::Busy(_)), "{busy}");
        // Readers are not affected.
        assert_eq!(settings::get(&store, "before").await.unwrap(), None);
        sqlx::query("COMMIT").execute(&mut other).await.unwrap();
        let mut tx = store.write().await.unwrap();
        settings::set(&mut tx, "after", "1").await.unwrap();
        tx.commit().await.unwrap();
        store.close().await;
    }

    #[tokio::test]
    async fn a_commit_that_nobody_waits_for_any_more_is_announced_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let mut watch = store.watch();
        let mut tx = store.write().await.unwrap();
        tx.note_change(super::NewChange { kind: crate::ChangeKind::Repo, repo: None, build: None, job: None });
        {
            let mut commit = std::pin::pin!(tx.commit());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(commit.as_mut().poll(&mut context).is_pending());
        }
        watch.changed().await.unwrap();
        assert_eq!(*watch.borrow(), 1);
        store.close().await;
    }
}
