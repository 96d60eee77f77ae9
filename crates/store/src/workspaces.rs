//! Which jobs of a build begin on the workspace of another, and which workspaces have to be kept for that.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{BuildId, JobId, Status};
use sqlx::{Row as _, SqliteConnection};

use crate::{Store, StoreError, row};

/// What a job's workspace begins on, and what becomes of it.
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
    pub job: JobId,
    /// Its last attempt; `None` if it has not run in this build.
    pub attempt: Option<u32>,
    pub name: String,
}

/// A job of a build, as far as workspaces are concerned.
struct OfBuild {
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

/// Returns the attempts whose workspaces may not be removed: those that jobs begin on that are not over, and those of jobs that are
/// not over themselves.
pub async fn kept(store: &Store) -> Result<BTreeSet<(JobId, u32)>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let builds = sqlx::query(
        "SELECT build FROM (SELECT DISTINCT build FROM jobs WHERE finished_at IS NULL) AS unfinished
         WHERE EXISTS (SELECT 1 FROM jobs WHERE jobs.build = unfinished.build AND json_extract(plan, '$.workspace_of') IS NOT NULL)",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut kept = BTreeSet::new();
    for row in builds {
        let jobs = of_build(&mut conn, row::parsed(&row, "build")?).await?;
        for (key, job) in jobs.iter().filter(|(_, job)| !job.is_over) {
            let with_own = chain(&jobs, key).into_iter().chain([job.base.clone()]);
            kept.extend(with_own.filter_map(|base| Some((base.job, base.attempt?))));
        }
    }
    Ok(kept)
}

async fn of_build(conn: &mut SqliteConnection, build: BuildId) -> Result<BTreeMap<String, OfBuild>, StoreError> {
    let rows = sqlx::query(
        "SELECT key, id, attempt, carried_over IS NULL AS has_run, name, status, json_extract(plan, '$.workspace_of') AS begins_on
         FROM jobs WHERE build = ?",
    )
    .bind(build.to_string())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let attempt: u32 = row::unsigned(row, "attempt")?;
            let has_run = attempt > 0 && row.try_get("has_run")?;
            let base =
                Base { job: row::parsed(row, "id")?, attempt: has_run.then_some(attempt), name: row.try_get("name")? };
            let is_over = row::parsed::<Status>(row, "status")?.is_final();
            Ok((row.try_get("key")?, OfBuild { base, is_over, begins_on: row.try_get("begins_on")? }))
        })
        .collect()
}

/// Returns the jobs that a job's workspace begins on, one after the other. Needs have no circles.
fn chain(jobs: &BTreeMap<String, OfBuild>, key: &str) -> Vec<Base> {
    let begins_on = |key: &str| jobs.get(jobs.get(key)?.begins_on.as_ref()?);
    let mut chain = Vec::new();
    let mut next = begins_on(key);
    while let Some(base) = next.filter(|_| chain.len() < jobs.len()) {
        chain.push(base.base.clone());
        next = base.begins_on.as_ref().and_then(|key| jobs.get(key));
    }
    chain
}
