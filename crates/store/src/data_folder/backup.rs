//! Writes a backup of a data folder: one tar, made beside the running server or without one.
//!
//! First comes a consistent copy of the database (`VACUUM INTO`, which holds up no writer), then the log files that the
//! copy refers to. A log only grows, so the archive has every byte that the copy knows of; the log of a job that was
//! running is cut behind its last whole record. The files of artifacts follow; they never change, and none is removed
//! meanwhile. Last come `SHA256SUMS` (as `sha256sum -c` reads it) and `manifest.json`: a tar without them was cut off.
//! Mirrors and checkouts are caches and left out.
//!
//! Called by `longshore backup`. Holds up no writer: only removals of files wait until it is done. Writes
//! nothing but its copy, in `<data>/backup`.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_core::{JobId, Status, Timestamp};
use longshore_files::{
    FilesError,
    archive::{Archive, ArchivedLog, FORMAT, Manifest, SUMS},
    folder,
    logs::Logs,
    turn,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{StoreError, artifacts, row};

const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How many rows one query to the copy of the database returns.
const ROWS_PER_QUERY: u32 = 500;

/// A finished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    pub manifest: Manifest,
    /// Errors of the folder, which the backup has too.
    pub warnings: Vec<String>,
}

/// Returns the database of a data folder. An error if the folder has none.
pub(crate) fn database_in(data_dir: &Path) -> Result<PathBuf, StoreError> {
    let database = folder::database(data_dir);
    if database.is_file() {
        return Ok(database);
    }
    Err(FilesError::NoDataFolder(data_dir.to_owned()).into())
}

/// Writes a backup of the data folder to `out`. `secrets` says whether the key of secrets and the admin token are
/// included, `program` is the version that the manifest names. After an error, what was written so far is not a usable
/// backup.
pub async fn write<W: Write + Send + 'static>(
    data_dir: &Path,
    secrets: bool,
    program: &str,
    out: W,
) -> Result<Backup, StoreError> {
    database_in(data_dir)?;
    let data_dir = data_dir.to_owned();
    let _no_removals = blocking({
        let data_dir = data_dir.clone();
        move || Ok(turn::backup(&data_dir)?)
    })
    .await?;
    let copy = Copy::make(&data_dir).await?;
    let result = write_all(&data_dir, &copy, secrets, program, out).await;
    copy.remove();
    result
}

async fn write_all<W: Write + Send + 'static>(
    data_dir: &Path,
    copy: &Copy,
    secrets: bool,
    program: &str,
    out: W,
) -> Result<Backup, StoreError> {
    let mut conn = connect(&copy.database(), true).await?;
    let mut manifest = Manifest {
        format: FORMAT,
        longshore: program.to_owned(),
        schema: schema(&mut conn).await?,
        instance: sqlx::query_scalar("SELECT value FROM settings WHERE key = 'instance'").fetch_one(&mut conn).await?,
        created_at: Timestamp::now(),
        secrets,
        running_jobs: row::count(
            sqlx::query_scalar("SELECT count(*) FROM jobs WHERE finished_at IS NULL AND attempt > 0")
                .fetch_one(&mut conn)
                .await?,
        ),
        files: 0,
        bytes: 0,
        sums_sha256: String::new(),
    };
    let sums = copy.folder.join(SUMS);
    let mut archive = {
        let (database, data_dir) = (copy.database(), data_dir.to_owned());
        blocking(move || {
            let mut archive = Archive::new(out, &sums)?;
            archive.add_whole(folder::DATABASE, &database)?;
            for name in folder::PRIVATE.into_iter().filter(|_| secrets) {
                archive.add_if_there(name, &data_dir.join(name))?;
            }
            Ok(archive)
        })
        .await?
    };
    let logs = Logs::new(data_dir.join(folder::LOGS));
    let mut after = 0;
    loop {
        let page = logs_after(&mut conn, after).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        let logs = logs.clone();
        archive = blocking(move || {
            for (_, log) in &page {
                archive.add_log(&logs, log)?;
            }
            Ok(archive)
        })
        .await?;
    }
    let artifacts_dir = data_dir.join(folder::ARTIFACTS);
    let mut after = None;
    loop {
        let page = artifacts::blobs_after(&mut conn, after, ROWS_PER_QUERY).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        let artifacts_dir = artifacts_dir.clone();
        archive = blocking(move || {
            for (blob, _) in &page {
                archive.add_blob(&artifacts_dir, blob)?;
            }
            Ok(archive)
        })
        .await?;
    }
    // The connection is closed before its file is removed.
    conn.close().await?;
    blocking(move || {
        let warnings = archive.finish(&mut manifest)?;
        Ok(Backup { manifest, warnings })
    })
    .await
}

/// Returns logs of the jobs after `after`: those of every attempt, and those that only a rerun still refers to.
async fn logs_after(conn: &mut SqliteConnection, after: i64) -> Result<Vec<(i64, ArchivedLog)>, StoreError> {
    let rows = sqlx::query(
        "SELECT seq, coalesce(carried_over, id) AS job, attempt, carried_over, status, log_bytes FROM jobs
         WHERE seq > ? AND attempt > 0
           AND (carried_over IS NULL
                OR (NOT EXISTS (SELECT 1 FROM jobs AS o WHERE o.id = jobs.carried_over)
                    AND NOT EXISTS (SELECT 1 FROM jobs AS o WHERE o.carried_over = jobs.carried_over AND o.seq < jobs.seq)))
         ORDER BY seq LIMIT ?",
    )
    .bind(after)
    .bind(ROWS_PER_QUERY)
    .fetch_all(conn)
    .await?;
    let mut logs = Vec::with_capacity(rows.len());
    for found in &rows {
        let (seq, job): (i64, JobId) = (sqlx::Row::try_get(found, "seq")?, row::parsed(found, "job")?);
        let status: Status = row::parsed(found, "status")?;
        let bytes = row::unsigned(found, "log_bytes")?;
        let last: u32 = row::unsigned(found, "attempt")?;
        let first = if row::parsed_opt::<JobId>(found, "carried_over")?.is_some() { last } else { 1 };
        for attempt in first..=last {
            let whole = (attempt == last && status.is_final()).then_some(bytes);
            logs.push((seq, ArchivedLog { job, attempt, whole }));
        }
    }
    Ok(logs)
}

/// The copy of the database. Its folder is cleared by the next backup if this one is killed.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    async fn make(data_dir: &Path) -> Result<Self, StoreError> {
        let copy = Self { folder: data_dir.join(folder::BACKUP) };
        copy.remove();
        fs::create_dir(&copy.folder).map_err(|source| StoreError::io(&copy.folder, source))?;
        let made = copy.fill(data_dir).await;
        if made.is_err() {
            copy.remove();
        }
        made.map(|()| copy)
    }

    async fn fill(&self, data_dir: &Path) -> Result<(), StoreError> {
        let mut conn = connect(&folder::database(data_dir), true).await?;
        let target = self.database();
        sqlx::query("VACUUM INTO ?").bind(target.to_string_lossy().into_owned()).execute(&mut conn).await?;
        Ok(conn.close().await?)
    }

    fn database(&self) -> PathBuf {
        folder::database(&self.folder)
    }

    fn remove(&self) {
        match fs::remove_dir_all(&self.folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %self.folder.display(), %error, "cannot remove a backup's copy"),
        }
    }
}

/// Opens another connection to a database that others may have open.
pub(crate) async fn connect(database: &Path, read_only: bool) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(database).read_only(read_only).busy_timeout(BUSY_TIMEOUT);
    Ok(options.connect().await?)
}

/// Returns the number of the last migration of a database.
pub(crate) async fn schema(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(conn).await?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(FilesError::BrokenOff(error.to_string()).into()),
    }
}
