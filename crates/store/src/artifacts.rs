//! Artifacts: the files that jobs leave. Their bytes are blobs in the data folder (`longshore_files::artifacts`).
//!
//! They are written in the transaction of their job's end, so a reader who sees a final status sees all of its
//! artifacts.

use longshore_core::{ArtifactFile, ArtifactId, ArtifactKind, BlobId, BuildId, JobId, RepoId, Timestamp};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{Store, StoreError, WriteTx, removals, row};

/// Rows that one statement inserts.
const ROWS_PER_INSERT: usize = 500;

/// An artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub id: ArtifactId,
    pub job: JobId,
    pub kind: ArtifactKind,
    pub name: String,
    pub files: u64,
    /// The size of its files together.
    pub bytes: u64,
    /// The path of the page to open first, if one of its files is a page.
    pub page: Option<String>,
    pub created_at: Timestamp,
    /// When it is removed, if its build is not removed earlier.
    pub expires_at: Option<Timestamp>,
}

/// An artifact to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    pub kind: ArtifactKind,
    pub name: String,
    pub expires_at: Option<Timestamp>,
    /// Their blobs are in the data folder, and named by the attempt.
    pub files: Vec<ArtifactFile>,
}

/// Writes the artifacts of an attempt that is about to end, in place of those of earlier attempts. Does nothing for an
/// attempt that is not the running one.
pub async fn keep(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    artifacts: &[NewArtifact],
    now: Timestamp,
) -> Result<(), StoreError> {
    let named = tx.store().blobs().named_by(job, attempt);
    let query = "SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ? AND attempt = ? AND finished_at IS NULL
                                AND status IN ('running', 'canceling'))";
    let is_running: bool = sqlx::query_scalar(query).bind(job.to_string()).bind(attempt).fetch_one(tx.conn()).await?;
    let artifacts = if is_running { artifacts } else { &[] };
    if is_running {
        let query = "DELETE FROM artifacts WHERE job = ? RETURNING content";
        let earlier: Vec<i64> = sqlx::query_scalar(query).bind(job.to_string()).fetch_all(tx.conn()).await?;
        removals::artifacts::drop_unused(tx, &earlier).await?;
    }
    for artifact in artifacts {
        let content = insert_content(tx, &artifact.files).await?;
        sqlx::query(
            "INSERT INTO artifacts (id, job, kind, name, content, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(ArtifactId::new().to_string())
        .bind(job.to_string())
        .bind(artifact.kind.as_str())
        .bind(&artifact.name)
        .bind(content)
        .bind(now.as_millis())
        .bind(artifact.expires_at.map(Timestamp::as_millis))
        .execute(tx.conn())
        .await?;
    }
    let kept: std::collections::HashSet<BlobId> =
        artifacts.iter().flat_map(|artifact| &artifact.files).map(|file| file.blob).collect();
    let dropped: Vec<BlobId> = named.into_iter().filter(|blob| !kept.contains(blob)).collect();
    removals::artifacts::note(tx, &dropped).await?;
    tx.forget_attempt_after_commit(job, attempt);
    Ok(())
}

async fn insert_content(tx: &mut WriteTx, files: &[ArtifactFile]) -> Result<i64, StoreError> {
    let bytes = files.iter().map(|file| file.bytes).sum();
    let content: i64 =
        sqlx::query_scalar("INSERT INTO artifact_contents (files, bytes, page) VALUES (?, ?, ?) RETURNING id")
            .bind(row::signed(files.len() as u64))
            .bind(row::signed(bytes))
            .bind(first_page(files))
            .fetch_one(tx.conn())
            .await?;
    for some in files.chunks(ROWS_PER_INSERT) {
        let mut query =
            QueryBuilder::<Sqlite>::new("INSERT INTO artifact_files (content, path, executable, bytes, blob) ");
        query.push_values(some, |mut row, file| {
            row.push_bind(content)
                .push_bind(file.path.clone())
                .push_bind(file.executable)
                .push_bind(row::signed(file.bytes))
                .push_bind(file.blob.as_bytes().to_vec());
        });
        query.build().execute(tx.conn()).await?;
    }
    Ok(content)
}

/// Returns the page to open first: the topmost `index.html`, or else the only page.
fn first_page(files: &[ArtifactFile]) -> Option<&str> {
    let paths = || files.iter().map(|file| file.path.as_str()).filter(|path| path.ends_with(".html"));
    let depth = |path: &&str| (path.matches('/').count(), path.len());
    let index = paths().filter(|path| path.rsplit('/').next() == Some("index.html")).min_by_key(depth);
    index.or_else(|| paths().next().filter(|_| paths().count() == 1))
}

/// Gives a job the artifacts of a job whose success it takes over. Both have the same contents; each has its own ids.
pub(crate) async fn carry_over(tx: &mut WriteTx, from: JobId, to: JobId) -> Result<(), StoreError> {
    let rows =
        sqlx::query("SELECT kind, name, content, created_at, expires_at FROM artifacts WHERE job = ? ORDER BY seq")
            .bind(from.to_string())
            .fetch_all(tx.conn())
            .await?;
    for found in &rows {
        sqlx::query(
            "INSERT INTO artifacts (id, job, kind, name, content, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(ArtifactId::new().to_string())
        .bind(to.to_string())
        .bind(found.try_get::<String, _>("kind")?)
        .bind(found.try_get::<String, _>("name")?)
        .bind(found.try_get::<i64, _>("content")?)
        .bind(found.try_get::<i64, _>("created_at")?)
        .bind(found.try_get::<Option<i64>, _>("expires_at")?)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

/// Forgets what the data folder knows of an attempt that has ended.
pub(crate) async fn forget_attempt(store: &Store, job: JobId, attempt: u32) {
    let blobs = store.blobs().clone();
    let forgotten = tokio::task::spawn_blocking(move || blobs.forget(job, attempt)).await;
    if let Err(error) = forgotten.map_err(std::io::Error::other).flatten() {
        tracing::warn!(%job, %error, "the list of a job's files cannot be removed; the next start removes it");
    }
}

const SELECT: &str = "SELECT artifacts.*, artifact_contents.files, artifact_contents.bytes, artifact_contents.page
                      FROM artifacts JOIN artifact_contents ON artifact_contents.id = artifacts.content";

/// Returns a job's artifacts for people, in the order of its plan.
pub async fn of_job(store: &Store, job: JobId) -> Result<Vec<Artifact>, StoreError> {
    let query = format!("{SELECT} WHERE artifacts.job = ? AND kind = 'files' ORDER BY artifacts.seq");
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(job.to_string());
    rows.fetch_all(store.readers()).await?.iter().map(from_row).collect()
}

/// Returns the artifacts for people of all jobs of a build, in the order of the jobs.
pub async fn of_build(store: &Store, build: BuildId) -> Result<Vec<Artifact>, StoreError> {
    let query = format!(
        "{SELECT} JOIN jobs ON jobs.id = artifacts.job
         WHERE jobs.build = ? AND artifacts.kind = 'files' ORDER BY jobs.position, artifacts.seq"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(build.to_string());
    rows.fetch_all(store.readers()).await?.iter().map(from_row).collect()
}

/// Returns an artifact for people, with its repository.
pub async fn get(store: &Store, id: ArtifactId) -> Result<Option<(Artifact, RepoId)>, StoreError> {
    let query = format!(
        "SELECT found.*, builds.repo FROM ({SELECT} WHERE artifacts.id = ? AND kind = 'files') AS found
         JOIN jobs ON jobs.id = found.job JOIN builds ON builds.id = jobs.build"
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id.to_string()).fetch_optional(store.readers()).await?;
    found.map(|found| Ok((from_row(&found)?, row::parsed(&found, "repo")?))).transpose()
}

/// Returns files of an artifact after a path, in the order of their paths.
pub async fn files(
    store: &Store,
    id: ArtifactId,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ArtifactFile>, StoreError> {
    let query =
        "SELECT artifact_files.* FROM artifacts JOIN artifact_files ON artifact_files.content = artifacts.content
                 WHERE artifacts.id = ? AND path > ? ORDER BY path LIMIT ?";
    let rows = sqlx::query(query).bind(id.to_string()).bind(after.unwrap_or_default()).bind(limit);
    rows.fetch_all(store.readers()).await?.iter().map(file_from_row).collect()
}

/// Returns a file of an artifact.
pub async fn file(store: &Store, id: ArtifactId, path: &str) -> Result<Option<ArtifactFile>, StoreError> {
    let query =
        "SELECT artifact_files.* FROM artifacts JOIN artifact_files ON artifact_files.content = artifacts.content
                 WHERE artifacts.id = ? AND path = ?";
    let found = sqlx::query(query).bind(id.to_string()).bind(path).fetch_optional(store.readers()).await?;
    found.as_ref().map(file_from_row).transpose()
}

/// Returns the bytes of all artifacts of a repository together.
pub async fn bytes_of_repo(store: &Store, repo: RepoId) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(sum(artifact_contents.bytes), 0)
                 FROM builds JOIN jobs ON jobs.build = builds.id JOIN artifacts ON artifacts.job = jobs.id
                 JOIN artifact_contents ON artifact_contents.id = artifacts.content WHERE builds.repo = ?";
    let total: i64 = sqlx::query_scalar(query).bind(repo.to_string()).fetch_one(store.readers()).await?;
    Ok(row::count(total))
}

fn from_row(found: &SqliteRow) -> Result<Artifact, StoreError> {
    Ok(Artifact {
        id: row::parsed(found, "id")?,
        job: row::parsed(found, "job")?,
        kind: row::parsed(found, "kind")?,
        name: found.try_get("name")?,
        files: row::unsigned(found, "files")?,
        bytes: row::unsigned(found, "bytes")?,
        page: found.try_get("page")?,
        created_at: row::time(found, "created_at")?,
        expires_at: row::time_opt(found, "expires_at")?,
    })
}

fn file_from_row(found: &SqliteRow) -> Result<ArtifactFile, StoreError> {
    Ok(ArtifactFile {
        path: found.try_get("path")?,
        executable: found.try_get("executable")?,
        bytes: row::unsigned(found, "bytes")?,
        blob: blob(found)?,
    })
}

/// Reads the column `blob`.
pub(crate) fn blob(found: &SqliteRow) -> Result<BlobId, StoreError> {
    let bytes: &[u8] = found.try_get("blob")?;
    bytes.try_into().map(BlobId::new).map_err(|_| StoreError::Corrupt("column `blob`: not 32 bytes".to_owned()))
}

/// Returns every blob that the database names, after one; for backups and checks.
pub(crate) async fn blobs_after(
    conn: &mut SqliteConnection,
    after: Option<BlobId>,
    limit: u32,
) -> Result<Vec<(BlobId, u64)>, StoreError> {
    let after = after.map(|blob| blob.as_bytes().to_vec()).unwrap_or_default();
    let rows = sqlx::query("SELECT DISTINCT blob, bytes FROM artifact_files WHERE blob > ? ORDER BY blob LIMIT ?")
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|found| Ok((blob(found)?, row::unsigned(found, "bytes")?))).collect()
}
