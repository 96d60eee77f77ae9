//! Stores when each repository's scheduled pipelines are due.
//!
//! The ingest loop keeps a repository's rows as its default branch has them ([`replace`]). The scheduler's task for
//! schedules reads which rows are due, and advances a row in the transaction that creates its build. This module does
//! not evaluate `cron` expressions.

use std::collections::BTreeMap;

use longshore_core::{BuildId, RepoId, Timestamp};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{ChangeKind, Conflict, Store, StoreError, WriteTx, row, write::NewChange};

/// Identifies an entry of `schedule` within its repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScheduleKey {
    pub cron: String,
    pub timezone: String,
    /// The branch that is built: a short name.
    pub branch: String,
}

/// An entry of `schedule`, with the result of its last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub repo: RepoId,
    pub key: ScheduleKey,
    /// Names of the pipelines that contain it.
    pub pipelines: Vec<String>,
    pub next_at: Timestamp,
    /// Failed attempts at the time that is due, and the time of the next one.
    pub attempts: u32,
    pub try_at: Timestamp,
    /// The last time that was carried out or given up.
    pub last_due_at: Option<Timestamp>,
    /// The build that was made at that time.
    pub last_build: Option<BuildId>,
    /// Why no build was made, or why it is tried again.
    pub reason: Option<String>,
}

/// An entry as the pipelines contain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSchedule {
    pub pipelines: Vec<String>,
    /// When it is due for the first time, counted from now: times before it was written are not made up for.
    pub next_at: Timestamp,
}

/// The result of a time that was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fired {
    Build(BuildId),
    /// No build was made, for this reason, which people see.
    Nothing(String),
}

/// Replaces a repository's schedules. An entry that stays keeps its times.
pub async fn replace(
    tx: &mut WriteTx,
    repo: RepoId,
    new: &BTreeMap<ScheduleKey, NewSchedule>,
) -> Result<(), StoreError> {
    let rows =
        sqlx::query("SELECT * FROM schedules WHERE repo = ?").bind(repo.to_string()).fetch_all(tx.conn()).await?;
    let old: BTreeMap<ScheduleKey, Schedule> =
        rows.iter().map(|row| from_row(row).map(|old| (old.key.clone(), old))).collect::<Result<_, _>>()?;
    let mut touched = false;
    for key in old.keys().filter(|key| !new.contains_key(key)) {
        sqlx::query("DELETE FROM schedules WHERE repo = ? AND cron = ? AND timezone = ? AND branch = ?")
            .bind(repo.to_string())
            .bind(&key.cron)
            .bind(&key.timezone)
            .bind(&key.branch)
            .execute(tx.conn())
            .await?;
        touched = true;
    }
    for (key, new) in new {
        if old.get(key).is_some_and(|old| old.pipelines == new.pipelines) {
            continue;
        }
        sqlx::query(
            "INSERT INTO schedules (repo, cron, timezone, branch, pipelines, next_at, try_at) VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET pipelines = excluded.pipelines",
        )
        .bind(repo.to_string())
        .bind(&key.cron)
        .bind(&key.timezone)
        .bind(&key.branch)
        .bind(row::to_json(&new.pipelines)?)
        .bind(new.next_at.as_millis())
        .bind(new.next_at.as_millis())
        .execute(tx.conn())
        .await?;
        touched = true;
    }
    sqlx::query("UPDATE repos SET schedules_known = 1 WHERE id = ? AND schedules_known = 0")
        .bind(repo.to_string())
        .execute(tx.conn())
        .await?;
    if touched {
        changed(tx, repo);
    }
    Ok(())
}

/// Returns the repositories whose schedules were never looked up since they were added.
pub async fn unknown(store: &Store) -> Result<Vec<RepoId>, StoreError> {
    let rows = sqlx::query("SELECT id FROM repos WHERE schedules_known = 0").fetch_all(store.readers()).await?;
    rows.iter().map(|row| row::parsed(row, "id")).collect()
}

/// Stores the result of the first lookup, unless a delivery has brought the schedules meanwhile.
pub async fn discovered(
    tx: &mut WriteTx,
    repo: RepoId,
    new: &BTreeMap<ScheduleKey, NewSchedule>,
) -> Result<(), StoreError> {
    let known: Option<bool> = sqlx::query_scalar("SELECT schedules_known FROM repos WHERE id = ?")
        .bind(repo.to_string())
        .fetch_optional(tx.conn())
        .await?;
    if known == Some(false) { replace(tx, repo, new).await } else { Ok(()) }
}

/// Returns a repository's schedules, ordered by their entries.
pub async fn of_repo(store: &Store, repo: RepoId) -> Result<Vec<Schedule>, StoreError> {
    let rows = sqlx::query("SELECT * FROM schedules WHERE repo = ? ORDER BY cron, timezone, branch")
        .bind(repo.to_string())
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(from_row).collect()
}

/// Returns the schedules of all repositories, the soonest first.
pub async fn all(store: &Store) -> Result<Vec<Schedule>, StoreError> {
    let rows = sqlx::query("SELECT * FROM schedules ORDER BY try_at, repo, cron").fetch_all(store.readers()).await?;
    rows.iter().map(from_row).collect()
}

/// Marks the time `due_at` of `schedule` as done and sets the next one to `next_at`; without a next one, the row is
/// deleted. Belongs in the transaction that creates the build. [`StoreError::Conflict`] if the row has changed since it
/// was read: that transaction must not be committed then.
pub async fn fired(
    tx: &mut WriteTx,
    schedule: &Schedule,
    due_at: Timestamp,
    next_at: Option<Timestamp>,
    what: &Fired,
) -> Result<(), StoreError> {
    let (build, reason) = match what {
        Fired::Build(build) => (Some(build.to_string()), None),
        Fired::Nothing(reason) => (None, Some(reason.as_str())),
    };
    let ScheduleKey { cron, timezone, branch } = &schedule.key;
    let done = match next_at {
        Some(next_at) => sqlx::query(
            "UPDATE schedules SET next_at = ?, try_at = ?, attempts = 0, last_due_at = ?, last_build = ?, reason = ?
                 WHERE repo = ? AND cron = ? AND timezone = ? AND branch = ? AND next_at = ?",
        )
        .bind(next_at.as_millis())
        .bind(next_at.as_millis())
        .bind(due_at.as_millis())
        .bind(build)
        .bind(reason),
        None => sqlx::query(
            "DELETE FROM schedules WHERE repo = ? AND cron = ? AND timezone = ? AND branch = ? AND next_at = ?",
        ),
    };
    let done = done
        .bind(schedule.repo.to_string())
        .bind(cron)
        .bind(timezone)
        .bind(branch)
        .bind(schedule.next_at.as_millis())
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 0 {
        return Err(Conflict::ScheduleChanged.into());
    }
    changed(tx, schedule.repo);
    Ok(())
}

/// Postpones the time that is due until `at`, because it could not be carried out.
pub async fn retry_later(tx: &mut WriteTx, schedule: &Schedule, at: Timestamp, reason: &str) -> Result<(), StoreError> {
    put_off(tx, schedule, schedule.next_at, at, schedule.attempts + 1, Some(reason)).await
}

/// Sets another next time, because the clock was wrong when the current one was computed.
pub async fn set_next(tx: &mut WriteTx, schedule: &Schedule, next_at: Timestamp) -> Result<(), StoreError> {
    put_off(tx, schedule, next_at, next_at, 0, schedule.reason.as_deref()).await
}

async fn put_off(
    tx: &mut WriteTx,
    schedule: &Schedule,
    next_at: Timestamp,
    try_at: Timestamp,
    attempts: u32,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE schedules SET next_at = ?, try_at = ?, attempts = ?, reason = ?
         WHERE repo = ? AND cron = ? AND timezone = ? AND branch = ? AND next_at = ?",
    )
    .bind(next_at.as_millis())
    .bind(try_at.as_millis())
    .bind(attempts)
    .bind(reason)
    .bind(schedule.repo.to_string())
    .bind(&schedule.key.cron)
    .bind(&schedule.key.timezone)
    .bind(&schedule.key.branch)
    .bind(schedule.next_at.as_millis())
    .execute(tx.conn())
    .await?;
    changed(tx, schedule.repo);
    Ok(())
}

fn changed(tx: &mut WriteTx, repo: RepoId) {
    tx.note_change(NewChange { kind: ChangeKind::Repo, repo: Some(repo), build: None, job: None });
}

fn from_row(row: &SqliteRow) -> Result<Schedule, StoreError> {
    Ok(Schedule {
        repo: row::parsed(row, "repo")?,
        key: ScheduleKey {
            cron: row.try_get("cron")?,
            timezone: row.try_get("timezone")?,
            branch: row.try_get("branch")?,
        },
        pipelines: row::json(row, "pipelines")?,
        next_at: row::time(row, "next_at")?,
        attempts: row::unsigned(row, "attempts")?,
        try_at: row::time(row, "try_at")?,
        last_due_at: row::time_opt(row, "last_due_at")?,
        last_build: row::parsed_opt(row, "last_build")?,
        reason: row.try_get("reason")?,
    })
}
