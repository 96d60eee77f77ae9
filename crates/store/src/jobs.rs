//! Jobs: reading them, and the facts of their attempts. Their status moves only in `transition`.

use std::collections::{BTreeMap, HashMap};

use longshore_core::{
    BuildId, JobId, JobPlan, Lane, NeedEnd, RepoId, Status, Timestamp,
    rules::{QueueEvent, approvals::question_in, decide},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{
    ChangeKind, Store, StoreError, WriteTx,
    attempts::{self, Attempt},
    graph, queue, row, snapshot,
    steps::{self, Step},
    transition::happen,
    write::NewChange,
};

pub use crate::{
    approvals::{approve, approve_build, decline},
    transition::{Applied, ClaimedJob, apply, claim_next, end_attempt, look_again},
};

/// A job with its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The order of creation over all builds.
    pub seq: i64,
    pub id: JobId,
    pub build: BuildId,
    pub repo: RepoId,
    /// From 0, in the plan's order.
    pub position: u32,
    /// Unique in the build: `pipeline/job (matrix)`.
    pub key: String,
    pub name: String,
    pub pipeline: String,
    pub matrix: Vec<(String, String)>,
    /// Keys of jobs of the same build.
    pub needs: Vec<String>,
    pub status: Status,
    pub reason: Option<String>,
    /// 0 of a success, the failed step's of a failure.
    pub exit_code: Option<i32>,
    /// 0 until it is claimed, then from 1. Of a job that was carried over: the attempt that succeeded.
    pub attempt: u32,
    pub claimed_at: Option<Timestamp>,
    /// When its image began to be pulled; nothing where it was there.
    pub pulling_at: Option<Timestamp>,
    /// When its container began to be made.
    pub starting_at: Option<Timestamp>,
    /// When its agent began.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The job of an earlier build that succeeded and stands for this one.
    pub carried_over: Option<JobId>,
    /// Its tries that are over, where it may be tried again.
    pub attempts: Vec<Attempt>,
    /// The question that keeps it, until somebody approves or declines.
    pub asks: Option<String>,
    /// Who said yes to it; when, and how they came, is among the acts of its build.
    pub approved_by: Option<String>,
    /// What it gave to those that need it.
    pub outputs: BTreeMap<String, String>,
    /// Bytes of its log's journal, once it is over.
    pub log_bytes: u64,
    pub steps: Vec<Step>,
}

impl Job {
    /// Whose log is this job's: the job and its attempt (1 is the one to come, where none was claimed).
    #[must_use]
    pub fn log_of(&self) -> (JobId, u32) {
        (self.carried_over.unwrap_or(self.id), self.attempt.max(1))
    }
}

/// A job that has been claimed and is not over; what a boot adopts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningJob {
    pub job: Job,
    pub plan: JobPlan,
    /// As given to [`set_session`] for this attempt; 0 before that.
    pub session: u32,
}

pub async fn get(store: &Store, id: JobId) -> Result<Option<Job>, StoreError> {
    fetch(&mut *store.readers().acquire().await?, id).await
}

/// A build's jobs, in the plan's order.
pub async fn of_build(store: &Store, build: BuildId) -> Result<Vec<Job>, StoreError> {
    of_builds(store, &[build]).await
}

/// The jobs of several builds, in the order of their creation.
pub async fn of_builds(store: &Store, builds: &[BuildId]) -> Result<Vec<Job>, StoreError> {
    if builds.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    push_builds(query.push(" WHERE jobs.build IN ("), builds).push(") ORDER BY jobs.seq");
    let mut conn = store.readers().acquire().await?;
    let mut jobs = query.build().fetch_all(&mut *conn).await?.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;

    let mut query = QueryBuilder::<Sqlite>::new("SELECT steps.* FROM jobs JOIN steps ON steps.job = jobs.id");
    push_builds(query.push(" WHERE jobs.build IN ("), builds).push(") ORDER BY jobs.seq, steps.position");
    let mut steps: HashMap<JobId, Vec<Step>> = HashMap::new();
    for row in &query.build().fetch_all(&mut *conn).await? {
        steps.entry(row::parsed(row, "job")?).or_default().push(steps::from_row(row)?);
    }
    for job in &mut jobs {
        job.steps = steps.remove(&job.id).unwrap_or_default();
    }
    Ok(jobs)
}

/// Its part of the frozen plan.
pub async fn plan(store: &Store, id: JobId) -> Result<Option<JobPlan>, StoreError> {
    fetch_plan(&mut *store.readers().acquire().await?, id).await
}

/// Every job that is `running` or `canceling`, oldest first.
pub async fn running(store: &Store) -> Result<Vec<RunningJob>, StoreError> {
    let rows = sqlx::query(
        "SELECT id FROM jobs WHERE finished_at IS NULL AND status IN ('running', 'canceling') ORDER BY seq",
    )
    .fetch_all(store.readers())
    .await?;
    let mut running = Vec::with_capacity(rows.len());
    let mut conn = store.readers().acquire().await?;
    for found in &rows {
        let id: JobId = row::parsed(found, "id")?;
        let (Some(job), Some(plan)) = (fetch(&mut conn, id).await?, fetch_plan(&mut conn, id).await?) else { continue };
        if job.status.is_final() {
            continue;
        }
        let facts: Option<String> = sqlx::query_scalar("SELECT engine_facts FROM jobs WHERE id = ?")
            .bind(id.to_string())
            .fetch_one(&mut *conn)
            .await?;
        let session = facts.and_then(|text| text.parse().ok()).unwrap_or(0);
        running.push(RunningJob { job, plan, session });
    }
    Ok(running)
}

/// Whether [`claim_next`] would claim a job. Takes no turn from the writer.
pub async fn any_to_claim(store: &Store) -> Result<bool, StoreError> {
    let queue = queue::load(&mut *store.readers().acquire().await?).await?;
    let decision = decide(&snapshot::of_queue(store, queue), &QueueEvent::Slot);
    Ok(decision.is_ok_and(|decision| !decision.changes.is_empty()))
}

/// Keeps the number of the session with the attempt's agent: the next one's is higher, whatever the clock does.
/// [`StoreError::Conflict`] when the attempt is not the running one.
pub async fn set_session(tx: &mut WriteTx, id: JobId, attempt: u32, session: u32) -> Result<(), StoreError> {
    let done = sqlx::query("UPDATE jobs SET engine_facts = ? WHERE id = ? AND attempt = ? AND finished_at IS NULL")
        .bind(session.to_string())
        .bind(id.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Conflict(format!("attempt {attempt} of the job is not the running one")));
    }
    Ok(())
}

/// What the attempt gives to those that need it. Told before its end.
pub async fn set_outputs(
    tx: &mut WriteTx,
    id: JobId,
    attempt: u32,
    outputs: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE jobs SET outputs = ? WHERE id = ? AND attempt = ? AND finished_at IS NULL")
        .bind(row::to_json(outputs)?)
        .bind(id.to_string())
        .bind(attempt)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns the jobs that this one sees, as [`BuildGraph::needs_of`](longshore_core::rules::graph::BuildGraph::needs_of) says.
/// [`StoreError::NotFound`] if there is no such job.
pub async fn needs(store: &Store, id: JobId) -> Result<Vec<NeedEnd>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let (_, build) = home(&mut conn, id).await?;
    graph::load(&mut conn, build).await?.needs_of(id).ok_or(StoreError::NotFound("job"))
}

/// Jobs that have been asked to stop and have not stopped. Takes no turn from the writer.
pub async fn canceling(store: &Store) -> Result<Vec<JobId>, StoreError> {
    let rows = sqlx::query("SELECT id FROM jobs WHERE finished_at IS NULL AND status = 'canceling'");
    rows.fetch_all(store.readers()).await?.iter().map(|row| row::parsed(row, "id")).collect()
}

/// What an attempt goes through before its agent begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparing {
    /// Its image is pulled: told only where it has to be.
    Pulling,
    /// Its container is made.
    Starting,
}

/// The attempt has come so far. What is over in a moment is kept and not told as a change of its own.
pub async fn mark_preparing(
    tx: &mut WriteTx,
    id: JobId,
    attempt: u32,
    phase: Preparing,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(match phase {
        Preparing::Pulling => "UPDATE jobs SET pulling_at = ",
        Preparing::Starting => "UPDATE jobs SET starting_at = ",
    });
    query.push_bind(at.as_millis()).push(" WHERE id = ").push_bind(id.to_string()).push(" AND attempt = ");
    query.push_bind(attempt).push(" AND started_at IS NULL AND finished_at IS NULL RETURNING pulling_at");
    let Some(row) = query.build().fetch_optional(tx.conn()).await? else { return Ok(()) };
    if row::time_opt(&row, "pulling_at")?.is_some() {
        let (repo, build) = home(tx.conn(), id).await?;
        tx.changed(NewChange { kind: ChangeKind::Job, repo: Some(repo), build: Some(build), job: Some(id) });
    }
    Ok(())
}

/// The attempt's agent began. Whether that was news.
pub async fn mark_started(tx: &mut WriteTx, id: JobId, attempt: u32, at: Timestamp) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE jobs SET started_at = ? WHERE id = ? AND attempt = ? AND started_at IS NULL AND finished_at IS NULL",
    )
    .bind(at.as_millis())
    .bind(id.to_string())
    .bind(attempt)
    .execute(tx.conn())
    .await?;
    let news = done.rows_affected() > 0;
    if news {
        let (repo, build) = home(tx.conn(), id).await?;
        tx.changed(NewChange { kind: ChangeKind::Job, repo: Some(repo), build: Some(build), job: Some(id) });
    }
    Ok(news)
}

/// A new build's jobs, steps and edges. Those that nothing keeps are queued.
pub(crate) async fn insert_all(
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
            return Err(StoreError::Invalid(format!("two jobs have the key `{}`", plan.key)));
        }
    }
    if let Some(unknown) = carried.keys().find(|key| !ids.contains_key(*key)) {
        return Err(StoreError::Invalid(format!("`{unknown}` is to be carried over, but is no job of the plan")));
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
                return Err(StoreError::Invalid(format!("`{}` needs `{}`, which is no job", plan.key, need.key)));
            };
            sqlx::query("INSERT INTO job_needs (job, need) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(ids[plan.key.as_str()].to_string())
                .bind(need_id.to_string())
                .execute(tx.conn())
                .await?;
        }
    }
    happen(tx, QueueEvent::BuildCreated { build }, now).await?;
    Ok(())
}

async fn insert_steps(tx: &mut WriteTx, job: JobId, plan: &JobPlan) -> Result<(), StoreError> {
    for (position, step) in plan.steps.iter().enumerate() {
        sqlx::query("INSERT INTO steps (job, position, name, status) VALUES (?, ?, ?, 'queued')")
            .bind(job.to_string())
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .bind(&step.name)
            .execute(tx.conn())
            .await?;
    }
    Ok(())
}

/// Takes over what a successful job of another build brought.
async fn carry_over(tx: &mut WriteTx, job: JobId, original: JobId) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE jobs SET carried_over = coalesce(o.carried_over, o.id), exit_code = o.exit_code, attempt = o.attempt,
                claimed_at = o.claimed_at, pulling_at = o.pulling_at, starting_at = o.starting_at,
                started_at = o.started_at, finished_at = o.finished_at, log_bytes = o.log_bytes,
                outputs = o.outputs
         FROM (SELECT * FROM jobs WHERE id = ?2 AND status = 'success') AS o WHERE jobs.id = ?1",
    )
    .bind(job.to_string())
    .bind(original.to_string())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Invalid(format!("job {original} has not succeeded and cannot be carried over")));
    }
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
    Ok(())
}

/// The repository and the build of a job.
pub(crate) async fn home(conn: &mut SqliteConnection, id: JobId) -> Result<(RepoId, BuildId), StoreError> {
    let row =
        sqlx::query("SELECT builds.repo, jobs.build FROM jobs JOIN builds ON builds.id = jobs.build WHERE jobs.id = ?")
            .bind(id.to_string())
            .fetch_optional(conn)
            .await?
            .ok_or(StoreError::NotFound("job"))?;
    Ok((row::parsed(&row, "repo")?, row::parsed(&row, "build")?))
}

pub(crate) async fn fetch(conn: &mut SqliteConnection, id: JobId) -> Result<Option<Job>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    query.push(" WHERE jobs.id = ").push_bind(id.to_string());
    let Some(row) = query.build().fetch_optional(&mut *conn).await? else { return Ok(None) };
    let mut job = from_row(&row)?;
    let rows = sqlx::query("SELECT * FROM steps WHERE job = ? ORDER BY position").bind(id.to_string());
    job.steps = rows.fetch_all(conn).await?.iter().map(steps::from_row).collect::<Result<_, _>>()?;
    Ok(Some(job))
}

pub(crate) async fn fetch_plan(conn: &mut SqliteConnection, id: JobId) -> Result<Option<JobPlan>, StoreError> {
    let row = sqlx::query("SELECT plan FROM jobs WHERE id = ?").bind(id.to_string()).fetch_optional(conn).await?;
    row.map(|row| row::json(&row, "plan")).transpose()
}

fn push_builds<'a>(query: &'a mut QueryBuilder<Sqlite>, builds: &[BuildId]) -> &'a mut QueryBuilder<Sqlite> {
    let mut list = query.separated(", ");
    for build in builds {
        list.push_bind(build.to_string());
    }
    query
}

/// Everything but the plan and the engine's facts, which are long and rarely asked for.
const SELECT: &str = "
    SELECT jobs.seq, jobs.id, jobs.build, builds.repo, jobs.position, jobs.key, jobs.name, jobs.pipeline, jobs.matrix,
           jobs.status, jobs.reason, jobs.exit_code, jobs.attempt, jobs.claimed_at, jobs.pulling_at, jobs.starting_at,
           jobs.started_at, jobs.finished_at,
           jobs.carried_over, jobs.log_bytes, jobs.outputs, jobs.approved_by,
           CASE WHEN jobs.status = 'blocked' AND jobs.ready = 0 THEN jobs.reason END AS asks,
           (SELECT json_group_array(json_object('attempt', a.attempt, 'status', a.status, 'reason', a.reason, 'exit_code',
                                                a.exit_code, 'claimed_at', a.claimed_at, 'started_at', a.started_at,
                                                'finished_at', a.finished_at, 'log_bytes', a.log_bytes) ORDER BY a.attempt)
            FROM job_attempts AS a WHERE a.job = jobs.id) AS attempts,
           (SELECT json_group_array(n.key ORDER BY n.seq) FROM job_needs JOIN jobs AS n ON n.id = job_needs.need
            WHERE job_needs.job = jobs.id) AS needs
    FROM jobs JOIN builds ON builds.id = jobs.build";

fn from_row(row: &SqliteRow) -> Result<Job, StoreError> {
    Ok(Job {
        seq: row.try_get("seq")?,
        id: row::parsed(row, "id")?,
        build: row::parsed(row, "build")?,
        repo: row::parsed(row, "repo")?,
        position: row::unsigned(row, "position")?,
        key: row.try_get("key")?,
        name: row.try_get("name")?,
        pipeline: row.try_get("pipeline")?,
        matrix: row::json(row, "matrix")?,
        needs: row::json(row, "needs")?,
        status: row::parsed(row, "status")?,
        reason: row.try_get("reason")?,
        exit_code: row.try_get("exit_code")?,
        attempt: row::unsigned(row, "attempt")?,
        claimed_at: row::time_opt(row, "claimed_at")?,
        pulling_at: row::time_opt(row, "pulling_at")?,
        starting_at: row::time_opt(row, "starting_at")?,
        started_at: row::time_opt(row, "started_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
        carried_over: row::parsed_opt(row, "carried_over")?,
        attempts: attempts::from_json(row)?,
        asks: row.try_get::<Option<&str>, _>("asks")?.and_then(question_in).map(str::to_owned),
        approved_by: row.try_get("approved_by")?,
        outputs: row::json_opt(row, "outputs")?.unwrap_or_default(),
        log_bytes: row::unsigned(row, "log_bytes")?,
        steps: Vec::new(),
    })
}
