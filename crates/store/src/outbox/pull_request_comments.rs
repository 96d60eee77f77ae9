//! The outbox of comments on pull requests: one for each pull request, which says what failed in its newest build.
//!
//! `transition` and `builds` write it in the transaction that ends a build. There is one row for each pull request:
//! what has not been written is replaced by the next. A pull request of which nothing ever failed has no comment.

use longshore_core::{
    BuildId, ConnectionId, RepoId, Status, Timestamp,
    notification::{Health, health},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{Store, StoreError, WriteTx, row};

/// Identifies a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub repo: RepoId,
    pub pull_request: u64,
}

/// A comment that has to be written, without what it says, which may change until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub key: Key,
    pub connection: ConnectionId,
    pub try_at: Timestamp,
}

/// A comment that has to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsentComment {
    /// `None` if it is gone.
    pub build: Option<BuildId>,
    /// The forge's id of the comment, if it has been written.
    pub comment: Option<String>,
    /// A request to create the comment was sent, and its answer may be lost.
    pub sent: bool,
    /// The forge's number of the repository.
    pub forge_id: String,
    pub connection: ConnectionId,
    /// The version of the row. The comment is up to date once `told` is the same.
    pub wanted: i64,
    pub owed_since: Timestamp,
    pub attempts: u32,
}

/// Queues an update of the comment of a build's pull request, if comments are enabled for the repository.
pub(crate) async fn note_end(
    tx: &mut WriteTx,
    build: BuildId,
    status: Status,
    now: Timestamp,
) -> Result<(), StoreError> {
    let adds = match health(status) {
        Health::Fails => true,
        // The existing comment says so.
        Health::Works => false,
        Health::Unknown => return Ok(()),
    };
    let found = sqlx::query(
        "SELECT b.repo, b.seq, b.pull_request FROM builds AS b JOIN repos AS r ON r.id = b.repo
         WHERE b.id = ? AND b.pull_request IS NOT NULL AND r.comments = 1 AND r.connection IS NOT NULL AND r.forge_id IS NOT NULL",
    )
    .bind(build.to_string())
    .fetch_optional(tx.conn())
    .await?;
    let Some(found) = found else { return Ok(()) };
    let (repo, seq, number): (String, i64, i64) =
        (found.try_get("repo")?, found.try_get("seq")?, found.try_get("pull_request")?);
    let changed = sqlx::query(
        "UPDATE pull_request_comments SET build = ?1, wanted = wanted + 1, given_up = 0,
            owed_since = iif(told = wanted, ?2, owed_since), try_at = iif(told = wanted OR given_up, ?2, try_at),
            attempts = iif(told = wanted OR given_up, 0, attempts), problem = iif(told = wanted OR given_up, NULL, problem)
         WHERE repo = ?3 AND pull_request = ?4
           AND coalesce((SELECT seq FROM builds WHERE builds.id = pull_request_comments.build), -1) <= ?5",
    )
    .bind(build.to_string())
    .bind(now.as_millis())
    .bind(&repo)
    .bind(number)
    .bind(seq)
    .execute(tx.conn())
    .await?;
    let mut touched = changed.rows_affected();
    if touched == 0 && adds {
        let added = sqlx::query(
            "INSERT INTO pull_request_comments (repo, pull_request, build, owed_since, try_at) VALUES (?1, ?2, ?3, ?4, ?4)
             ON CONFLICT DO NOTHING",
        )
        .bind(&repo)
        .bind(number)
        .bind(build.to_string())
        .bind(now.as_millis())
        .execute(tx.conn())
        .await?;
        touched = added.rows_affected();
    }
    if touched > 0 {
        tx.note_comments();
    }
    Ok(())
}

/// Returns the comments that have to be written, the longest overdue first: at most `of_each` of each connection, and
/// none of those in `except`.
pub async fn due(store: &Store, except: &[ConnectionId], of_each: u32) -> Result<Vec<Due>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT * FROM (
            SELECT c.repo, c.pull_request, c.try_at, r.connection,
                   row_number() OVER (PARTITION BY r.connection ORDER BY c.try_at) AS place
            FROM pull_request_comments AS c JOIN repos AS r ON r.id = c.repo
            WHERE c.told <> c.wanted AND c.given_up = 0 AND r.connection IS NOT NULL AND r.forge_id IS NOT NULL
              AND r.comments = 1",
    );
    if !except.is_empty() {
        query.push(" AND r.connection NOT IN (");
        let mut list = query.separated(", ");
        for id in except {
            list.push_bind(id.to_string());
        }
        query.push(")");
    }
    query.push(") WHERE place <= ").push_bind(of_each).push(" ORDER BY try_at");
    let read = |found: &SqliteRow| {
        Ok(Due {
            key: Key { repo: row::parsed(found, "repo")?, pull_request: row::unsigned(found, "pull_request")? },
            connection: row::parsed(found, "connection")?,
            try_at: row::time(found, "try_at")?,
        })
    };
    query.build().fetch_all(store.readers()).await?.iter().map(read).collect()
}

/// Returns a comment, unless it was written.
pub async fn unsent(store: &Store, key: Key) -> Result<Option<UnsentComment>, StoreError> {
    let found = sqlx::query(
        "SELECT c.*, r.connection, r.forge_id FROM pull_request_comments AS c JOIN repos AS r ON r.id = c.repo
         WHERE c.repo = ? AND c.pull_request = ? AND c.told <> c.wanted AND r.connection IS NOT NULL AND r.forge_id IS NOT NULL
           AND r.comments = 1",
    )
    .bind(key.repo.to_string())
    .bind(row::signed(key.pull_request))
    .fetch_optional(store.readers())
    .await?;
    let read = |found: &SqliteRow| {
        Ok(UnsentComment {
            build: row::parsed_opt(found, "build")?,
            comment: found.try_get("comment")?,
            sent: found.try_get("sent")?,
            forge_id: found.try_get("forge_id")?,
            connection: row::parsed(found, "connection")?,
            wanted: found.try_get("wanted")?,
            owed_since: row::time(found, "owed_since")?,
            attempts: row::unsigned(found, "attempts")?,
        })
    };
    found.as_ref().map(read).transpose()
}

/// Notes that a comment is about to be made: after a kill it may be there.
pub async fn sending(tx: &mut WriteTx, key: Key) -> Result<(), StoreError> {
    sqlx::query("UPDATE pull_request_comments SET sent = 1 WHERE repo = ? AND pull_request = ?")
        .bind(key.repo.to_string())
        .bind(row::signed(key.pull_request))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Records that the comment was written as of version `wanted`. A row that has changed since then stays owed, and its
/// waiting time begins again at `now`.
pub async fn mark_written(
    tx: &mut WriteTx,
    key: Key,
    wanted: i64,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE pull_request_comments SET told = ?1, comment = ?2, sent = 0, attempts = 0, problem = NULL, try_at = ?3, owed_since = ?3
         WHERE repo = ?4 AND pull_request = ?5 AND told < ?1",
    )
    .bind(wanted)
    .bind(comment)
    .bind(now.as_millis())
    .bind(key.repo.to_string())
    .bind(row::signed(key.pull_request))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Notes that the comment could not be written. Without a time for the next try it is given up, until the next build of
/// the pull request ends or the connection has another token. `gone` forgets a comment that somebody has removed.
pub async fn failed(
    tx: &mut WriteTx,
    key: Key,
    wanted: i64,
    problem: &str,
    try_at: Option<Timestamp>,
    gone: bool,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE pull_request_comments SET attempts = attempts + 1, problem = ?1, try_at = coalesce(?2, try_at),
            given_up = ?3 AND wanted = ?4, comment = iif(?5, NULL, comment)
         WHERE repo = ?6 AND pull_request = ?7",
    )
    .bind(problem)
    .bind(try_at.map(Timestamp::as_millis))
    .bind(try_at.is_none())
    .bind(wanted)
    .bind(gone)
    .bind(key.repo.to_string())
    .bind(row::signed(key.pull_request))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Lets every comment that a connection owes be tried at once: it has another token.
pub(crate) async fn try_again(tx: &mut WriteTx, connection: ConnectionId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE pull_request_comments SET try_at = ?, attempts = 0, given_up = 0
         WHERE told <> wanted AND repo IN (SELECT id FROM repos WHERE connection = ?)",
    )
    .bind(now.as_millis())
    .bind(connection.to_string())
    .execute(tx.conn())
    .await?;
    tx.note_comments();
    Ok(())
}

/// A comment that does not show a build yet, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    pub pull_request: u64,
    pub owed_since: Timestamp,
    pub problem: Option<String>,
    pub given_up: bool,
}

/// Returns the build's comment if it has been overdue since before that time, or was given up.
pub async fn late(store: &Store, build: BuildId, before: Timestamp) -> Result<Option<Late>, StoreError> {
    let found = sqlx::query(
        "SELECT c.* FROM pull_request_comments AS c JOIN repos AS r ON r.id = c.repo
         WHERE c.build = ? AND c.told <> c.wanted AND (c.owed_since < ? OR c.given_up) AND r.connection IS NOT NULL AND r.comments = 1",
    )
    .bind(build.to_string())
    .bind(before.as_millis())
    .fetch_optional(store.readers())
    .await?;
    let read = |found: &SqliteRow| {
        Ok(Late {
            pull_request: row::unsigned(found, "pull_request")?,
            owed_since: row::time(found, "owed_since")?,
            problem: found.try_get("problem")?,
            given_up: found.try_get("given_up")?,
        })
    };
    found.as_ref().map(read).transpose()
}
