//! Which jobs of a build begin on the workspace of another, and which workspaces have to be kept for that.
//!
//! A workspace is kept until no job of its build wants it. That of a job whose success a later job may use outlives its
//! build, until there is no room for it: then the later job runs.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{BuildId, JobId, Status, Timestamp, rules::queue::Lane};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::{Store, StoreError, WriteTx, row};

/// The layers that a job's workspace begins on, and whether it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// The jobs whose workspaces it begins on: the needed job, then the one that that one began on, and so on.
    pub base: Vec<Base>,
    /// Another job that is not over begins on it.
    pub kept: bool,
}

/// A job on whose workspace another begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The job that left it: one of an earlier build, if the success of that was used in place of the needed one.
    pub job: JobId,
    /// Its last attempt; `None` if it has not run.
    pub attempt: Option<u32>,
    pub name: String,
}

/// A job of a build, as far as workspaces are concerned.
struct BuildJob {
    base: Base,
    is_over: bool,
    /// The key of the job whose workspace it begins on.
    begins_on: Option<String>,
}

/// Returns what a job's workspace begins on, and whether it is kept.
pub async fn of_job(store: &Store, build: BuildId, key: &str) -> Result<Chain, StoreError> {
    let jobs = of_build(&mut *store.readers().acquire().await?, build).await?;
    let kept = jobs.values().any(|job| !job.is_over && job.begins_on.as_deref() == Some(key));
    Ok(Chain { base: chain(&jobs, key), kept })
}

/// A workspace that outlives its build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lasting {
    pub job: JobId,
    pub attempt: u32,
    /// The name of the job that left it.
    pub name: String,
    /// That job is of a stranger's pull request.
    pub of_stranger: bool,
    pub used_at: Timestamp,
}

/// The attempts whose workspaces may not be removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptWorkspaces {
    /// Those that jobs begin on that are not over, and those of jobs that are not over themselves.
    pub wanted: BTreeSet<(JobId, u32)>,
    /// Those of `wanted` that only jobs of strangers begin on.
    pub wanted_by_strangers: BTreeSet<(JobId, u32)>,
    /// Those that outlive their builds.
    pub lasting: BTreeSet<(JobId, u32)>,
}

impl KeptWorkspaces {
    #[must_use]
    pub fn contains(&self, attempt: &(JobId, u32)) -> bool {
        self.wanted.contains(attempt) || self.lasting.contains(attempt)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.lasting.is_empty()
    }
}

/// Returns the attempts whose workspaces may not be removed.
pub async fn kept(store: &Store) -> Result<KeptWorkspaces, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let wanted = wanted(&mut conn).await?;
    let rows = sqlx::query("SELECT job, attempt FROM lasting_workspaces").fetch_all(&mut *conn).await?;
    let lasting = rows.iter().map(attempt_of).collect::<Result<_, _>>()?;
    Ok(KeptWorkspaces {
        wanted_by_strangers: wanted.by_strangers.difference(&wanted.by_own).copied().collect(),
        wanted: wanted.all().collect(),
        lasting,
    })
}

/// The attempts on whose workspaces jobs begin that are not over, and those of jobs that are not over themselves.
#[derive(Default)]
struct Wanted {
    /// By jobs of the repositories themselves.
    by_own: BTreeSet<(JobId, u32)>,
    by_strangers: BTreeSet<(JobId, u32)>,
}

impl Wanted {
    fn all(&self) -> impl Iterator<Item = (JobId, u32)> {
        self.by_own.union(&self.by_strangers).copied()
    }
}

async fn wanted(conn: &mut SqliteConnection) -> Result<Wanted, StoreError> {
    let builds = sqlx::query(
        "SELECT build, lane FROM (SELECT DISTINCT build, lane FROM jobs WHERE finished_at IS NULL) AS unfinished
         WHERE EXISTS (SELECT 1 FROM jobs WHERE jobs.build = unfinished.build AND json_extract(plan, '$.workspace_of') IS NOT NULL)",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut wanted = Wanted::default();
    for row in builds {
        let lane: Lane = row::parsed(&row, "lane")?;
        let by = if lane.stranger.is_some() { &mut wanted.by_strangers } else { &mut wanted.by_own };
        let jobs = of_build(conn, row::parsed(&row, "build")?).await?;
        for (key, job) in jobs.iter().filter(|(_, job)| !job.is_over) {
            let with_own = chain(&jobs, key).into_iter().chain([job.base.clone()]);
            by.extend(with_own.filter_map(|base| Some((base.job, base.attempt?))));
        }
    }
    Ok(wanted)
}

/// Lets the workspace of an attempt outlive its build.
pub(crate) async fn keep(tx: &mut WriteTx, job: JobId, attempt: u32, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO lasting_workspaces (job, attempt, name, used_at) SELECT id, attempt, name, ?3 FROM jobs WHERE id = ?1 AND attempt = ?2
         ON CONFLICT DO UPDATE SET used_at = excluded.used_at",
    )
    .bind(job.to_string())
    .bind(attempt)
    .bind(now.as_millis())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Claims a workspace for a job that is about to take over the success of the job that left it. It is not removed until
/// the claiming job is over. Returns whether there is such a workspace.
pub async fn claim(
    tx: &mut WriteTx,
    by: JobId,
    (job, attempt): (JobId, u32),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let used = sqlx::query("UPDATE lasting_workspaces SET used_at = ? WHERE job = ? AND attempt = ?")
        .bind(now.as_millis())
        .bind(job.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    if used.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("INSERT OR REPLACE INTO workspace_claims (claimed_by, job, attempt) VALUES (?, ?, ?)")
        .bind(by.to_string())
        .bind(job.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    Ok(true)
}

/// Returns the workspaces that outlive their builds, least recently used first.
pub async fn by_last_use(store: &Store) -> Result<Vec<Lasting>, StoreError> {
    let rows = sqlx::query(
        "SELECT job, lasting.attempt, lasting.name, used_at, lane
         FROM lasting_workspaces AS lasting LEFT JOIN jobs ON jobs.id = lasting.job
         ORDER BY used_at, job, lasting.attempt",
    )
    .fetch_all(store.readers())
    .await?;
    let read = |row: &SqliteRow| {
        let (job, attempt) = attempt_of(row)?;
        Ok(Lasting {
            job,
            attempt,
            name: row.try_get("name")?,
            of_stranger: row::parsed_opt::<Lane>(row, "lane")?.is_some_and(|lane| lane.stranger.is_some()),
            used_at: row::time(row, "used_at")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Gives up a workspace, unless a job that is not over begins on it or claims it. Returns whether it belongs to nobody
/// now.
pub async fn remove_unused(tx: &mut WriteTx, job: JobId, attempt: u32) -> Result<bool, StoreError> {
    let is_claimed: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM workspace_claims AS claim JOIN jobs ON jobs.id = claim.claimed_by
                        WHERE claim.job = ? AND claim.attempt = ? AND jobs.finished_at IS NULL)",
    )
    .bind(job.to_string())
    .bind(attempt)
    .fetch_one(tx.conn())
    .await?;
    if is_claimed || wanted(tx.conn()).await?.all().any(|of| of == (job, attempt)) {
        return Ok(false);
    }
    forget(tx, job, attempt).await?;
    Ok(true)
}

/// Forgets a workspace that is gone from the engine.
pub async fn forget(tx: &mut WriteTx, job: JobId, attempt: u32) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM lasting_workspaces WHERE job = ? AND attempt = ?")
        .bind(job.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Gives up the workspaces of jobs whose success no other job can use any more. Returns how many.
pub async fn forget_useless(tx: &mut WriteTx) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "DELETE FROM lasting_workspaces AS lasting
         WHERE NOT EXISTS (SELECT 1 FROM reusable JOIN jobs ON jobs.id = reusable.job
                           WHERE jobs.id = lasting.job AND jobs.attempt = lasting.attempt)
           AND NOT EXISTS (SELECT 1 FROM jobs JOIN reusable ON reusable.job = jobs.id
                           WHERE jobs.carried_over = lasting.job AND jobs.attempt = lasting.attempt)",
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

fn attempt_of(row: &SqliteRow) -> Result<(JobId, u32), StoreError> {
    Ok((row::parsed(row, "job")?, row::unsigned(row, "attempt")?))
}

async fn of_build(conn: &mut SqliteConnection, build: BuildId) -> Result<BTreeMap<String, BuildJob>, StoreError> {
    let rows = sqlx::query(
        "SELECT key, coalesce(carried_over, id) AS job, attempt, name, status, json_extract(plan, '$.workspace_of') AS begins_on
         FROM jobs WHERE build = ?",
    )
    .bind(build.to_string())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let attempt: u32 = row::unsigned(row, "attempt")?;
            let attempt = (attempt > 0).then_some(attempt);
            let base = Base { job: row::parsed(row, "job")?, attempt, name: row.try_get("name")? };
            let is_over = row::parsed::<Status>(row, "status")?.is_final();
            Ok((row.try_get("key")?, BuildJob { base, is_over, begins_on: row.try_get("begins_on")? }))
        })
        .collect()
}

/// Returns the jobs that a job's workspace begins on, one after the other. Needs have no circles.
fn chain(jobs: &BTreeMap<String, BuildJob>, key: &str) -> Vec<Base> {
    let begins_on = |key: &str| jobs.get(jobs.get(key)?.begins_on.as_ref()?);
    let mut chain = Vec::new();
    let mut next = begins_on(key);
    while let Some(base) = next.filter(|_| chain.len() < jobs.len()) {
        chain.push(base.base.clone());
        next = base.begins_on.as_ref().and_then(|key| jobs.get(key));
    }
    chain
}
