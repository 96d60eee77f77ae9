//! What forges have told of, so that the same is built once however often it is delivered: by two webhooks, by a forge that delivers twice,
//! by whoever sends a signed body once more.
//!
//! The ingest loop asks for the [`standing`] of what a delivery tells of and [`record`]s it, in the transaction that ends the delivery: the key
//! is unique in the database.

use longshore_core::RepoId;
use sqlx::Row as _;

use crate::{Store, StoreError, WriteTx, row};

/// What a delivery tells of: a ref that has moved to a commit, or something that happened to a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    pub repo: RepoId,
    /// The same for all deliveries that tell of the same.
    pub key: String,
    pub git_ref: String,
    /// Where the ref is told to be: its commit; of a pull request, with whether it is open.
    pub at: String,
    /// Where the ref was before, if that is told.
    pub before: Option<String>,
    /// A person has asked for it.
    pub by_hand: bool,
}

/// Whether something was told of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has told of it.
    New,
    /// It was told of, and has happened again since; or a person asks for it.
    Again,
    /// It was told of, and became this build, or none.
    Twin { build: Option<u64> },
}

/// Whether anybody has told of it: only then it matters what [`standing`] wants to know of the remote.
pub async fn is_known(store: &Store, telling: &Telling) -> Result<bool, StoreError> {
    let known = sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT 1 FROM told WHERE repo = ? AND key = ?)");
    Ok(known.bind(telling.repo.to_string()).bind(&telling.key).fetch_one(store.readers()).await?)
}

/// Whether it was told of before. It has happened again if the ref was told to be elsewhere meanwhile, to have come back from there, and
/// is at that commit on the remote now (`is_there`).
pub async fn standing(tx: &mut WriteTx, telling: &Telling, is_there: bool) -> Result<Standing, StoreError> {
    let repo = telling.repo.to_string();
    let known = sqlx::query("SELECT build FROM told WHERE repo = ? AND key = ?").bind(&repo).bind(&telling.key);
    let Some(known) = known.fetch_optional(tx.conn()).await? else { return Ok(Standing::New) };
    if telling.by_hand {
        return Ok(Standing::Again);
    }
    let last: Option<String> = sqlx::query_scalar("SELECT at FROM told_refs WHERE repo = ? AND git_ref = ?")
        .bind(&repo)
        .bind(&telling.git_ref)
        .fetch_optional(tx.conn())
        .await?;
    let came_back = match (&last, &telling.before) {
        (Some(last), Some(before)) => last == before && *last != telling.at,
        (Some(last), None) => *last != telling.at,
        // It was deleted, and is new again.
        (None, before) => before.is_none(),
    };
    if is_there && came_back {
        return Ok(Standing::Again);
    }
    let build = match known.try_get::<Option<i64>, _>("build")? {
        Some(_) => Some(row::unsigned(&known, "build")?),
        None => None,
    };
    Ok(Standing::Twin { build })
}

/// Writes down that it was told of, and the number of the build that it became.
pub async fn record(
    tx: &mut WriteTx,
    telling: &Telling,
    standing: Standing,
    build: Option<u64>,
) -> Result<(), StoreError> {
    let repo = telling.repo.to_string();
    sqlx::query(
        "INSERT INTO told (repo, key, build) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET build = coalesce(excluded.build, build)",
    )
    .bind(&repo)
    .bind(&telling.key)
    .bind(build.map(row::signed))
    .execute(tx.conn())
    .await?;
    match standing {
        // A twin says nothing of where the ref is.
        Standing::Twin { .. } => Ok(()),
        Standing::New | Standing::Again => {
            sqlx::query(
                "INSERT INTO told_refs (repo, git_ref, at) VALUES (?, ?, ?)
                 ON CONFLICT DO UPDATE SET at = excluded.at",
            )
            .bind(&repo)
            .bind(&telling.git_ref)
            .bind(&telling.at)
            .execute(tx.conn())
            .await?;
            Ok(())
        }
    }
}

/// Whether a delivery with this body was dealt with before, and the number of the build that it became.
pub async fn replayed(tx: &mut WriteTx, repo: RepoId, body: &str) -> Result<Option<Option<u64>>, StoreError> {
    let known =
        sqlx::query("SELECT build FROM told_bodies WHERE repo = ? AND body = ?").bind(repo.to_string()).bind(body);
    let Some(known) = known.fetch_optional(tx.conn()).await? else { return Ok(None) };
    Ok(Some(match known.try_get::<Option<i64>, _>("build")? {
        Some(_) => Some(row::unsigned(&known, "build")?),
        None => None,
    }))
}

/// Writes down that a delivery with this body was dealt with, and the number of the build that it became.
pub async fn record_body(tx: &mut WriteTx, repo: RepoId, body: &str, build: Option<u64>) -> Result<(), StoreError> {
    let insert = "INSERT INTO told_bodies (repo, body, build) VALUES (?, ?, ?)
                  ON CONFLICT DO UPDATE SET build = coalesce(excluded.build, build)";
    sqlx::query(insert).bind(repo.to_string()).bind(body).bind(build.map(row::signed)).execute(tx.conn()).await?;
    Ok(())
}

/// A branch or tag was deleted: what comes of it next is new.
pub async fn gone(tx: &mut WriteTx, repo: RepoId, git_ref: &str) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM told_refs WHERE repo = ? AND git_ref = ?");
    delete.bind(repo.to_string()).bind(git_ref).execute(tx.conn()).await?;
    Ok(())
}
