//! Checks whether a data folder is whole: the database, the statuses in it, every log to its last record, and every
//! file of an artifact.
//!
//! Called by `longshore check`, beside a running server or without one. It only reads. Beside a server it reads a
//! slightly outdated state, so it reads again whatever looks wrong before it reports it.

mod artifact_checks;
mod finding;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use longshore_core::{JobId, Status};
use longshore_files::{
    artifacts::ObjectStore,
    folder,
    logs::{self, JournalFile, Logs},
};
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteRow};

pub use self::finding::{FileDamage, Finding, LogDamage, Severity};
use crate::{StoreError, backup, migrations, row, secret_key};

/// Findings that are listed; further ones are only counted.
const MAX_LISTED_FINDINGS: usize = 1000;
/// Jobs that one query returns.
const JOBS_PER_QUERY: u32 = 500;

/// The result of a check: how much was checked, and the findings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The database's last migration.
    pub schema: i64,
    pub builds: u64,
    pub jobs: u64,
    pub logs: u64,
    pub log_bytes: u64,
    /// Files of artifacts, each counted once, and their bytes before packing.
    pub files: u64,
    pub file_bytes: u64,
    pub findings: Vec<Finding>,
    /// Number of findings of each code, including those that are not listed.
    pub counts: BTreeMap<&'static str, u64>,
    /// Number of findings that are errors.
    pub errors: u64,
}

impl Report {
    /// Returns whether nothing is lost or damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.errors == 0
    }

    fn add(&mut self, finding: Finding) {
        self.errors += u64::from(finding.severity() == Severity::Error);
        *self.counts.entry(finding.code()).or_default() += 1;
        if self.findings.len() < MAX_LISTED_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// How thorough a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The database's pages and the logs' lengths.
    Quick,
    /// Indexes against tables too, and every byte of every log.
    Full,
}

/// Checks a data folder. Fails only if the folder cannot be read.
pub async fn run(data_dir: &Path, depth: Depth) -> Result<Report, StoreError> {
    run_with(data_dir, depth, None).await
}

/// Checks a data folder, and the artifacts that are in the object store. Fails only if one of them cannot be read.
pub async fn run_with(data_dir: &Path, depth: Depth, object_store: Option<ObjectStore>) -> Result<Report, StoreError> {
    let mut report = Report::default();
    if data_dir.join(folder::RESTORE).exists() {
        report.add(Finding::UnfinishedRestore { folder: data_dir.to_owned() });
        return Ok(report);
    }
    let database = backup::database_in(data_dir)?;
    let mut conn = backup::connect(&database, true).await?;
    // A damaged database answers any query with an error: that is a finding, not a failure.
    if let Err(error) = check_database(&mut conn, depth, &mut report).await {
        match error {
            StoreError::Database(error) => report.add(Finding::DatabaseDamaged(error.to_string())),
            other => return Err(other),
        }
    }
    if report.is_whole() {
        check_statuses(&mut conn, &mut report).await?;
        let logs = Logs::new(data_dir.join(folder::LOGS));
        check_logs(&mut conn, &logs, depth, &mut report).await?;
        check_orphans(&mut conn, &data_dir.join(folder::LOGS), &mut report).await?;
        artifact_checks::check(&mut conn, data_dir, (depth, object_store), &mut report).await?;
        check_private_files(&mut conn, data_dir, &mut report).await?;
    }
    conn.close().await?;
    Ok(report)
}

async fn check_database(conn: &mut SqliteConnection, depth: Depth, report: &mut Report) -> Result<(), StoreError> {
    let pragma = match depth {
        Depth::Quick => "PRAGMA quick_check",
        Depth::Full => "PRAGMA integrity_check",
    };
    for said in sqlx::query_scalar::<_, String>(pragma).fetch_all(&mut *conn).await? {
        if said != "ok" {
            report.add(Finding::DatabaseDamaged(said));
        }
    }
    report.schema = backup::schema(conn).await?;
    let known = migrations::newest();
    if report.schema != known {
        report.add(Finding::OtherSchema { found: report.schema, known });
        return Ok(());
    }
    for broken in sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *conn).await? {
        report.add(Finding::ReferenceBroken { from: broken.try_get(0)?, to: broken.try_get(2)? });
    }
    report.builds = row::count(sqlx::query_scalar("SELECT count(*) FROM builds").fetch_one(&mut *conn).await?);
    Ok(())
}

/// Checks each condition in one statement, so that a server's work in between cannot produce a contradiction.
async fn check_statuses(conn: &mut SqliteConnection, report: &mut Report) -> Result<(), StoreError> {
    let unfinished = "('blocked', 'queued', 'running', 'canceling')";
    for table in ["builds", "jobs"] {
        let query = format!(
            "SELECT id, status FROM {table} WHERE (finished_at IS NULL) <> (status IN {unfinished}) ORDER BY seq LIMIT {MAX_LISTED_FINDINGS}"
        );
        for row in sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&mut *conn).await? {
            let (id, status) = (row.try_get("id")?, row.try_get("status")?);
            report.add(Finding::StatusWithoutEnd { table, id, status });
        }
    }
    let query = "SELECT DISTINCT builds.id FROM jobs JOIN builds ON builds.id = jobs.build
                 WHERE jobs.finished_at IS NULL AND builds.finished_at IS NOT NULL";
    for build in sqlx::query_scalar(query).fetch_all(&mut *conn).await? {
        report.add(Finding::JobsOutliveBuild { build });
    }
    Ok(())
}

/// A job's log, as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Logged {
    job: JobId,
    attempt: u32,
    status: Status,
    bytes: u64,
}

const LOGGED: &str =
    "SELECT seq, id, coalesce(carried_over, id) AS source, attempt, status, log_bytes FROM jobs WHERE ";

fn logged_from_row(row: &SqliteRow) -> Result<Logged, StoreError> {
    Ok(Logged {
        job: row::parsed(row, "source")?,
        attempt: row::unsigned(row, "attempt")?,
        status: row::parsed(row, "status")?,
        bytes: row::unsigned(row, "log_bytes")?,
    })
}

async fn check_logs(
    conn: &mut SqliteConnection,
    logs: &Logs,
    depth: Depth,
    report: &mut Report,
) -> Result<(), StoreError> {
    let page = format!("{LOGGED} seq > ? ORDER BY seq LIMIT {JOBS_PER_QUERY}");
    let mut after = 0_i64;
    loop {
        let rows = sqlx::query(sqlx::AssertSqlSafe(page.clone())).bind(after).fetch_all(&mut *conn).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.try_get("seq")?;
        for row in &rows {
            report.jobs += 1;
            let seq: i64 = row.try_get("seq")?;
            let logged = logged_from_row(row)?;
            if logged.attempt == 0 || !logged.status.is_final() {
                continue;
            }
            let carried_over = row.try_get::<String, _>("id")? != logged.job.to_string();
            // A log that was carried over is read whole only once, for its own job.
            let depth = if carried_over { Depth::Quick } else { depth };
            let path = logs.path(logged.job, logged.attempt);
            let Some(damage) = find_damage(path.clone(), logged, depth).await? else {
                report.logs += u64::from(!carried_over);
                report.log_bytes += if carried_over { 0 } else { logged.bytes };
                continue;
            };
            // The job may have been removed meanwhile, with its build.
            let query = format!("{LOGGED} seq = ?");
            let now = sqlx::query(sqlx::AssertSqlSafe(query)).bind(seq).fetch_optional(&mut *conn).await?;
            if now.as_ref().map(logged_from_row).transpose()? == Some(logged) {
                report.add(Finding::Log { job: logged.job, path, damage });
            }
        }
    }
}

/// Returns what is wrong with the log of a job that is over.
async fn find_damage(path: PathBuf, logged: Logged, depth: Depth) -> Result<Option<LogDamage>, StoreError> {
    let at = path.clone();
    let checked = tokio::task::spawn_blocking(move || -> io::Result<Option<LogDamage>> {
        let Some(file) = JournalFile::open(&path)? else {
            return Ok((logged.bytes > 0).then_some(LogDamage::Missing { bytes: logged.bytes }));
        };
        let size = file.len()?;
        if size != logged.bytes {
            return Ok(Some(LogDamage::Length { found: size, expected: logged.bytes }));
        }
        if depth == Depth::Quick {
            return Ok(None);
        }
        let survey = logs::survey(&file, size)?;
        if survey.whole != size {
            return Ok(Some(LogDamage::UnreadableFrom(survey.whole)));
        }
        let is_incomplete = logged.status == Status::Success && !survey.finished;
        Ok(is_incomplete.then_some(LogDamage::Incomplete))
    });
    match checked.await.map_err(io::Error::other).flatten() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(LogDamage::Packed(error.to_string()))),
        checked => checked.map_err(|source| StoreError::io(&at, source)),
    }
}

/// Reports log files that belong to no job.
async fn check_orphans(conn: &mut SqliteConnection, root: &Path, report: &mut Report) -> Result<(), StoreError> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io(&folder, error)),
        };
        for entry in entries {
            let path = entry.map_err(|source| StoreError::io(&folder, source))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !belongs_to_job(conn, &path).await? && !is_to_be_removed(conn, root, &path).await? {
                report.add(Finding::LogOrphan(path));
            }
        }
    }
    Ok(())
}

async fn belongs_to_job(conn: &mut SqliteConnection, path: &Path) -> Result<bool, StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    let Some((job, attempt)) = stem.rsplit_once('-') else { return Ok(false) };
    let Ok(attempt) = attempt.parse::<u32>() else { return Ok(false) };
    let query = "SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND attempt >= ?2)
                     OR EXISTS (SELECT 1 FROM jobs WHERE carried_over = ?1 AND attempt = ?2)";
    Ok(sqlx::query_scalar(query).bind(job).bind(attempt).fetch_one(conn).await?)
}

/// Returns whether the file's removal is noted already.
async fn is_to_be_removed(conn: &mut SqliteConnection, root: &Path, path: &Path) -> Result<bool, StoreError> {
    let path = path.strip_prefix(root).unwrap_or(path).with_extension("log");
    let query = "SELECT EXISTS (SELECT 1 FROM log_removals WHERE path = ?)";
    Ok(sqlx::query_scalar(query).bind(path.to_string_lossy().into_owned()).fetch_one(conn).await?)
}

async fn check_private_files(
    conn: &mut SqliteConnection,
    data_dir: &Path,
    report: &mut Report,
) -> Result<(), StoreError> {
    for name in folder::PRIVATE {
        let path = data_dir.join(name);
        match fs::metadata(&path) {
            Ok(file) if file.mode() & 0o077 != 0 => {
                report.add(Finding::ReadableByOthers { path, mode: file.mode() & 0o777 });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(&path, error)),
        }
    }
    let sealed = "SELECT EXISTS (SELECT 1 FROM settings WHERE key = 'secret_key_check')";
    let sealed: bool = sqlx::query_scalar(sealed).fetch_one(conn).await?;
    let path = data_dir.join(secret_key::KEY_FILE);
    if sealed && !path.exists() {
        report.add(Finding::KeyMissing { path });
    }
    Ok(())
}
