//! A backup: one tar of a data folder, made beside the running server or without one.
//!
//! In this order: a consistent copy of the database (`VACUUM INTO`, which holds up no writer), then the log files that the
//! copy speaks of. A log only grows, so every byte that the copy knows of is there; of a job that was running, the log is
//! cut behind its last whole record. Last come `SHA256SUMS` (as `sha256sum -c` reads it) and `manifest.json`: a tar without
//! them was cut off. Mirrors and checkouts are caches and left out.
//!
//! Called by `longshore backup`. It takes no lock of the server's and writes nothing but its copy, in `<data>/backup`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek as _, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use longshore_core::{JobId, Status, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    StoreError, folder,
    logs::{self, JournalFile, Logs},
    row,
};

/// The layout of the tar that this version writes and reads.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const SUMS: &str = "SHA256SUMS";

/// Another backup, or somebody who removes logs, is waited for so long.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Log files between two looks into the copy of the database.
const PAGE: u32 = 500;

/// The last file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of the tar's layout.
    pub format: u32,
    /// The program that made it.
    pub longshore: String,
    /// The database's last migration.
    pub schema: i64,
    pub instance: String,
    pub created_at: Timestamp,
    /// The key of secrets and the admin token are in it, as far as there were any.
    pub secrets: bool,
    /// Jobs that were running; a server that starts on the restored folder looks for them.
    pub running_jobs: u64,
    /// Besides `SHA256SUMS` and this one.
    pub files: u64,
    /// Of those.
    pub bytes: u64,
    /// Of `SHA256SUMS`, which holds that of every other file.
    pub sums_sha256: String,
}

/// What came of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    pub manifest: Manifest,
    /// What was not as it should be in the folder and is therefore not whole in the backup either.
    pub warnings: Vec<String>,
}

/// Writes a backup of the data folder to `out`. `secrets`: whether the key of secrets and the admin token are part of it.
/// `program` is the version that is noted. Whatever the error, what was written until then is no backup.
pub async fn write<W: Write + Send + 'static>(
    data_dir: &Path,
    secrets: bool,
    program: &str,
    out: W,
) -> Result<Backup, StoreError> {
    if !folder::database(data_dir).is_file() {
        return Err(StoreError::Backup(format!(
            "{} is no data folder: there is no {} in it; name the server's with --data",
            data_dir.display(),
            folder::DATABASE
        )));
    }
    let data_dir = data_dir.to_owned();
    let _turn = blocking({
        let data_dir = data_dir.clone();
        move || take_turn(&data_dir)
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
        let Some(last) = page.last() else { break };
        after = last.seq;
        let logs = logs.clone();
        archive = blocking(move || {
            for log in &page {
                archive.add_log(&logs, log)?;
            }
            Ok(archive)
        })
        .await?;
    }
    // Closed before its file goes.
    conn.close().await?;
    blocking(move || {
        let warnings = std::mem::take(&mut archive.warnings);
        (manifest.files, manifest.bytes) = (archive.files, archive.bytes);
        archive.finish(&mut manifest)?;
        Ok(Backup { manifest, warnings })
    })
    .await
}

/// A log that the copy of the database speaks of.
struct LogOf {
    seq: i64,
    job: JobId,
    attempt: u32,
    /// Its length, once the job is over; of an earlier attempt nothing is noted.
    whole: Option<u64>,
}

/// The logs of the jobs behind `after`: of every attempt, and those that only a rerun refers to any more.
async fn logs_after(conn: &mut SqliteConnection, after: i64) -> Result<Vec<LogOf>, StoreError> {
    let rows = sqlx::query(
        "SELECT seq, coalesce(carried_over, id) AS job, attempt, carried_over, status, log_bytes FROM jobs
         WHERE seq > ? AND attempt > 0
           AND (carried_over IS NULL
                OR (NOT EXISTS (SELECT 1 FROM jobs AS o WHERE o.id = jobs.carried_over)
                    AND NOT EXISTS (SELECT 1 FROM jobs AS o WHERE o.carried_over = jobs.carried_over AND o.seq < jobs.seq)))
         ORDER BY seq LIMIT ?",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(conn)
    .await?;
    let mut logs = Vec::with_capacity(rows.len());
    for found in &rows {
        let (seq, job) = (sqlx::Row::try_get(found, "seq")?, row::parsed(found, "job")?);
        let status: Status = row::parsed(found, "status")?;
        let bytes = row::unsigned(found, "log_bytes")?;
        let last: u32 = row::unsigned(found, "attempt")?;
        let first = if row::parsed_opt::<JobId>(found, "carried_over")?.is_some() { last } else { 1 };
        for attempt in first..=last {
            let whole = (attempt == last && status.is_final()).then_some(bytes);
            logs.push(LogOf { seq, job, attempt, whole });
        }
    }
    Ok(logs)
}

/// The tar, and what has gone into it.
struct Archive<W: Write> {
    tar: tar::Builder<W>,
    sums: File,
    sums_path: PathBuf,
    files: u64,
    bytes: u64,
    warnings: Vec<String>,
}

impl<W: Write> Archive<W> {
    fn new(out: W, sums_path: &Path) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let sums = options.read(true).write(true).create(true).truncate(true).open(sums_path);
        let sums = sums.map_err(|source| StoreError::io(sums_path, source))?;
        let tar = tar::Builder::new(out);
        Ok(Self { tar, sums, sums_path: sums_path.to_owned(), files: 0, bytes: 0, warnings: Vec::new() })
    }

    fn add_log(&mut self, logs: &Logs, log: &LogOf) -> Result<(), StoreError> {
        let path = logs.path(log.job, log.attempt);
        let at_log = |source| StoreError::io(&path, source);
        let Some(file) = JournalFile::open(&path).map_err(at_log)? else {
            if log.whole.is_some_and(|bytes| bytes > 0) {
                self.warnings.push(format!("the log of job {} is missing: {}", log.job, path.display()));
            }
            return Ok(());
        };
        let size = file.len().map_err(at_log)?;
        let length = match log.whole {
            Some(whole) if whole > size => {
                self.warnings.push(format!(
                    "the log of job {} has {size} bytes instead of {whole}: {}",
                    log.job,
                    path.display()
                ));
                size
            }
            Some(whole) => whole,
            None => logs::survey(&file, size).map_err(at_log)?.whole,
        };
        let name = Path::new(folder::LOGS).join(logs.relative_path(log.job, log.attempt));
        self.add(&name.to_string_lossy(), &path, file.reader(), length)
    }

    fn add_if_there(&mut self, name: &str, path: &Path) -> Result<(), StoreError> {
        if path.is_file() { self.add_whole(name, path) } else { Ok(()) }
    }

    fn add_whole(&mut self, name: &str, path: &Path) -> Result<(), StoreError> {
        let file = File::open(path).map_err(|source| StoreError::io(path, source))?;
        let length = file.metadata().map_err(|source| StoreError::io(path, source))?.len();
        self.add(name, path, file, length)
    }

    /// The first `length` bytes of a file that only grows.
    fn add(&mut self, name: &str, path: &Path, file: impl Read, length: u64) -> Result<(), StoreError> {
        let mut hashing = Hashing { inner: file.take(length), hash: Sha256::new() };
        append(&mut self.tar, name, length, &mut hashing).map_err(|source| StoreError::io(path, source))?;
        let left = hashing.inner.limit();
        if left > 0 {
            let source =
                io::Error::new(io::ErrorKind::UnexpectedEof, format!("it lost {left} bytes while it was read"));
            return Err(StoreError::io(path, source));
        }
        writeln!(self.sums, "{}  {name}", hex::encode(hashing.hash.finalize()))
            .map_err(|source| StoreError::io(&self.sums_path, source))?;
        self.files += 1;
        self.bytes += length;
        Ok(())
    }

    fn finish(mut self, manifest: &mut Manifest) -> Result<(), StoreError> {
        let at_sums = |source| StoreError::io(&self.sums_path, source);
        self.sums.rewind().map_err(at_sums)?;
        let length = self.sums.metadata().map_err(at_sums)?.len();
        let mut hashing = Hashing { inner: &mut self.sums, hash: Sha256::new() };
        append(&mut self.tar, SUMS, length, &mut hashing).map_err(at_sums)?;
        manifest.sums_sha256 = hex::encode(hashing.hash.finalize());
        let json = serde_json::to_vec_pretty(manifest).map_err(|error| StoreError::Backup(error.to_string()))?;
        append(&mut self.tar, MANIFEST, json.len() as u64, &mut json.as_slice())
            .and_then(|()| self.tar.into_inner()?.flush())
            .map_err(|source| StoreError::io(Path::new(MANIFEST), source))
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, length: u64, data: &mut dyn Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(Timestamp::now().as_millis() / 1000).unwrap_or(0));
    tar.append_data(&mut header, name, data)
}

/// Reads through, and knows the sum of what was read.
pub(crate) struct Hashing<R> {
    pub(crate) inner: R,
    pub(crate) hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// The copy of the database, in a folder that the next backup clears if this one is killed.
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

/// One backup of a folder at a time, and no log is removed meanwhile. Until the returned file is closed.
fn take_turn(data_dir: &Path) -> Result<File, StoreError> {
    let path = data_dir.join(folder::BACKUP_LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| StoreError::io(&path, source))?;
    let deadline = Instant::now() + TURN_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StoreError::Backup(
                    "another backup of this folder is being made: wait for its end".to_owned(),
                ));
            }
            Err(fs::TryLockError::Error(source)) => return Err(StoreError::io(&path, source)),
        }
    }
}

/// A connection of its own to a database, beside whoever else has it open.
pub(crate) async fn connect(database: &Path, read_only: bool) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(database).read_only(read_only).busy_timeout(BUSY_TIMEOUT);
    Ok(options.connect().await?)
}

/// The last migration of a database.
pub(crate) async fn schema(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(conn).await?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Backup(format!("the work broke off: {error}"))),
    }
}
