//! What keeps a job from the queue: its needs and its `if`, an approval, labels, a group, its matrix. And what the end of a job means for
//! the others.
//!
//! Called by `transition` and by the creation of builds, within their transactions. Whether needs and `if` let a job run is
//! `core::needs`' to say, what an event does `core::state`'s; here are the questions to the database.

use std::collections::BTreeMap;

use longshore_core::{
    BuildId, ErrorKind, JobId, JobPlan, Outcome, RepoId, Status, Timestamp,
    expression::Value,
    rules::needs::{Readiness, build_context, readiness},
    rules::state::JobEvent,
};
use sqlx::{QueryBuilder, Sqlite};

use crate::{
    StoreError, WriteTx, approvals, jobs, row,
    transition::{STANDING, Standing, follow_build, set_status},
};

/// What the reason of a job begins with that waits for a yes; the question follows.
pub(crate) const WAITS_FOR_APPROVAL: &str = "waits for approval: ";

/// What a job's end means: for those that need it, for its matrix, and for whoever waits for its group.
pub(crate) async fn follow(
    tx: &mut WriteTx,
    ended: &Standing,
    status: Status,
    now: Timestamp,
) -> Result<Vec<(JobId, Status)>, StoreError> {
    let mut followed = Vec::new();
    let mut ended = vec![(ended.clone(), status)];
    let repo = ended[0].0.repo;
    while let Some((job, status)) = ended.pop() {
        let mut moved = Vec::new();
        if matches!(status, Status::Failure | Status::Error | Status::TimedOut) {
            moved.extend(fail_matrix(tx, &job, now).await?);
        }
        for dependent in dependents(tx, job.id).await? {
            let Some(plan) = jobs::fetch_plan(tx.conn(), dependent.id).await? else { continue };
            if let Some(to) = look(tx, &dependent, &plan, now).await? {
                moved.push((dependent, to));
            }
        }
        for (job, to) in moved {
            followed.push((job.id, to));
            if to.is_final() {
                ended.push((job, to));
            }
        }
    }
    followed.extend(release(tx, repo, now).await?);
    Ok(followed)
}

/// Looks whether a job that waits for its needs may go on, and lets it. The status that it goes to, where it changes; what is
/// ready waits for [`release`].
pub(crate) async fn look(
    tx: &mut WriteTx,
    job: &Standing,
    plan: &JobPlan,
    now: Timestamp,
) -> Result<Option<Status>, StoreError> {
    if job.status != Status::Blocked {
        return Ok(None);
    }
    let event = match readiness_of(tx, job, plan).await? {
        Readiness::Waits => return Ok(None),
        Readiness::Skipped(reason) => JobEvent::DoesNotRun { reason },
        Readiness::Broken(message) => JobEvent::Ended(Outcome::Error { kind: ErrorKind::Expression, message }),
        Readiness::Runs => match plan.question() {
            Some(question) if !approvals::is_approved(tx, job.id).await? => {
                JobEvent::Waits { reason: format!("{WAITS_FOR_APPROVAL}{question}") }
            }
            Some(_) | None => {
                mark_ready(tx, job.id).await?;
                return Ok(None);
            }
        },
    };
    Ok(set_status(tx, job, &event, now).await?.filter(|to| *to != Status::Blocked))
}

/// What the needs and the `if` of a job say now.
pub(crate) async fn readiness_of(tx: &mut WriteTx, job: &Standing, plan: &JobPlan) -> Result<Readiness, StoreError> {
    let needs = jobs::fetch_needs(tx.conn(), job.id).await?;
    Ok(readiness(plan, &needs, &known(tx, job.build).await?))
}

/// The first look at a new job.
pub(crate) async fn begin(tx: &mut WriteTx, job: JobId, plan: &JobPlan, now: Timestamp) -> Result<(), StoreError> {
    let standing = Standing::of(tx, job).await?;
    if let Some(to) = look(tx, &standing, plan, now).await?
        && to.is_final()
    {
        follow(tx, &standing, to, now).await?;
    }
    Ok(())
}

/// Lets into the queue what is ready and has its turn, in the order of creation; the others say what they wait for.
pub(crate) async fn release(
    tx: &mut WriteTx,
    repo: RepoId,
    now: Timestamp,
) -> Result<Vec<(JobId, Status)>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(STANDING);
    query.push(" WHERE jobs.finished_at IS NULL AND jobs.status = 'blocked' AND jobs.ready = 1 AND builds.repo = ");
    query.push_bind(repo.to_string()).push(" ORDER BY jobs.seq");
    let rows = query.build().fetch_all(tx.conn()).await?;
    let mut released = Vec::new();
    let mut touched: Vec<BuildId> = Vec::new();
    for row in &rows {
        let job = Standing::from_row(row)?;
        let plan = jobs::fetch_plan(tx.conn(), job.id).await?.ok_or(StoreError::NotFound("job"))?;
        let event = match keeps(tx, &job, &plan).await? {
            Some(reason) => JobEvent::Waits { reason },
            None => JobEvent::NeedsMet,
        };
        if let Some(to) = set_status(tx, &job, &event, now).await? {
            if !touched.contains(&job.build) {
                touched.push(job.build);
            }
            if to == Status::Queued {
                released.push((job.id, to));
            }
        }
    }
    for build in touched {
        follow_build(tx, repo, build, now).await?;
    }
    Ok(released)
}

/// What keeps a job that is ready from the queue.
async fn keeps(tx: &mut WriteTx, job: &Standing, plan: &JobPlan) -> Result<Option<String>, StoreError> {
    if let Some(reason) = tx.store().labels().and_then(|ours| lacks(ours, &plan.runs_on)) {
        return Ok(Some(reason));
    }
    if let Some(concurrency) = &plan.concurrency {
        let holder: Option<i64> = sqlx::query_scalar(
            "SELECT b.number FROM jobs JOIN builds AS b ON b.id = jobs.build
             WHERE jobs.concurrency_group = ?1 AND jobs.finished_at IS NULL AND b.repo = ?2
               AND b.seq < (SELECT seq FROM builds WHERE id = ?3) ORDER BY b.seq LIMIT 1",
        )
        .bind(&concurrency.group)
        .bind(job.repo.to_string())
        .bind(job.build.to_string())
        .fetch_optional(tx.conn())
        .await?;
        if let Some(number) = holder {
            return Ok(Some(format!("waits for the group `{}`, which build #{number} has", concurrency.group)));
        }
    }
    let Some(most) = plan.matrix_group.and_then(|group| group.max_parallel) else { return Ok(None) };
    let under_way: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM jobs WHERE build = ? AND pipeline = ? AND json_extract(plan, '$.job') = ?
                                     AND status IN ('queued', 'running', 'canceling')",
    )
    .bind(job.build.to_string())
    .bind(&job.pipeline)
    .bind(&plan.job)
    .fetch_one(tx.conn())
    .await?;
    let full = under_way >= i64::from(most);
    Ok(full.then(|| format!("waits for its matrix: {most} of `{}` run at once", plan.job)))
}

/// Why a server with the labels `ours` does not take a job that asks for these.
fn lacks(ours: &BTreeMap<String, String>, asked: &BTreeMap<String, String>) -> Option<String> {
    if asked.iter().all(|(label, value)| ours.get(label) == Some(value)) {
        return None;
    }
    let listed = |labels: &BTreeMap<String, String>| {
        labels.iter().map(|(label, value)| format!("`{label}: {value}`")).collect::<Vec<_>>().join(", ")
    };
    Some(format!("waits for a server with {}; this one has {}", listed(asked), listed(ours)))
}

/// The server has started: what it lets run may be other than before. Looks at everything that waits for more than its needs.
pub async fn look_again(tx: &mut WriteTx, now: Timestamp) -> Result<(), StoreError> {
    let repos: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT builds.repo FROM jobs JOIN builds ON builds.id = jobs.build
         WHERE jobs.finished_at IS NULL AND jobs.status = 'blocked' AND jobs.ready = 1",
    )
    .fetch_all(tx.conn())
    .await?;
    for repo in repos {
        let repo = repo.parse().map_err(|_| StoreError::NotFound("repository"))?;
        release(tx, repo, now).await?;
    }
    Ok(())
}

/// A job of a matrix failed: where the matrix fails fast, the others wait no longer, or are asked to stop.
async fn fail_matrix(
    tx: &mut WriteTx,
    failed: &Standing,
    now: Timestamp,
) -> Result<Vec<(Standing, Status)>, StoreError> {
    let Some(plan) = jobs::fetch_plan(tx.conn(), failed.id).await? else { return Ok(Vec::new()) };
    if plan.continue_on_error || !plan.matrix_group.is_some_and(|group| group.fail_fast) {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<Sqlite>::new(STANDING);
    query.push(" WHERE jobs.finished_at IS NULL AND jobs.build = ").push_bind(failed.build.to_string());
    query.push(" AND jobs.pipeline = ").push_bind(failed.pipeline.clone());
    query.push(" AND json_extract(jobs.plan, '$.job') = ").push_bind(plan.job.clone()).push(" ORDER BY jobs.seq");
    let rows = query.build().fetch_all(tx.conn()).await?;
    let event = JobEvent::MatrixFailed { reason: format!("`{}`, of the same matrix, failed", plan.name) };
    let mut moved = Vec::new();
    for row in &rows {
        let job = Standing::from_row(row)?;
        if let Some(to) = set_status(tx, &job, &event, now).await? {
            moved.push((job, to));
        }
    }
    Ok(moved)
}

/// A new build takes its groups from older ones, where its pipelines say so. Who runs then is asked to stop.
pub(crate) async fn supersede(
    tx: &mut WriteTx,
    repo: RepoId,
    number: u64,
    build: BuildId,
    groups: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    for group in groups {
        let mut query = QueryBuilder::<Sqlite>::new(STANDING);
        query.push(" WHERE jobs.finished_at IS NULL AND jobs.concurrency_group = ").push_bind(group.clone());
        query.push(" AND builds.repo = ").push_bind(repo.to_string());
        query.push(" AND jobs.build <> ").push_bind(build.to_string()).push(" ORDER BY jobs.seq");
        let rows = query.build().fetch_all(tx.conn()).await?;
        let jobs = rows.iter().map(Standing::from_row).collect::<Result<Vec<_>, _>>()?;
        stop(tx, repo, &jobs, &format!("build #{number} has taken the group `{group}`"), now).await?;
    }
    Ok(())
}

/// Cancels jobs that wait and asks those that run to end. How many builds that stopped.
pub(crate) async fn stop(
    tx: &mut WriteTx,
    repo: RepoId,
    jobs: &[Standing],
    reason: &str,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let event = JobEvent::Superseded { reason: reason.to_owned() };
    let mut touched: Vec<BuildId> = Vec::new();
    for job in jobs {
        if set_status(tx, job, &event, now).await?.is_some() && !touched.contains(&job.build) {
            touched.push(job.build);
        }
    }
    for build in &touched {
        follow_build(tx, repo, *build, now).await?;
    }
    Ok(touched.len())
}

/// The jobs that need this one, and those that need it through jobs that were skipped: they may see how it ended.
async fn dependents(tx: &mut WriteTx, need: JobId) -> Result<Vec<Standing>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "WITH RECURSIVE after (id) AS (
           SELECT job FROM job_needs WHERE need = ",
    );
    query.push_bind(need.to_string());
    query.push(
        " UNION
           SELECT job_needs.job FROM after JOIN jobs AS s ON s.id = after.id AND s.status = 'skipped'
             JOIN job_needs ON job_needs.need = s.id
         ) ",
    );
    query.push(STANDING).push(" WHERE jobs.id IN (SELECT id FROM after)");
    query.push(" ORDER BY jobs.seq");
    query.build().fetch_all(tx.conn()).await?.iter().map(Standing::from_row).collect()
}

pub(crate) async fn mark_ready(tx: &mut WriteTx, job: JobId) -> Result<(), StoreError> {
    sqlx::query("UPDATE jobs SET ready = 1 WHERE id = ?").bind(job.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Contexts that conditions of jobs may ask for beyond their plan and needs: all that a job's other texts find there.
async fn known(tx: &mut WriteTx, build: BuildId) -> Result<BTreeMap<String, Value>, StoreError> {
    let row =
        sqlx::query("SELECT number FROM builds WHERE id = ?").bind(build.to_string()).fetch_one(tx.conn()).await?;
    let number: u32 = row::unsigned(&row, "number")?;
    let build = build_context(build, u64::from(number), tx.store().url());
    Ok(BTreeMap::from([("build".to_owned(), build)]))
}
