//! The announcements of forges, so that the same thing is built once however often it is delivered: by two webhooks, by
//! a forge that delivers twice, or by somebody who sends a signed body again.
//!
//! The ingest loop asks for the [`novelty`] of what a delivery announces and [`record`]s it in the transaction that
//! ends the delivery: the key is unique in the database.

use longshore_core::RepoId;
use sqlx::Row as _;

use crate::{Store, StoreError, WriteTx, row};

/// What a delivery announces: that a ref has moved to a commit, or that something happened to a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub repo: RepoId,
    /// The same for all deliveries that announce the same thing.
    pub key: String,
    pub git_ref: String,
    /// Where the ref is, according to the delivery: its commit, and for a pull request also whether it is open.
    pub at: String,
    /// Where the ref was before, if the delivery says so.
    pub before: Option<String>,
    /// A person has asked for it.
    pub by_hand: bool,
    /// The forge says that it happened before what was last announced.
    pub is_older: bool,
    /// The other fields of the delivery about a pull request, as JSON.
    pub state: Option<String>,
}

/// The last delivery about a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// As [`Announcement::at`].
    pub at: String,
    /// As [`Announcement::state`].
    pub state: Option<String>,
}

/// The remote's answer about an announcement, asked while it was processed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnRemote {
    /// The ref is at that commit.
    pub is_there: bool,
    /// The ref pointed at that commit before it was moved to where it was last announced to be.
    pub moved_on: bool,
}

/// Whether something was announced before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// It was never announced.
    New,
    /// It was never announced, but the ref was announced to be further on, in this build or in none.
    Late { build: Option<u64> },
    /// It was announced and has happened again since, or a person asks for it.
    Again,
    /// It was announced and became this build, or none.
    Duplicate { build: Option<u64> },
}

/// Returns the number of the build, or `Some(None)` for none, that the same became when it was announced before. Only
/// then does [`novelty`] need to know whether it exists on the remote.
pub async fn known(store: &Store, announcement: &Announcement) -> Result<Option<Option<u64>>, StoreError> {
    let known = sqlx::query("SELECT build FROM told WHERE repo = ? AND key = ?");
    let known = known.bind(announcement.repo.to_string()).bind(&announcement.key);
    known.fetch_optional(store.readers()).await?.as_ref().map(build_of).transpose()
}

fn build_of(row: &sqlx::sqlite::SqliteRow) -> Result<Option<u64>, StoreError> {
    Ok(match row.try_get::<Option<i64>, _>("build")? {
        Some(_) => Some(row::unsigned(row, "build")?),
        None => None,
    })
}

/// Returns what was last reported about a ref.
pub async fn last(store: &Store, repo: RepoId, git_ref: &str) -> Result<Option<Last>, StoreError> {
    let query = sqlx::query("SELECT at, state FROM told_refs WHERE repo = ? AND git_ref = ?");
    let row = query.bind(repo.to_string()).bind(git_ref).fetch_optional(store.readers()).await?;
    row.map(|row| Ok(Last { at: row.try_get("at")?, state: row.try_get("state")? })).transpose()
}

impl Announcement {
    /// Returns whether the ref was announced to be elsewhere and then to have come back from there.
    #[must_use]
    pub fn has_come_back(&self, last: Option<&str>) -> bool {
        !self.is_older
            && match (last, self.before.as_deref()) {
                (Some(last), Some(before)) => last == before && last != self.at,
                (Some(last), None) => last != self.at,
                // The ref was deleted, and is new again.
                (None, before) => before.is_none(),
            }
    }

    /// Returns whether something else than what came before was last announced of the ref, so that the remote has to be
    /// asked which of the two is newer.
    #[must_use]
    pub fn is_out_of_order(&self, last: Option<&str>) -> bool {
        !self.by_hand && last.is_some_and(|last| last != self.at && Some(last) != self.before.as_deref())
    }
}

/// Returns whether the same was announced before. It has happened again if, meanwhile, the ref was announced to be
/// elsewhere and then to have come back from there, and if it is at that commit on the remote now.
pub async fn novelty(tx: &mut WriteTx, announcement: &Announcement, remote: OnRemote) -> Result<Novelty, StoreError> {
    let repo = announcement.repo.to_string();
    let last: Option<String> = sqlx::query_scalar("SELECT at FROM told_refs WHERE repo = ? AND git_ref = ?")
        .bind(&repo)
        .bind(&announcement.git_ref)
        .fetch_optional(tx.conn())
        .await?;
    let known = sqlx::query("SELECT build FROM told WHERE repo = ? AND key = ?").bind(&repo).bind(&announcement.key);
    let Some(known) = known.fetch_optional(tx.conn()).await? else {
        if !remote.moved_on || !announcement.is_out_of_order(last.as_deref()) {
            return Ok(Novelty::New);
        }
        let newer = "SELECT number FROM builds WHERE repo = ? AND commit_id = ? ORDER BY seq DESC LIMIT 1";
        let newer: Option<i64> = sqlx::query_scalar(newer).bind(&repo).bind(&last).fetch_optional(tx.conn()).await?;
        return Ok(Novelty::Late { build: newer.map(row::count) });
    };
    if announcement.by_hand {
        return Ok(Novelty::Again);
    }
    if remote.is_there && announcement.has_come_back(last.as_deref()) {
        return Ok(Novelty::Again);
    }
    Ok(Novelty::Duplicate { build: build_of(&known)? })
}

/// Stores what was announced, and the number of the build that it became.
pub async fn record(
    tx: &mut WriteTx,
    announcement: &Announcement,
    remote: OnRemote,
    novelty: Novelty,
    build: Option<u64>,
) -> Result<(), StoreError> {
    let repo = announcement.repo.to_string();
    sqlx::query(
        "INSERT INTO told (repo, key, build) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET build = coalesce(excluded.build, build)",
    )
    .bind(&repo)
    .bind(&announcement.key)
    .bind(build.map(row::signed))
    .execute(tx.conn())
    .await?;
    match novelty {
        // Neither says where the ref is.
        Novelty::Duplicate { .. } | Novelty::Late { .. } => Ok(()),
        Novelty::New | Novelty::Again => {
            // What a person asks for may have been long ago.
            let is_newest = !announcement.is_older && (!announcement.by_hand || remote.is_there);
            sqlx::query(
                "INSERT INTO told_refs (repo, git_ref, at, state) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET at = excluded.at, state = excluded.state WHERE ?",
            )
            .bind(&repo)
            .bind(&announcement.git_ref)
            .bind(&announcement.at)
            .bind(&announcement.state)
            .bind(is_newest)
            .execute(tx.conn())
            .await?;
            Ok(())
        }
    }
}

/// Looks up a body that was processed before. Returns the number of the build that it became, or `Some(None)` if it
/// became none.
pub async fn find_body(store: &Store, repo: RepoId, body: &str) -> Result<Option<Option<u64>>, StoreError> {
    let known =
        sqlx::query("SELECT build FROM told_bodies WHERE repo = ? AND body = ?").bind(repo.to_string()).bind(body);
    known.fetch_optional(store.readers()).await?.as_ref().map(build_of).transpose()
}

/// Stores that a delivery with this body was processed, and the number of the build that it became.
pub async fn record_body(tx: &mut WriteTx, repo: RepoId, body: &str, build: Option<u64>) -> Result<(), StoreError> {
    let insert = "INSERT INTO told_bodies (repo, body, build) VALUES (?, ?, ?)
                  ON CONFLICT DO UPDATE SET build = coalesce(excluded.build, build)";
    sqlx::query(insert).bind(repo.to_string()).bind(body).bind(build.map(row::signed)).execute(tx.conn()).await?;
    Ok(())
}

/// Forgets a body, because nothing came of it.
pub async fn forget_body(tx: &mut WriteTx, repo: RepoId, body: &str) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM told_bodies WHERE repo = ? AND body = ?");
    delete.bind(repo.to_string()).bind(body).execute(tx.conn()).await?;
    Ok(())
}

/// Forgets where a branch or tag was, because it was deleted from there: what is announced next is new. A deletion that
/// is reported late changes nothing.
pub async fn forget_ref(tx: &mut WriteTx, repo: RepoId, git_ref: &str, from: Option<&str>) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM told_refs WHERE repo = ? AND git_ref = ? AND at = coalesce(?, at)");
    delete.bind(repo.to_string()).bind(git_ref).bind(from).execute(tx.conn()).await?;
    Ok(())
}
