//! The feed of changes. The newest 10,000 are kept, so that a live view resumes where it was cut off, even across a
//! restart of the server. A change names what changed, never the new value: the reader reads that again.

use std::str::FromStr;

use longshore_core::{BuildId, JobId, RepoId, Timestamp};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{Store, StoreError, row, write::NewChange};

/// Changes that are kept at least.
const MIN_KEPT: u64 = 10_000;
/// Older changes are deleted once in this many changes.
const TRIM_EVERY: u64 = 256;
/// Changes read at once.
const READ_AT_ONCE: u32 = 256;

/// The kind of thing that was created, changed or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    Repo,
    Delivery,
    Build,
    Job,
    Step,
}

impl ChangeKind {
    const ALL: [Self; 5] = [Self::Repo, Self::Delivery, Self::Build, Self::Job, Self::Step];

    /// Returns the word in the database and in event streams.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repo => "repo",
            Self::Delivery => "delivery",
            Self::Build => "build",
            Self::Job => "job",
            Self::Step => "step",
        }
    }
}

impl FromStr for ChangeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("`{text}` is not a change"))
    }
}

/// One committed change. `repo`, `build` and `job` are set as far as they apply (the change of a step names all three).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Grows from change to change, across restarts too.
    pub cursor: u64,
    pub kind: ChangeKind,
    pub repo: Option<RepoId>,
    pub build: Option<BuildId>,
    pub job: Option<JobId>,
    pub at: Timestamp,
}

/// An item of a [`Feed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    Change(Change),
    /// Changes after the requested cursor are no longer kept. The reader reads everything again; the feed continues
    /// after `resumed_at`.
    Missed {
        resumed_at: u64,
    },
}

/// The changes from a cursor on. No change comes twice, and no change is left out silently.
#[derive(Debug)]
pub struct Feed {
    store: Store,
    live: broadcast::Receiver<Change>,
    /// The cursor of the last item that was returned.
    last: u64,
    read_ahead: std::collections::VecDeque<Change>,
    /// Whether the table may hold changes after `last` that `live` will not bring.
    behind: bool,
}

impl Feed {
    pub(crate) fn new(store: Store, after: Option<u64>) -> Self {
        let live = store.changes();
        let newest = *store.watch().borrow();
        Self { store, live, last: after.unwrap_or(newest), read_ahead: [].into(), behind: after.is_some() }
    }

    /// Waits for the next change and returns it. `None` once the store is gone.
    pub async fn next(&mut self) -> Result<Option<FeedItem>, StoreError> {
        loop {
            if let Some(change) = self.read_ahead.pop_front() {
                self.last = change.cursor;
                return Ok(Some(FeedItem::Change(change)));
            }
            if self.behind {
                match since(&self.store, self.last, READ_AT_ONCE).await? {
                    Since::Changes(changes) if changes.is_empty() => self.behind = false,
                    Since::Changes(changes) => self.read_ahead = changes.into(),
                    Since::Missed { newest } => {
                        self.last = newest;
                        return Ok(Some(FeedItem::Missed { resumed_at: newest }));
                    }
                }
                continue;
            }
            match self.live.recv().await {
                Ok(change) if change.cursor <= self.last => {}
                Ok(change) => {
                    self.last = change.cursor;
                    return Ok(Some(FeedItem::Change(change)));
                }
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    }
}

/// The changes after a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// In order, at most as many as requested; empty if there are none.
    Changes(Vec<Change>),
    /// Some of the changes are no longer kept, or the cursor was never given out.
    Missed { newest: u64 },
}

/// Returns the changes after `cursor`, at most `limit`.
pub async fn since(store: &Store, cursor: u64, limit: u32) -> Result<Since, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let rows = sqlx::query("SELECT * FROM changes WHERE cursor > ? ORDER BY cursor LIMIT ?")
        .bind(row::signed(cursor))
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
    let changes = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let newest = last_cursor(&mut conn).await?;
    let missed = match changes.first() {
        // Every cursor is used: a gap means that the rows between were deleted.
        Some(first) => first.cursor > cursor + 1,
        None => cursor > newest,
    };
    Ok(if missed { Since::Missed { newest } } else { Since::Changes(changes) })
}

/// Returns the cursor of the newest change.
pub(crate) async fn last_cursor(conn: &mut SqliteConnection) -> Result<u64, StoreError> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(cursor) FROM changes").fetch_one(conn).await?;
    Ok(newest.and_then(|cursor| u64::try_from(cursor).ok()).unwrap_or(0))
}

pub(crate) async fn insert(
    conn: &mut SqliteConnection,
    change: NewChange,
    at: Timestamp,
) -> Result<Change, StoreError> {
    let NewChange { kind, repo, build, job } = change;
    let done = sqlx::query("INSERT INTO changes (kind, repo, build, job, at) VALUES (?, ?, ?, ?, ?)")
        .bind(kind.as_str())
        .bind(repo.map(|id| id.to_string()))
        .bind(build.map(|id| id.to_string()))
        .bind(job.map(|id| id.to_string()))
        .bind(at.as_millis())
        .execute(conn)
        .await?;
    let cursor = u64::try_from(done.last_insert_rowid()).unwrap_or(0);
    Ok(Change { cursor, kind, repo, build, job, at })
}

/// Deletes the oldest changes, once in [`TRIM_EVERY`] changes. `first` and `last` are the cursors that a transaction
/// has added.
pub(crate) async fn trim(conn: &mut SqliteConnection, first: u64, last: u64) -> Result<(), StoreError> {
    if last > MIN_KEPT && first / TRIM_EVERY != (last + 1) / TRIM_EVERY {
        sqlx::query("DELETE FROM changes WHERE cursor <= ?").bind(row::signed(last - MIN_KEPT)).execute(conn).await?;
    }
    Ok(())
}

fn from_row(row: &SqliteRow) -> Result<Change, StoreError> {
    Ok(Change {
        cursor: row::unsigned(row, "cursor")?,
        kind: row::parsed(row, "kind")?,
        repo: row::parsed_opt(row, "repo")?,
        build: row::parsed_opt(row, "build")?,
        job: row::parsed_opt(row, "job")?,
        at: Timestamp::from_millis(row.try_get("at")?),
    })
}
