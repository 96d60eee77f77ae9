//! Known contributors of a repository: the authors of pull requests for which something was approved there. A merge
//! does not count, because forges mark a pull request as merged once its commits are in the branch, whoever wrote them.
//! `core::stranger` decides who is a stranger at all.

use longshore_core::{BuildId, Event, RepoId, Timestamp, stranger};
use sqlx::SqliteConnection;

use crate::{Store, StoreError, WriteTx, builds};

/// Returns whether the author of a stranger's pull request had something approved in this repository before.
pub async fn is_known(store: &Store, repo: RepoId, event: &Event) -> Result<bool, StoreError> {
    fetch_is_known(&mut *store.readers().acquire().await?, repo, event).await
}

/// Like [`is_known`], within a transaction.
pub async fn is_known_within(tx: &mut WriteTx, repo: RepoId, event: &Event) -> Result<bool, StoreError> {
    fetch_is_known(tx.conn(), repo, event).await
}

async fn fetch_is_known(conn: &mut SqliteConnection, repo: RepoId, event: &Event) -> Result<bool, StoreError> {
    let Some(person) = stranger::author(event) else { return Ok(false) };
    let known = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM known_people WHERE repo = ? AND person = ?)")
        .bind(repo.to_string())
        .bind(person)
        .fetch_one(conn)
        .await?;
    Ok(known)
}

/// Remembers a build's author as known, because something of the build was approved.
pub(crate) async fn remember_author(tx: &mut WriteTx, build: BuildId, now: Timestamp) -> Result<(), StoreError> {
    let build = builds::fetch(tx.conn(), build).await?.ok_or(StoreError::NotFound("build"))?;
    match stranger::author(&build.event) {
        Some(person) => remember(tx, build.repo, &person, now).await,
        None => Ok(()),
    }
}

async fn remember(tx: &mut WriteTx, repo: RepoId, person: &str, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO known_people (repo, person, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(repo.to_string())
        .bind(person)
        .bind(now.as_millis())
        .execute(tx.conn())
        .await?;
    Ok(())
}
