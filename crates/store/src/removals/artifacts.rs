//! Removes artifacts. Rows are removed first, and the blobs that they named are noted in the same transaction; the
//! blobs follow after the commit, unless something names them by then. A kill in between leaves nothing behind: the
//! next removal, or the next start, goes on. While a backup is made, blobs stay.

use longshore_core::{BlobId, BuildId, RepoId, Timestamp};
use longshore_files::turn;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use crate::{ChangeKind, Store, StoreError, WriteTx, artifacts, removals::Parent, row, write::NewChange};

/// The number of blobs that one round checks.
const BLOBS_PER_ROUND: u32 = 500;
/// Artifacts that one transaction removes.
const ARTIFACTS_AT_ONCE: u32 = 50;

/// Returns the contents of the artifacts of a build's or a repository's jobs. Called before the jobs are deleted;
/// [`drop_unused`] takes the result afterwards.
pub(crate) async fn contents_of(tx: &mut WriteTx, parent: Parent) -> Result<Vec<i64>, StoreError> {
    let (query, id) = match parent {
        Parent::Build(id) => (
            "SELECT DISTINCT content FROM artifacts JOIN jobs ON jobs.id = artifacts.job WHERE jobs.build = ?",
            id.to_string(),
        ),
        Parent::Repo(id) => (
            "SELECT DISTINCT content FROM artifacts JOIN jobs ON jobs.id = artifacts.job
             JOIN builds ON builds.id = jobs.build WHERE builds.repo = ?",
            id.to_string(),
        ),
    };
    Ok(sqlx::query_scalar(query).bind(id).fetch_all(tx.conn()).await?)
}

/// Removes those of the contents that no artifact has any more, and notes their blobs.
pub(crate) async fn drop_unused(tx: &mut WriteTx, contents: &[i64]) -> Result<(), StoreError> {
    for content in contents {
        sqlx::query(
            "INSERT INTO blob_removals (blob) SELECT DISTINCT blob FROM artifact_files
             WHERE content = ?1 AND NOT EXISTS (SELECT 1 FROM artifacts WHERE content = ?1) ON CONFLICT DO NOTHING",
        )
        .bind(content)
        .execute(tx.conn())
        .await?;
        sqlx::query(
            "DELETE FROM artifact_contents WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM artifacts WHERE content = ?1)",
        )
        .bind(content)
        .execute(tx.conn())
        .await?;
    }
    if !contents.is_empty() {
        tx.remove_blobs_after_commit();
    }
    Ok(())
}

/// Notes blobs that may have lost their last name.
pub(crate) async fn note(tx: &mut WriteTx, blobs: &[BlobId]) -> Result<(), StoreError> {
    for some in blobs.chunks(BLOBS_PER_ROUND as usize) {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO blob_removals (blob) ");
        query.push_values(some, |mut row, blob| {
            row.push_bind(blob.as_bytes().to_vec());
        });
        query.push(" ON CONFLICT DO NOTHING");
        query.build().execute(tx.conn()).await?;
    }
    Ok(())
}

/// Notes what arrived of attempts that an earlier process did not see to their end, and forgets them. Called at the
/// start, when every attempt that runs is known to the database.
pub async fn sweep(store: &Store) -> Result<(), StoreError> {
    for (job, attempt) in store.blobs().attempts() {
        let query = "SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ? AND attempt = ? AND finished_at IS NULL)";
        let runs: bool =
            sqlx::query_scalar(query).bind(job.to_string()).bind(attempt).fetch_one(store.readers()).await?;
        if runs {
            continue;
        }
        let mut tx = store.write().await?;
        let named = tx.store().blobs().named_by(job, attempt);
        note(&mut tx, &named).await?;
        tx.forget_attempt_after_commit(job, attempt);
        tx.commit().await?;
    }
    carry_out(store).await
}

/// Removes a few artifacts whose date has passed and whose build is over. Returns how many.
pub(crate) async fn remove_expired(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    let rows = sqlx::query(
        "SELECT artifacts.seq, builds.id, builds.repo FROM artifacts JOIN jobs ON jobs.id = artifacts.job
         JOIN builds ON builds.id = jobs.build
         WHERE artifacts.expires_at <= ? AND builds.finished_at IS NOT NULL ORDER BY artifacts.expires_at LIMIT ?",
    )
    .bind(now.as_millis())
    .bind(ARTIFACTS_AT_ONCE)
    .fetch_all(tx.conn())
    .await?;
    for found in &rows {
        remove(tx, found.try_get("seq")?, row::parsed(found, "repo")?, row::parsed(found, "id")?).await?;
    }
    Ok(rows.len() as u64)
}

/// Removes a few artifacts of a repository whose artifacts have more bytes than `limit`, except those of its newest
/// build and of builds that are not over. Artifacts of forks' pull requests go first, then the oldest. The repository's
/// own go only if they have more bytes than `limit` by themselves: no fork can have them removed. Returns how many.
pub(crate) async fn remove_over(tx: &mut WriteTx, limit: u64) -> Result<u64, StoreError> {
    let over = sqlx::query(
        "SELECT repo, sum(bytes) AS total, sum(iif(of_fork, 0, bytes)) AS own
         FROM (SELECT builds.repo, artifact_contents.bytes,
                      coalesce(json_extract(builds.event_json, '$.pull_request.fork'), 0) AS of_fork
               FROM artifacts JOIN artifact_contents ON artifact_contents.id = artifacts.content
               JOIN jobs ON jobs.id = artifacts.job JOIN builds ON builds.id = jobs.build)
         GROUP BY repo HAVING total > ?",
    )
    .bind(row::signed(limit))
    .fetch_all(tx.conn())
    .await?;
    let mut removed = 0;
    for found in &over {
        let repo: RepoId = row::parsed(found, "repo")?;
        let mut total = row::unsigned::<u64>(found, "total")?;
        let mut own = row::unsigned::<u64>(found, "own")?;
        let oldest = sqlx::query(
            "SELECT artifacts.seq, builds.id, artifact_contents.bytes,
                    coalesce(json_extract(builds.event_json, '$.pull_request.fork'), 0) AS of_fork
             FROM builds JOIN jobs ON jobs.build = builds.id JOIN artifacts ON artifacts.job = jobs.id
             JOIN artifact_contents ON artifact_contents.id = artifacts.content
             WHERE builds.repo = ?1 AND builds.finished_at IS NOT NULL
               AND builds.number < (SELECT next_number - 1 FROM repos WHERE id = ?1)
             ORDER BY of_fork DESC, artifacts.seq LIMIT ?2",
        )
        .bind(repo.to_string())
        .bind(ARTIFACTS_AT_ONCE)
        .fetch_all(tx.conn())
        .await?;
        for old in &oldest {
            let of_fork: bool = old.try_get("of_fork")?;
            if total <= limit || (!of_fork && own <= limit) {
                break;
            }
            remove(tx, old.try_get("seq")?, repo, row::parsed(old, "id")?).await?;
            let bytes = row::unsigned(old, "bytes")?;
            total = total.saturating_sub(bytes);
            own = own.saturating_sub(if of_fork { 0 } else { bytes });
            removed += 1;
        }
    }
    Ok(removed)
}

async fn remove(tx: &mut WriteTx, artifact: i64, repo: RepoId, build: BuildId) -> Result<(), StoreError> {
    let query = "DELETE FROM artifacts WHERE seq = ? RETURNING content";
    let content: Vec<i64> = sqlx::query_scalar(query).bind(artifact).fetch_all(tx.conn()).await?;
    drop_unused(tx, &content).await?;
    tx.note_change(NewChange { kind: ChangeKind::Build, repo: Some(repo), build: Some(build), job: None });
    Ok(())
}

/// Removes the blobs that were noted and that nothing names, unless a backup is being made. Blobs that cannot be
/// removed now, since the object store is away, stay noted and hold up no others.
pub(crate) async fn carry_out(store: &Store) -> Result<(), StoreError> {
    let mut after: Vec<u8> = Vec::new();
    let mut failed = None;
    loop {
        let rows = sqlx::query("SELECT blob FROM blob_removals WHERE blob > ? ORDER BY blob LIMIT ?");
        let rows = rows.bind(&after).bind(BLOBS_PER_ROUND).fetch_all(store.readers()).await?;
        let noted: Vec<BlobId> = rows.iter().map(artifacts::blob).collect::<Result<_, _>>()?;
        let Some(last) = noted.last() else {
            return failed.map_or(Ok(()), Err);
        };
        after = last.as_bytes().to_vec();
        let Some(_turn) = turn::removal(store.data_dir())? else {
            tracing::info!("artifacts that nothing names stay until the backup under way is made");
            return Ok(());
        };
        for blob in noted {
            if failed.is_some() && store.blobs().is_offloaded(&blob) {
                continue;
            }
            if let Err(error) = remove_noted(store, blob).await {
                if !store.blobs().is_offloaded(&blob) {
                    return Err(error);
                }
                failed = Some(error);
            }
        }
    }
}

async fn remove_noted(store: &Store, blob: BlobId) -> Result<(), StoreError> {
    if let Some(removal) = store.blobs().begin_removal(blob) {
        let query = "SELECT EXISTS (SELECT 1 FROM artifact_files WHERE blob = ?)";
        let is_named: bool =
            sqlx::query_scalar(query).bind(blob.as_bytes().as_slice()).fetch_one(store.readers()).await?;
        if !is_named {
            let path = store.blobs().path(&blob);
            let done = tokio::task::spawn_blocking(move || removal.carry_out()).await;
            done.map_err(std::io::Error::other).flatten().map_err(|source| StoreError::io(&path, source))?;
        }
    } else if !store.blobs().is_arriving(&blob) {
        // Somebody else is removing it, and may fail.
        return Ok(());
    }
    // One that an attempt names is noted again if nothing becomes of it.
    sqlx::query("DELETE FROM blob_removals WHERE blob = ?")
        .bind(blob.as_bytes().as_slice())
        .execute(store.writer())
        .await?;
    Ok(())
}
