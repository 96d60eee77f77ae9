//! The one place that writes statuses: `core::state::next` decides, a compare-and-set writes, dependents and the build
//! follow in the same transaction.
//!
//! Called by the dispatcher (and by whoever cancels, through it). Never decides anything by itself.

use longshore_core::{
    BuildId, JobId, JobPlan, Outcome, RepoId, Status, Timestamp,
    access::Actor,
    rules::state::{JobEvent, Transition, build_status, next, tries_again},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{
    ChangeKind, StoreError, WriteTx,
    acts::{self, About, Act},
    approvals, attempts,
    builds::{self, Build},
    gates,
    jobs::{self, Job},
    queue,
    repos::{self, Repo},
    row, steps,
    write::NewChange,
};

/// What an event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The job went from one status to another.
    Changed {
        job: JobId,
        build: BuildId,
        from: Status,
        to: Status,
        /// The build's status after it.
        build_status: Status,
        /// Jobs that followed: `queued` where nothing keeps them any more, `skipped` where a need or the matrix failed,
        /// `canceling` where the matrix failed and they ran.
        followed: Vec<(JobId, Status)>,
    },
    /// It had happened before, came too late, or was an older attempt's.
    Unchanged { status: Status },
}

/// A job whose turn it is, with what running it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedJob {
    pub job: Job,
    pub build: Build,
    pub repo: Repo,
    pub plan: JobPlan,
    /// From 1; everything that is said about this try carries it.
    pub attempt: u32,
}

/// Lets `event` happen to a job. [`StoreError::NotFound`] when there is no such job.
///
/// For [`JobEvent::Ended`]: the log's last record was appended before this is called, so that whoever sees the final
/// status can read the whole log.
pub async fn apply(tx: &mut WriteTx, job: JobId, event: &JobEvent, now: Timestamp) -> Result<Applied, StoreError> {
    let standing = Standing::of(tx, job).await?;
    apply_to(tx, &standing, event, now).await
}

/// [`JobEvent::Ended`] for one attempt: what an older one says changes nothing.
pub async fn end_attempt(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    outcome: Outcome,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let standing = Standing::of(tx, job).await?;
    if standing.attempt != attempt {
        return Ok(Applied::Unchanged { status: standing.status });
    }
    if standing.status.is_final() {
        return Ok(Applied::Unchanged { status: standing.status });
    }
    let plan = jobs::fetch_plan(tx.conn(), job).await?.ok_or(StoreError::NotFound("job"))?;
    if let Some(retry) = &plan.retry {
        attempts::keep(tx, job, attempt, &outcome, now).await?;
        if standing.status == Status::Running
            && let Some(reason) = tries_again(retry, attempt, &outcome)
        {
            attempts::begin_again(tx, job).await?;
            return apply_to(tx, &standing, &JobEvent::TriesAgain { reason }, now).await;
        }
    }
    apply_to(tx, &standing, &JobEvent::Ended(outcome), now).await
}

/// Somebody says no. [`StoreError::Conflict`] where nobody is asked.
pub async fn decline(tx: &mut WriteTx, job: JobId, by: &Actor, now: Timestamp) -> Result<(), StoreError> {
    let standing = approvals::asked(tx, job, "decline").await?;
    acts::record(tx, Act::Declined, About::job(standing.build, job), by, now).await?;
    apply_to(tx, &standing, &JobEvent::Declined { by: by.name.clone() }, now).await.map(drop)
}

/// Claims the job whose turn it is, by `core::queue`; nothing where none waits that has a slot.
pub async fn claim_next(tx: &mut WriteTx, now: Timestamp) -> Result<Option<ClaimedJob>, StoreError> {
    let slots = tx.store().slots();
    let Some(id) = queue::next(tx.conn(), slots).await? else { return Ok(None) };
    apply(tx, id, &JobEvent::Claimed, now).await?;
    queue::had_turn(tx, id).await?;

    let job = jobs::fetch(tx.conn(), id).await?.ok_or(StoreError::NotFound("job"))?;
    let plan = jobs::fetch_plan(tx.conn(), id).await?.ok_or(StoreError::NotFound("job"))?;
    let build = builds::fetch(tx.conn(), job.build).await?.ok_or(StoreError::NotFound("build"))?;
    let repo =
        repos::fetch(&tx.store().clone(), tx.conn(), job.repo).await?.ok_or(StoreError::NotFound("repository"))?;
    let attempt = job.attempt;
    tx.began_attempt(id, attempt);
    Ok(Some(ClaimedJob { job, build, repo, plan, attempt }))
}

/// Asks for the end of every job of a build: those that wait are `canceled`, those that run `canceling`.
/// What happened to each; empty where the build was over.
pub async fn cancel_build(tx: &mut WriteTx, build: BuildId, now: Timestamp) -> Result<Vec<Applied>, StoreError> {
    let rows = sqlx::query("SELECT id FROM jobs WHERE build = ? AND finished_at IS NULL ORDER BY seq")
        .bind(build.to_string())
        .fetch_all(tx.conn())
        .await?;
    // All first, dependents and the build afterwards: a job that waits is canceled too, not skipped for the sake of another.
    let mut changed = Vec::with_capacity(rows.len());
    let mut repo = None;
    for found in &rows {
        let standing = Standing::of(tx, row::parsed(found, "id")?).await?;
        repo = Some(standing.repo);
        if let Some(to) = set_status(tx, &standing, &JobEvent::CancelRequested, now).await? {
            changed.push((standing, to));
        }
    }
    let Some(repo) = repo else { return Ok(Vec::new()) };
    let build_status = follow_build(tx, repo, build, now).await?;
    gates::release(tx, repo, now).await?;
    let applied = changed.into_iter().map(|(standing, to)| Applied::Changed {
        job: standing.id,
        build,
        from: standing.status,
        to,
        build_status,
        followed: Vec::new(),
    });
    Ok(applied.collect())
}

async fn apply_to(
    tx: &mut WriteTx,
    standing: &Standing,
    event: &JobEvent,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let Some(to) = set_status(tx, standing, event, now).await? else {
        return Ok(Applied::Unchanged { status: standing.status });
    };
    let followed = if to.is_final() { gates::follow(tx, standing, to, now).await? } else { Vec::new() };
    let build_status = follow_build(tx, standing.repo, standing.build, now).await?;
    Ok(Applied::Changed { job: standing.id, build: standing.build, from: standing.status, to, build_status, followed })
}

/// How a job stands before an event.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) id: JobId,
    pub(crate) build: BuildId,
    pub(crate) repo: RepoId,
    pub(crate) pipeline: String,
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    pub(crate) attempt: u32,
}

/// Everything of [`Standing`], to put a WHERE behind.
pub(crate) const STANDING: &str =
    "SELECT jobs.id, jobs.build, builds.repo, jobs.pipeline, jobs.key, jobs.status, jobs.reason,
    jobs.attempt FROM jobs JOIN builds ON builds.id = jobs.build";

impl Standing {
    pub(crate) async fn of(tx: &mut WriteTx, job: JobId) -> Result<Self, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(STANDING);
        query.push(" WHERE jobs.id = ").push_bind(job.to_string());
        let row = query.build().fetch_optional(tx.conn()).await?.ok_or(StoreError::NotFound("job"))?;
        Self::from_row(&row)
    }

    pub(crate) fn from_row(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row::parsed(row, "id")?,
            build: row::parsed(row, "build")?,
            repo: row::parsed(row, "repo")?,
            pipeline: row.try_get("pipeline")?,
            status: row::parsed(row, "status")?,
            reason: row.try_get("reason")?,
            attempt: row::unsigned(row, "attempt")?,
        })
    }
}

/// One job's step from one status to the next, and everything that belongs to that alone. The new status, if it changed.
pub(crate) async fn set_status(
    tx: &mut WriteTx,
    standing: &Standing,
    event: &JobEvent,
    now: Timestamp,
) -> Result<Option<Status>, StoreError> {
    let Transition::To(to, reason) = next(standing.status, event) else { return Ok(None) };
    // Who asked for the end has said why; that it came says nothing more.
    let reason = match (event, &standing.reason) {
        (JobEvent::Ended(Outcome::Canceled), Some(why)) if standing.status == Status::Canceling => Some(why.clone()),
        _ => reason,
    };
    if to == standing.status && reason == standing.reason {
        return Ok(None);
    }
    let exit_code = match event {
        JobEvent::Ended(Outcome::Success) => Some(0),
        JobEvent::Ended(Outcome::Failure { exit_code, .. }) => Some(*exit_code),
        JobEvent::Ended(Outcome::TimedOut { .. } | Outcome::Canceled | Outcome::Error { .. })
        | JobEvent::NeedsMet
        | JobEvent::DoesNotRun { .. }
        | JobEvent::Waits { .. }
        | JobEvent::Declined { .. }
        | JobEvent::MatrixFailed { .. }
        | JobEvent::Superseded { .. }
        | JobEvent::TriesAgain { .. }
        | JobEvent::Claimed
        | JobEvent::CancelRequested => None,
    };
    let claimed = matches!(event, JobEvent::Claimed);
    let attempt = standing.attempt + u32::from(claimed);
    let log_bytes = match to.is_final() && attempt > 0 {
        true => tx.store().logs().len(standing.id, attempt),
        false => 0,
    };
    let done = sqlx::query(
        // A clock that was set back makes no job end before it began.
        "UPDATE jobs SET status = ?, reason = ?, exit_code = ?, attempt = ?, log_bytes = ?,
                claimed_at = coalesce(?, claimed_at), finished_at = max(?, coalesce(started_at, claimed_at, 0))
         WHERE id = ? AND status = ?",
    )
    .bind(to.as_str())
    .bind(reason)
    .bind(exit_code)
    .bind(attempt)
    .bind(row::signed(log_bytes))
    .bind(claimed.then_some(now.as_millis()))
    .bind(to.is_final().then_some(now.as_millis()))
    .bind(standing.id.to_string())
    .bind(standing.status.as_str())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() != 1 {
        return Err(StoreError::Conflict("the job's status changed under way".to_owned()));
    }
    if to.is_final() {
        steps::end_all(tx, standing.id, to, now).await?;
        tx.ended(standing.id);
    }
    let (repo, build, job) = (Some(standing.repo), Some(standing.build), Some(standing.id));
    tx.changed(NewChange { kind: ChangeKind::Job, repo, build, job });
    Ok(Some(to))
}

/// The build stands as its jobs do.
pub(crate) async fn follow_build(
    tx: &mut WriteTx,
    repo: RepoId,
    build: BuildId,
    now: Timestamp,
) -> Result<Status, StoreError> {
    let rows =
        sqlx::query("SELECT status, name, reason, continue_on_error FROM jobs WHERE build = ? ORDER BY position")
            .bind(build.to_string())
            .fetch_all(tx.conn())
            .await?;
    let mut counted = Vec::with_capacity(rows.len());
    let mut passed_over = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let status: Status = row::parsed(row, "status")?;
        let bad = matches!(status, Status::Failure | Status::Error | Status::TimedOut);
        if bad && row.try_get("continue_on_error")? {
            passed_over.push(at);
            counted.push(Status::Success);
        } else {
            counted.push(status);
        }
    }
    let status = build_status(counted.iter().copied());
    let says = |wanted: Status| {
        (0..rows.len()).find(|at| {
            counted[*at] == wanted && rows[*at].try_get::<Option<String>, _>("reason").is_ok_and(|why| why.is_some())
        })
    };
    let why = match status {
        Status::Success => passed_over.first().map(|at| (*at, "passed over: ")),
        // Of which nothing is under way: what it waits for.
        Status::Running if !counted.iter().any(|s| matches!(s, Status::Queued | Status::Running)) => {
            says(Status::Blocked).map(|at| (at, ""))
        }
        Status::Queued | Status::Running | Status::Canceling => None,
        _ => says(status).map(|at| (at, "")),
    };
    let mut reason = None;
    if let Some((at, before)) = why {
        let (name, of_job): (String, Option<String>) = (rows[at].try_get("name")?, rows[at].try_get("reason")?);
        let more = match passed_over.len() {
            more @ 2.. if status == Status::Success => format!(" and {} more", more - 1),
            _ => String::new(),
        };
        reason = of_job.map(|of_job| format!("{before}{name}{more}: {of_job}"));
    }
    let started = counted.iter().any(|s| matches!(s, Status::Running | Status::Canceling));
    let done = sqlx::query(
        "UPDATE builds SET status = ?1, reason = ?2, started_at = coalesce(started_at, max(?3, created_at)),
                finished_at = max(?4, coalesce(started_at, created_at),
                                  (SELECT coalesce(max(finished_at), 0) FROM jobs WHERE build = builds.id AND carried_over IS NULL))
         WHERE id = ?5 AND finished_at IS NULL
           AND (status <> ?1 OR reason IS NOT ?2 OR (started_at IS NULL AND ?3 IS NOT NULL))",
    )
    .bind(status.as_str())
    .bind(reason)
    .bind(started.then_some(now.as_millis()))
    .bind(status.is_final().then_some(now.as_millis()))
    .bind(build.to_string())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() > 0 {
        tx.changed(NewChange { kind: ChangeKind::Build, repo: Some(repo), build: Some(build), job: None });
    }
    Ok(status)
}
