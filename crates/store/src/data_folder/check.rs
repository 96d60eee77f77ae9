//! Checks whether a data folder is whole: the database, the statuses in it, every log to its last record, and every
//! file of an artifact.
//!
//! Called by `longshore check`, beside a running server or without one. It only reads. Beside a server it reads a
//! slightly outdated state, so it reads again whatever looks wrong before it reports it.

mod artifact_checks;

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
use serde::Serialize;
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::{StoreError, backup, migrations, row};

/// Findings that are listed; further ones are only counted.
const MAX_LISTED_FINDINGS: usize = 1000;
/// Jobs that one query returns.
const JOBS_PER_QUERY: u32 = 500;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is lost, but something should be done.
    Warning,
    /// Something is lost or damaged.
    Error,
}

/// A problem in the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// Stable, for programs: `log-missing`, …
    pub code: &'static str,
    /// For people: what is wrong with which thing.
    pub message: String,
    /// The advice.
    pub help: &'static str,
}

/// The result of a check: how much was checked, and the findings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
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
    errors: u64,
}

impl Report {
    /// Returns whether nothing is lost or damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.errors == 0
    }

    fn add(&mut self, kind: Kind, message: String) {
        let (severity, code, help) = kind.words();
        self.errors += u64::from(severity == Severity::Error);
        *self.counts.entry(code).or_default() += 1;
        if self.findings.len() < MAX_LISTED_FINDINGS {
            self.findings.push(Finding { severity, code, message, help });
        }
    }
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy)]
enum Kind {
    OtherSchema,
    DatabaseDamaged,
    ReferenceBroken,
    StatusContradiction,
    LogMissing,
    LogLength,
    LogDamaged,
    LogIncomplete,
    LogOrphan,
    FileMissing,
    FileDamaged,
    FileOrphan,
    FileElsewhere,
    UnfinishedRestore,
    KeyMissing,
    FileReadable,
}

impl Kind {
    const fn words(self) -> (Severity, &'static str, &'static str) {
        use Severity::{Error, Warning};
        let lost =
            "restore a backup into another folder and take the log from there; the rest of the build is not concerned";
        let file_lost = "restore a backup into another folder and take the file from there, or run the job again";
        match self {
            Self::OtherSchema => (
                Error,
                "other-schema",
                "use the `longshore` of the version that serves this folder; nothing else was checked",
            ),
            Self::DatabaseDamaged => (
                Error,
                "database-damaged",
                "stop the server, keep a copy of the folder, look at the disk, and restore the last backup",
            ),
            Self::ReferenceBroken => (
                Error,
                "reference-broken",
                "another program wrote to the database: restore the last backup before that",
            ),
            Self::StatusContradiction => {
                (Error, "status-contradiction", "restart the server; if it stays, report it with this output")
            }
            Self::LogMissing => (Error, "log-missing", lost),
            Self::LogLength => (Error, "log-length", lost),
            Self::LogDamaged => (Error, "log-damaged", lost),
            Self::LogIncomplete => (Error, "log-incomplete", lost),
            Self::LogOrphan => (Warning, "log-orphan", "nothing refers to it: it may be removed"),
            Self::FileMissing => (Error, "artifact-file-missing", file_lost),
            Self::FileDamaged => (Error, "artifact-file-damaged", file_lost),
            Self::FileOrphan => (Warning, "artifact-file-orphan", "no artifact names it: it may be removed"),
            Self::FileElsewhere => (
                Warning,
                "artifact-file-elsewhere",
                "give LONGSHORE_S3_ENDPOINT and the other settings of the object store, and it is looked at",
            ),
            Self::UnfinishedRestore => (Error, "unfinished-restore", "run `longshore restore` again"),
            Self::KeyMissing => (
                Warning,
                "secrets-key-missing",
                "put secrets.key back, or give the key as LONGSHORE_SECRET_KEY; without it no secret, hook secret or clone credential can be read",
            ),
            Self::FileReadable => (Warning, "file-readable", "`chmod 600` it: only the server's user may read it"),
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
        report.add(Kind::UnfinishedRestore, format!("{} holds half of a restore", data_dir.display()));
        return Ok(report);
    }
    let database = backup::database_in(data_dir)?;
    let mut conn = backup::connect(&database, true).await?;
    // A damaged database answers any query with an error: that is a finding, not a failure.
    if let Err(error) = check_database(&mut conn, depth, &mut report).await {
        match error {
            StoreError::Database(error) => report.add(Kind::DatabaseDamaged, error.to_string()),
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
            report.add(Kind::DatabaseDamaged, said);
        }
    }
    report.schema = backup::schema(conn).await?;
    let known = migrations::newest();
    if report.schema != known {
        let message = format!("the database has schema {}, this program knows {known}", report.schema);
        report.add(Kind::OtherSchema, message);
        return Ok(());
    }
    for broken in sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *conn).await? {
        let (from, to): (String, String) = (broken.try_get(0)?, broken.try_get(2)?);
        report.add(Kind::ReferenceBroken, format!("a row of `{from}` refers to a row of `{to}` that is not there"));
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
            let (id, status): (String, String) = (row.try_get("id")?, row.try_get("status")?);
            let thing = table.trim_end_matches('s');
            report.add(Kind::StatusContradiction, format!("{thing} {id} is {status}, but its end says otherwise"));
        }
    }
    let query = "SELECT DISTINCT builds.id FROM jobs JOIN builds ON builds.id = jobs.build
                 WHERE jobs.finished_at IS NULL AND builds.finished_at IS NOT NULL";
    for id in sqlx::query_scalar::<_, String>(query).fetch_all(&mut *conn).await? {
        report.add(Kind::StatusContradiction, format!("build {id} is over, but not all of its jobs are"));
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
            let Some(problem) = find_problem(path.clone(), logged, depth).await? else {
                report.logs += u64::from(!carried_over);
                report.log_bytes += if carried_over { 0 } else { logged.bytes };
                continue;
            };
            // The job may have been removed meanwhile, with its build.
            let query = format!("{LOGGED} seq = ?");
            let now = sqlx::query(sqlx::AssertSqlSafe(query)).bind(seq).fetch_optional(&mut *conn).await?;
            if now.as_ref().map(logged_from_row).transpose()? == Some(logged) {
                let (kind, what) = problem;
                report.add(kind, format!("the log of job {}, {}: {what}", logged.job, path.display()));
            }
        }
    }
}

/// Returns what is wrong with the log of a job that is over.
async fn find_problem(path: PathBuf, logged: Logged, depth: Depth) -> Result<Option<(Kind, String)>, StoreError> {
    let at = path.clone();
    let checked = tokio::task::spawn_blocking(move || -> io::Result<Option<(Kind, String)>> {
        let Some(file) = JournalFile::open(&path)? else {
            return Ok((logged.bytes > 0).then(|| (Kind::LogMissing, format!("{} bytes are gone", logged.bytes))));
        };
        let size = file.len()?;
        if size != logged.bytes {
            return Ok(Some((Kind::LogLength, format!("it has {size} bytes instead of {}", logged.bytes))));
        }
        if depth == Depth::Quick {
            return Ok(None);
        }
        let survey = logs::survey(&file, size)?;
        if survey.whole != size {
            return Ok(Some((Kind::LogDamaged, format!("it cannot be read from byte {} on", survey.whole))));
        }
        if logged.status == Status::Success && !survey.finished {
            return Ok(Some((Kind::LogIncomplete, "the job succeeded, but its end is not in there".to_owned())));
        }
        Ok(None)
    });
    let checked = checked.await.map_err(|error| StoreError::io(&at, io::Error::other(error)))?;
    let checked = match checked {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Ok(Some((Kind::LogDamaged, format!("its packed file cannot be unpacked: {error}"))))
        }
        checked => checked,
    };
    checked.map_err(|source| StoreError::io(&at, source))
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
                report.add(Kind::LogOrphan, path.display().to_string());
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
                let message = format!("{} may be read by others (mode {:o})", path.display(), file.mode() & 0o777);
                report.add(Kind::FileReadable, message);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(&path, error)),
        }
    }
    let sealed = "SELECT EXISTS (SELECT 1 FROM settings WHERE key = 'secret_key_check')";
    let sealed: bool = sqlx::query_scalar(sealed).fetch_one(conn).await?;
    let key = data_dir.join("secrets.key");
    if sealed && !key.exists() {
        report.add(Kind::KeyMissing, format!("something is sealed, but {} is not there", key.display()));
    }
    Ok(())
}
