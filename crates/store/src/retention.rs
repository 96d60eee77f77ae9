//! Removes builds, artifacts and audit records that are too old or too many. One task of the server runs this: it works
//! after builds end and when the next one is due, and sleeps otherwise. It removes builds that are over, oldest first,
//! with their jobs, steps, logs and reports. It never touches unfinished builds, mirrors and repositories. One
//! transaction removes a few builds, so that nobody waits for it.
//!
//! Called by `longshore serve`, which spawns [`run`]. Deliveries are removed by their own age; the table of changes has
//! its own limit.

use std::time::{Duration, Instant};

use longshore_core::{BuildId, RepoId, Timestamp};
use sqlx::{Row as _, sqlite::SqliteRow};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::{
    ChangeKind, Store, StoreError, WriteTx, audit,
    removals::{self, Parent},
    row,
    write::NewChange,
};

/// How much is kept; `None` means everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The age of a build, since its end. The newest build of each repository is kept whatever its age.
    pub max_age: Option<Duration>,
    /// The number of builds of each repository; the newest are kept.
    pub max_builds_per_repo: Option<u64>,
    /// The size of all logs together, including those of earlier attempts. The newest build of each repository is kept
    /// whatever its size.
    pub max_log_bytes: Option<u64>,
    /// The age of a delivery, since it became a build or was found to be none.
    pub max_delivery_age: Option<Duration>,
    /// The age of a record of the audit log.
    pub max_audit_age: Option<Duration>,
    /// The bytes of a repository's artifacts together; artifacts of forks are removed first, then the oldest. Those of
    /// its newest build are kept whatever their size.
    pub max_artifact_bytes_per_repo: Option<u64>,
    /// Artifacts whose date has passed stay, because the clock is not trusted.
    pub keeps_expired: bool,
}

/// The numbers of what one pass has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub builds: u64,
    pub deliveries: u64,
    pub artifacts: u64,
    pub audit_records: u64,
}

/// The task waits this long after a build has ended, so that builds that end in a row are handled together.
const QUIET_TIME: Duration = Duration::from_secs(10);
/// The longest sleep: the task checks once a day at least what the clock has made too old.
const MAX_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after an error.
const ERROR_PAUSE: Duration = Duration::from_secs(60);
/// The most builds that one transaction removes.
const BUILDS_AT_ONCE: u32 = 8;
/// The most deliveries that one transaction removes.
const DELIVERIES_AT_ONCE: u32 = 200;
/// A clock that moves by more than this against the time that has passed was set by somebody.
const CLOCK_JUMP: Duration = Duration::from_secs(60 * 60);

/// Runs until `shutdown`.
pub async fn run(store: Store, keep: Retention, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(remove_until_closed(&store, &keep)).await;
}

async fn remove_until_closed(store: &Store, keep: &Retention) {
    let mut changes = store.changes();
    let mut clock = Clock::new();
    loop {
        let sleep = match pass(store, keep, &mut clock).await {
            Ok(removed) => {
                if removed != Removed::default() {
                    tracing::info!(
                        builds = removed.builds,
                        deliveries = removed.deliveries,
                        artifacts = removed.artifacts,
                        audit_records = removed.audit_records,
                        "retention removed what is old"
                    );
                }
                next_due(store, keep, Timestamp::now()).await.unwrap_or(MAX_SLEEP)
            }
            Err(error) => {
                tracing::warn!(%error, "retention could not remove what is old; it tries again");
                ERROR_PAUSE
            }
        };
        let wake = tokio::time::sleep(sleep.clamp(QUIET_TIME, MAX_SLEEP));
        tokio::pin!(wake);
        loop {
            tokio::select! {
                () = &mut wake => break,
                change = changes.recv() => match change {
                    // Only a build that ends makes another one removable. It is handled once no more builds end.
                    Ok(change) if change.kind == ChangeKind::Build && keep.limits_number_or_size() => {
                        tokio::time::sleep(QUIET_TIME).await;
                        break;
                    }
                    Err(RecvError::Lagged(_)) if keep.limits_number_or_size() => break,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

impl Retention {
    const fn limits_number_or_size(&self) -> bool {
        self.max_builds_per_repo.is_some() || self.max_log_bytes.is_some() || self.max_artifact_bytes_per_repo.is_some()
    }
}

/// Removes everything that is over a limit at `now`. Called by [`run`], and by tests with a time of their own.
pub async fn remove_old(store: &Store, keep: &Retention, now: Timestamp) -> Result<Removed, StoreError> {
    let mut removed = Removed::default();
    loop {
        let mut tx = store.write().await?;
        let old = oldest(&mut tx, keep, now).await?;
        if old.is_empty() {
            break;
        }
        for (build, repo) in &old {
            remove_build(&mut tx, *build, *repo).await?;
        }
        tx.commit().await?;
        removed.builds += old.len() as u64;
    }
    removals::reports::carry_out(store).await?;
    loop {
        let mut tx = store.write().await?;
        let mut done = 0;
        if !keep.keeps_expired {
            done += removals::artifacts::remove_expired(&mut tx, now).await?;
        }
        if let Some(limit) = keep.max_artifact_bytes_per_repo {
            done += removals::artifacts::remove_over(&mut tx, limit).await?;
        }
        if done == 0 {
            break;
        }
        tx.commit().await?;
        removed.artifacts += done;
    }
    if let Some(before) = keep.max_delivery_age.and_then(|age| before(now, age)) {
        loop {
            let mut tx = store.write().await?;
            let done = sqlx::query(
                "DELETE FROM deliveries WHERE seq IN (
                     SELECT seq FROM deliveries WHERE finished_at < ? ORDER BY finished_at LIMIT ?)",
            )
            .bind(before.as_millis())
            .bind(DELIVERIES_AT_ONCE)
            .execute(tx.conn())
            .await?
            .rows_affected();
            tx.commit().await?;
            removed.deliveries += done;
            if done < u64::from(DELIVERIES_AT_ONCE) {
                break;
            }
        }
    }
    if let Some(before) = keep.max_audit_age.and_then(|age| before(now, age)) {
        removed.audit_records = audit::remove_before(store, before).await?;
    }
    Ok(removed)
}

async fn pass(store: &Store, keep: &Retention, clock: &mut Clock) -> Result<Removed, StoreError> {
    removals::logs::carry_out(store).await?;
    removals::artifacts::carry_out(store).await?;
    let now = Timestamp::now();
    if clock.jumped(now, Instant::now()) {
        // Limits on number and size do not depend on the clock.
        tracing::warn!("the clock was set: nothing is removed for its age until it has stood for a while");
        return remove_old(
            store,
            &Retention { max_age: None, max_delivery_age: None, max_audit_age: None, keeps_expired: true, ..*keep },
            now,
        )
        .await;
    }
    remove_old(store, keep, now).await
}

/// Returns the next few builds to remove.
async fn oldest(tx: &mut WriteTx, keep: &Retention, now: Timestamp) -> Result<Vec<(BuildId, RepoId)>, StoreError> {
    if let Some(before) = keep.max_age.and_then(|age| before(now, age)) {
        let rows = sqlx::query(
            "SELECT builds.id, builds.repo FROM builds JOIN repos ON repos.id = builds.repo
             WHERE builds.finished_at < ? AND builds.number < repos.next_number - 1
             ORDER BY builds.finished_at LIMIT ?",
        )
        .bind(before.as_millis())
        .bind(BUILDS_AT_ONCE)
        .fetch_all(tx.conn())
        .await?;
        if !rows.is_empty() {
            return rows.iter().map(ids).collect();
        }
    }
    if let Some(newest) = keep.max_builds_per_repo {
        // Builds from forks are counted by themselves: somebody who can only open pull requests removes nobody else's.
        let rows = sqlx::query(
            "SELECT id, repo FROM (
                 SELECT builds.id, builds.repo, builds.seq, builds.finished_at,
                        row_number() OVER (
                            PARTITION BY builds.repo, coalesce(json_extract(builds.event_json, '$.pull_request.fork'), 0)
                            ORDER BY builds.number DESC) AS place
                 FROM builds
                 WHERE builds.repo IN (SELECT repo FROM builds GROUP BY repo HAVING count(*) > ?1))
             WHERE place > ?1 AND finished_at IS NOT NULL
             ORDER BY seq LIMIT ?2",
        )
        .bind(row::signed(newest.max(1)))
        .bind(BUILDS_AT_ONCE)
        .fetch_all(tx.conn())
        .await?;
        if !rows.is_empty() {
            return rows.iter().map(ids).collect();
        }
    }
    if let Some(limit) = keep.max_log_bytes {
        return over_log_limit(tx, limit).await;
    }
    Ok(Vec::new())
}

/// Returns the next few builds to remove because the logs take more than `limit`. Whoever has the most gives: a
/// repository, or the forks of one.
async fn over_log_limit(tx: &mut WriteTx, limit: u64) -> Result<Vec<(BuildId, RepoId)>, StoreError> {
    let shares = sqlx::query(
        "SELECT builds.repo, coalesce(json_extract(builds.event_json, '$.pull_request.fork'), 0) AS of_fork,
                sum(logs.bytes) AS bytes
         FROM (SELECT build, log_bytes AS bytes FROM jobs WHERE log_bytes > 0 AND carried_over IS NULL
               UNION ALL
               SELECT jobs.build, job_attempts.log_bytes
               FROM job_attempts JOIN jobs ON jobs.id = job_attempts.job WHERE job_attempts.attempt < jobs.attempt) AS logs
         JOIN builds ON builds.id = logs.build
         GROUP BY 1, 2 ORDER BY bytes DESC",
    )
    .fetch_all(tx.conn())
    .await?;
    let bytes = shares.iter().map(|share| row::unsigned::<u64>(share, "bytes")).collect::<Result<Vec<_>, _>>()?;
    let over = bytes.iter().sum::<u64>().saturating_sub(limit);
    if over == 0 {
        return Ok(Vec::new());
    }
    for (at, share) in shares.iter().enumerate() {
        let rows = sqlx::query(
            "SELECT builds.id, builds.repo,
                    (SELECT sum(log_bytes
                                + (SELECT coalesce(sum(job_attempts.log_bytes), 0) FROM job_attempts
                                   WHERE job_attempts.job = jobs.id AND job_attempts.attempt < jobs.attempt))
                     FROM jobs WHERE jobs.build = builds.id AND carried_over IS NULL) AS bytes
             FROM builds JOIN repos ON repos.id = builds.repo
             WHERE builds.repo = ? AND coalesce(json_extract(builds.event_json, '$.pull_request.fork'), 0) = ?
               AND builds.finished_at IS NOT NULL AND builds.number < repos.next_number - 1 AND bytes > 0
             ORDER BY builds.seq LIMIT ?",
        )
        .bind(share.try_get::<String, _>("repo")?)
        .bind(share.try_get::<bool, _>("of_fork")?)
        .bind(BUILDS_AT_ONCE)
        .fetch_all(tx.conn())
        .await?;
        // It gives until the next one has as much.
        let next = bytes.get(at + 1).copied().unwrap_or(0);
        let gives = over.min(bytes[at].saturating_sub(next).max(1));
        let (mut found, mut freed) = (Vec::new(), 0);
        for old in &rows {
            if freed >= gives {
                break;
            }
            freed += row::unsigned::<u64>(old, "bytes")?;
            found.push(ids(old)?);
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

async fn remove_build(tx: &mut WriteTx, build: BuildId, repo: RepoId) -> Result<(), StoreError> {
    let logs = removals::logs::logs_of(tx, Parent::Build(build)).await?;
    let contents = removals::artifacts::contents_of(tx, Parent::Build(build)).await?;
    sqlx::query("DELETE FROM builds WHERE id = ? AND finished_at IS NOT NULL")
        .bind(build.to_string())
        .execute(tx.conn())
        .await?;
    removals::logs::note(tx, &logs).await?;
    removals::artifacts::drop_unused(tx, &contents).await?;
    tx.note_change(NewChange { kind: ChangeKind::Build, repo: Some(repo), build: Some(build), job: None });
    Ok(())
}

/// Returns the time until the next build or delivery is too old.
async fn next_due(store: &Store, keep: &Retention, now: Timestamp) -> Option<Duration> {
    let oldest = async |query: &'static str, age: Option<Duration>| {
        let age = i64::try_from(age?.as_millis()).ok()?;
        let end: Option<i64> = sqlx::query_scalar(query).fetch_one(store.readers()).await.ok()?;
        Some(Timestamp::from_millis(end?.saturating_add(age)))
    };
    let builds = oldest("SELECT min(finished_at) FROM builds WHERE finished_at IS NOT NULL", keep.max_age).await;
    let deliveries =
        oldest("SELECT min(finished_at) FROM deliveries WHERE finished_at IS NOT NULL", keep.max_delivery_age).await;
    let records = oldest("SELECT at FROM audit ORDER BY number LIMIT 1", keep.max_audit_age).await;
    let artifacts = oldest("SELECT min(expires_at) FROM artifacts", Some(Duration::ZERO)).await;
    let due = builds.into_iter().chain(deliveries).chain(records).chain(artifacts).min()?;
    // A build that is due and still here is its repository's newest: it waits for the next one.
    (due > now).then(|| Duration::from_millis(due.since(now)))
}

fn before(now: Timestamp, age: Duration) -> Option<Timestamp> {
    Some(Timestamp::from_millis(now.as_millis().checked_sub(i64::try_from(age.as_millis()).ok()?)?))
}

fn ids(row: &SqliteRow) -> Result<(BuildId, RepoId), StoreError> {
    let _: &str = row.try_get("id")?;
    Ok((row::parsed(row, "id")?, row::parsed(row, "repo")?))
}

/// Distinguishes a clock that was set from time that has passed. A clock that jumps ahead must not make everything old
/// at once.
struct Clock {
    wall: Timestamp,
    steady: Instant,
    /// Until then, ages are not trusted.
    trusted_from: Option<Instant>,
}

impl Clock {
    fn new() -> Self {
        Self { wall: Timestamp::now(), steady: Instant::now(), trusted_from: None }
    }

    /// Returns whether the clock was set since the last call, or shortly before.
    fn jumped(&mut self, wall: Timestamp, steady: Instant) -> bool {
        let passed = i64::try_from(steady.duration_since(self.steady).as_millis()).unwrap_or(i64::MAX);
        let off = (wall.as_millis() - self.wall.as_millis()).abs_diff(passed);
        if u128::from(off) > CLOCK_JUMP.as_millis() {
            self.trusted_from = Some(steady + MAX_SLEEP);
        }
        (self.wall, self.steady) = (wall, steady);
        self.trusted_from.is_some_and(|from| steady < from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_not_believed_for_a_day() {
        let mut clock = Clock::new();
        let (wall, steady) = (clock.wall, clock.steady);
        let after = |wall_hours: i64, steady_hours: u64| {
            let hour = 60 * 60 * 1000;
            (
                Timestamp::from_millis(wall.as_millis() + wall_hours * hour),
                steady + Duration::from_secs(steady_hours * 60 * 60),
            )
        };
        for (wall_hours, steady_hours, jumped) in [
            (1, 1, false),
            (24 * 365 * 10, 2, true),
            (24 * 365 * 10 + 23, 25, true),
            // It stood for a day: the clock was wrong before, or is wrong for good; people had a day to see.
            (24 * 365 * 10 + 24, 26, false),
            // Back again.
            (27, 27, true),
            (52, 52, false),
        ] {
            let (wall, steady) = after(wall_hours, steady_hours);
            assert_eq!(clock.jumped(wall, steady), jumped, "{wall_hours} h");
        }
    }
}
