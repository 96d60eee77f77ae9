//! What forges have announced, so that the same thing is built once however often it is delivered: by two webhooks, by
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
}

/// Whether something was announced before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// It was never announced.
    New,
    /// It was announced and has happened again since, or a person asks for it.
    Again,
    /// It was announced and became this build, or none.
    Duplicate { build: Option<u64> },
}

/// Returns whether the same was ever announced. Only then does [`novelty`] need to know what is on the remote.
pub async fn is_known(store: &Store, announcement: &Announcement) -> Result<bool, StoreError> {
    let known = sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT 1 FROM told WHERE repo = ? AND key = ?)");
    Ok(known.bind(announcement.repo.to_string()).bind(&announcement.key).fetch_one(store.readers()).await?)
}

/// Returns whether the same was announced before. It has happened again if, meanwhile, the ref was announced to be
/// elsewhere and then to have come back from there, and if it is at that commit on the remote now (`is_there`).
pub async fn novelty(tx: &mut WriteTx, announcement: &Announcement, is_there: bool) -> Result<Novelty, StoreError> {
    let repo = announcement.repo.to_string();
    let known = sqlx::query("SELECT build FROM told WHERE repo = ? AND key = ?").bind(&repo).bind(&announcement.key);
    let Some(known) = known.fetch_optional(tx.conn()).await? else { return Ok(Novelty::New) };
    if announcement.by_hand {
        return Ok(Novelty::Again);
    }
    let last: Option<String> = sqlx::query_scalar("SELECT at FROM told_refs WHERE repo = ? AND git_ref = ?")
        .bind(&repo)
        .bind(&announcement.git_ref)
        .fetch_optional(tx.conn())
        .await?;
    let came_back = match (&last, &announcement.before) {
        (Some(last), Some(before)) => last == before && *last != announcement.at,
        (Some(last), None) => *last != announcement.at,
        // The ref was deleted, and is new again.
        (None, before) => before.is_none(),
    };
    if is_there && came_back {
        return Ok(Novelty::Again);
    }
    let build = match known.try_get::<Option<i64>, _>("build")? {
        Some(_) => Some(row::unsigned(&known, "build")?),
        None => None,
    };
    Ok(Novelty::Duplicate { build })
}

/// Stores what was announced, and the number of the build that it became.
pub async fn record(
    tx: &mut WriteTx,
    announcement: &Announcement,
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
        // A duplicate says nothing about where the ref is.
        Novelty::Duplicate { .. } => Ok(()),
        Novelty::New | Novelty::Again => {
            sqlx::query(
                "INSERT INTO told_refs (repo, git_ref, at) VALUES (?, ?, ?)
                 ON CONFLICT DO UPDATE SET at = excluded.at",
            )
            .bind(&repo)
            .bind(&announcement.git_ref)
            .bind(&announcement.at)
            .execute(tx.conn())
            .await?;
            Ok(())
        }
    }
}

/// Looks up a body that was processed before. Returns the number of the build that it became, or `Some(None)` if it
/// became none.
pub async fn find_body(tx: &mut WriteTx, repo: RepoId, body: &str) -> Result<Option<Option<u64>>, StoreError> {
    let known =
        sqlx::query("SELECT build FROM told_bodies WHERE repo = ? AND body = ?").bind(repo.to_string()).bind(body);
    let Some(known) = known.fetch_optional(tx.conn()).await? else { return Ok(None) };
    Ok(Some(match known.try_get::<Option<i64>, _>("build")? {
        Some(_) => Some(row::unsigned(&known, "build")?),
        None => None,
    }))
}

/// Stores that a delivery with this body was processed, and the number of the build that it became.
pub async fn record_body(tx: &mut WriteTx, repo: RepoId, body: &str, build: Option<u64>) -> Result<(), StoreError> {
    let insert = "INSERT INTO told_bodies (repo, body, build) VALUES (?, ?, ?)
                  ON CONFLICT DO UPDATE SET build = coalesce(excluded.build, build)";
    sqlx::query(insert).bind(repo.to_string()).bind(body).bind(build.map(row::signed)).execute(tx.conn()).await?;
    Ok(())
}

/// Forgets where a branch or tag was, because it was deleted: what is announced next is new.
pub async fn forget_ref(tx: &mut WriteTx, repo: RepoId, git_ref: &str) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM told_refs WHERE repo = ? AND git_ref = ?");
    delete.bind(repo.to_string()).bind(git_ref).execute(tx.conn()).await?;
    Ok(())
}
