//! Writes the jobs of a new build, with their steps and edges, and copies what jobs of an earlier build are carried
//! over with.

use std::collections::HashMap;

use longshore_core::{BuildId, JobId, JobPlan, Lane, Record, Status, Timestamp, rules::QueueEvent};

use crate::{Conflict, PlanFault, StoreError, WriteTx, artifacts, reports, row, transition::handle};

/// Inserts a new build's jobs, steps and edges, and queues the jobs that nothing holds back. `carried_over` are keys of
/// jobs, each with the job of an earlier build whose success it takes over. [`StoreError::Invalid`] if an edge or
/// `carried_over` names a job that is not in the plan.
pub(crate) async fn insert(
    tx: &mut WriteTx,
    lane: Lane,
    build: BuildId,
    plans: &[JobPlan],
    carried_over: &[(String, JobId)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let carried: HashMap<&str, JobId> = carried_over.iter().map(|(key, job)| (key.as_str(), *job)).collect();
    let mut ids: HashMap<&str, JobId> = HashMap::with_capacity(plans.len());
    for plan in plans {
        if ids.insert(&plan.key, JobId::new()).is_some() {
            return Err(PlanFault::SameKey(plan.key.clone()).into());
        }
    }
    if let Some(unknown) = carried.keys().find(|key| !ids.contains_key(*key)) {
        return Err(PlanFault::UnknownCarriedOver((*unknown).to_owned()).into());
    }
    for (position, plan) in plans.iter().enumerate() {
        let id = ids[plan.key.as_str()];
        let status = match carried.get(plan.key.as_str()) {
            Some(_) => Status::Success,
            None => Status::Blocked,
        };
        sqlx::query(
            "INSERT INTO jobs (id, build, position, key, name, pipeline, matrix, status, plan, finished_at, concurrency_group,
                               continue_on_error, lane)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.to_string())
        .bind(build.to_string())
        .bind(i64::try_from(position).unwrap_or(i64::MAX))
        .bind(&plan.key)
        .bind(&plan.name)
        .bind(&plan.pipeline)
        .bind(row::to_json(&plan.matrix)?)
        .bind(status.as_str())
        .bind(row::to_json(plan)?)
        .bind(status.is_final().then_some(now.as_millis()))
        .bind(plan.concurrency.as_ref().map(|concurrency| concurrency.group.as_str()))
        .bind(plan.continue_on_error)
        .bind(lane.to_string())
        .execute(tx.conn())
        .await?;
        match carried.get(plan.key.as_str()) {
            Some(original) => carry_over(tx, id, *original).await?,
            None => insert_steps(tx, id, plan).await?,
        }
    }
    for plan in plans {
        for need in &plan.needs {
            let Some(need_id) = ids.get(need.key.as_str()) else {
                return Err(PlanFault::UnknownNeed { job: plan.key.clone(), need: need.key.clone() }.into());
            };
            sqlx::query("INSERT INTO job_needs (job, need) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(ids[plan.key.as_str()].to_string())
                .bind(need_id.to_string())
                .execute(tx.conn())
                .await?;
        }
    }
    handle(tx, QueueEvent::BuildCreated { build }, now).await?;
    Ok(())
}

async fn insert_steps(tx: &mut WriteTx, job: JobId, plan: &JobPlan) -> Result<(), StoreError> {
    let steps = (0..).zip(plan.steps.iter().map(|step| &step.name));
    let services = (Record::FIRST_SERVICE..).zip(plan.services.iter().map(|service| &service.name));
    for (position, name) in steps.chain(services) {
        sqlx::query("INSERT INTO steps (job, position, name, status) VALUES (?, ?, ?, 'queued')")
            .bind(job.to_string())
            .bind(position)
            .bind(name)
            .execute(tx.conn())
            .await?;
    }
    Ok(())
}

/// Copies the times, the outputs, the steps and the artifacts of a successful job of another build, and who approved
/// it: its files are those that were approved.
async fn carry_over(tx: &mut WriteTx, job: JobId, original: JobId) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE jobs SET carried_over = coalesce(o.carried_over, o.id), exit_code = o.exit_code, attempt = o.attempt,
                claimed_at = o.claimed_at, pulling_at = o.pulling_at, starting_at = o.starting_at,
                started_at = o.started_at, finished_at = o.finished_at, log_bytes = o.log_bytes,
                outputs = o.outputs, approved_by = o.approved_by, approved_at = o.approved_at
         FROM (SELECT * FROM jobs WHERE id = ?2 AND status = 'success') AS o WHERE jobs.id = ?1",
    )
    .bind(job.to_string())
    .bind(original.to_string())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 0 {
        return Err(PlanFault::NotSucceeded(original).into());
    }
    copy_results(tx, job, original).await
}

/// Gives a running job the outputs, the steps, the reports and the artifacts of the successful job that is used in its
/// place. It keeps its own times, and who approved it.
pub(crate) async fn take_over(tx: &mut WriteTx, job: JobId, original: JobId, now: Timestamp) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE jobs SET carried_over = coalesce(o.carried_over, o.id), attempt = o.attempt, outputs = o.outputs, image = o.image,
                image_digest = o.image_digest
         FROM (SELECT * FROM jobs WHERE id = ?2 AND status = 'success') AS o WHERE jobs.id = ?1",
    )
    .bind(job.to_string())
    .bind(original.to_string())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 0 {
        return Err(Conflict::CarriedOverGone(original).into());
    }
    sqlx::query("DELETE FROM steps WHERE job = ?").bind(job.to_string()).execute(tx.conn()).await?;
    copy_results(tx, job, original).await?;
    // Its artifacts are kept as long as if it had made them.
    sqlx::query("UPDATE artifacts SET expires_at = expires_at - created_at + ?2, created_at = ?2 WHERE job = ?1")
        .bind(job.to_string())
        .bind(now.as_millis())
        .execute(tx.conn())
        .await?;
    Ok(())
}

async fn copy_results(tx: &mut WriteTx, job: JobId, original: JobId) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO steps (job, position, name, status, exit_code, signal, started_at, finished_at, wall_ms, cpu_ms,
                            peak_memory_bytes, out_of_memory, summary)
         SELECT ?1, position, name, status, exit_code, signal, started_at, finished_at, wall_ms, cpu_ms,
                peak_memory_bytes, out_of_memory, summary FROM steps WHERE job = ?2",
    )
    .bind(job.to_string())
    .bind(original.to_string())
    .execute(tx.conn())
    .await?;
    reports::carry_over(tx, job, original).await?;
    artifacts::carry_over(tx, original, job).await
}
