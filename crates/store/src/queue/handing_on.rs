//! Which jobs of a build hand something to another: a workspace, artifacts or outputs.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{BuildId, JobPlan};
use sqlx::Row as _;

use crate::{Store, StoreError, row};

/// A job of a build, as far as what it hands on is concerned.
struct BuildJob {
    name: String,
    plan: JobPlan,
    has_run: bool,
    approved: bool,
}

/// Returns the name of a job that nobody has approved and whose files or outputs reach a job, directly or through other
/// jobs.
pub async fn unapproved(store: &Store, build: BuildId, key: &str) -> Result<Option<String>, StoreError> {
    let rows = sqlx::query("SELECT key, name, plan, attempt, approved_by FROM jobs WHERE build = ?")
        .bind(build.to_string())
        .fetch_all(store.readers())
        .await?;
    let mut jobs = BTreeMap::new();
    for found in &rows {
        let job = BuildJob {
            name: found.try_get("name")?,
            plan: row::json(found, "plan")?,
            has_run: row::unsigned::<u32>(found, "attempt")? > 0,
            approved: found.try_get::<Option<String>, _>("approved_by")?.is_some(),
        };
        jobs.insert(found.try_get::<String, _>("key")?, job);
    }
    let takes = |key: &str| jobs.get(key).into_iter().flat_map(|job| job.plan.takes_from());
    let mut next: Vec<&str> = takes(key).collect();
    let mut seen = BTreeSet::new();
    while let Some(key) = next.pop() {
        let Some(job) = jobs.get(key).filter(|_| seen.insert(key)) else { continue };
        // One that has not run has left nothing.
        if job.has_run && !job.approved {
            return Ok(Some(job.name.clone()));
        }
        next.extend(takes(key));
    }
    Ok(None)
}
