//! Reads jobs. `new_jobs` writes those of a new build, `attempts` what their attempts report; only `transition` writes
//! a status.

use std::collections::{BTreeMap, HashMap};

use longshore_core::{
    BuildId, JobId, JobPlan, NeedEnd, RepoId, Status, Timestamp,
    docker::Docker,
    rules::{QueueEvent, approvals::question_in, decide},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{
    Store, StoreError,
    attempts::{self, Attempt},
    graph, queue, row, snapshot,
    steps::{self, Step},
    transition,
};

pub use crate::{
    approvals::{approve, approve_build, decline},
    attempts::{
        Preparing, UsedImage, mark_not_started, mark_preparing, mark_started, set_image, set_outputs, set_session,
    },
    transition::{Applied, ClaimedJob, apply, claim_next, end_attempt, recheck_waiting},
};

/// A job with its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Counts the jobs of all builds in the order of creation.
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
    /// 0 if the job succeeded; the failed step's if it failed.
    pub exit_code: Option<i32>,
    /// 0 until the job is claimed, then from 1. For a job that was carried over: the attempt that succeeded.
    pub attempt: u32,
    pub claimed_at: Option<Timestamp>,
    /// When the pull of its image began; `None` if the image was there.
    pub pulling_at: Option<Timestamp>,
    /// When the creation of its container began.
    pub starting_at: Option<Timestamp>,
    /// When its agent started.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The image that its container was started from; `None` before that.
    pub image: Option<UsedImage>,
    /// The job of an earlier build whose success this job takes over.
    pub carried_over: Option<JobId>,
    /// Its attempts that are over, if it has `retry`.
    pub attempts: Vec<Attempt>,
    /// The question that the job waits for, until somebody approves or declines.
    pub asks: Option<String>,
    /// Who approved the job. The acts of its build say when, and how they signed in.
    pub approved_by: Option<String>,
    /// Its failure does not fail the build.
    pub continue_on_error: bool,
    /// The job's outputs, for the jobs that need it.
    pub outputs: BTreeMap<String, String>,
    /// Bytes of its log's journal, once the job is over.
    pub log_bytes: u64,
    /// The access to Docker that it asks for.
    pub docker: Docker,
    pub steps: Vec<Step>,
}

impl Job {
    /// Returns the job and the attempt whose log this job shows. A job that was never claimed has attempt 1, the one to
    /// come.
    #[must_use]
    pub fn log_of(&self) -> (JobId, u32) {
        (self.carried_over.unwrap_or(self.id), self.attempt.max(1))
    }
}

/// A job that has been claimed and has not finished. The next start of the server adopts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningJob {
    pub job: Job,
    pub plan: JobPlan,
    /// The number that [`set_session`] stored for this attempt; 0 before that.
    pub session: u32,
}

/// Returns a job with its steps.
pub async fn get(store: &Store, id: JobId) -> Result<Option<Job>, StoreError> {
    fetch(&mut *store.readers().acquire().await?, id).await
}

/// Returns a build's jobs, in the plan's order.
pub async fn of_build(store: &Store, build: BuildId) -> Result<Vec<Job>, StoreError> {
    of_builds(store, &[build]).await
}

/// Returns the jobs of several builds, in the order of their creation.
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

/// Returns the job's part of the frozen plan.
pub async fn plan(store: &Store, id: JobId) -> Result<Option<JobPlan>, StoreError> {
    fetch_plan(&mut *store.readers().acquire().await?, id).await
}

/// Returns every job that is `running` or `canceling`, oldest first.
pub async fn running(store: &Store) -> Result<Vec<RunningJob>, StoreError> {
    let rows = sqlx::query(
        "SELECT id FROM jobs WHERE finished_at IS NULL AND status IN ('running', 'canceling') ORDER BY seq",
    )
    .fetch_all(store.readers())
    .await?;
    let mut running = Vec::with_capacity(rows.len());
    let mut conn = store.readers().acquire().await?;
    for row in &rows {
        let id: JobId = row::parsed(row, "id")?;
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

/// Returns every attempt of a job that is over.
pub async fn attempts_over(store: &Store) -> Result<Vec<(JobId, u32)>, StoreError> {
    let query = sqlx::query("SELECT id, attempt, finished_at IS NOT NULL AS is_over FROM jobs WHERE attempt > 0");
    let mut over = Vec::new();
    for row in &query.fetch_all(store.readers()).await? {
        let (id, last): (JobId, u32) = (row::parsed(row, "id")?, row.try_get("attempt")?);
        let last = if row.try_get("is_over")? { last } else { last - 1 };
        over.extend((1..=last).map(|attempt| (id, attempt)));
    }
    Ok(over)
}

/// Returns whether [`claim_next`] would claim a job. Does not wait for the writer.
pub async fn any_to_claim(store: &Store) -> Result<bool, StoreError> {
    let queue = queue::load(&mut *store.readers().acquire().await?).await?;
    let decision = decide(&snapshot::for_queue(store, queue), &QueueEvent::Slot);
    Ok(decision.is_ok_and(|decision| !decision.changes.is_empty()))
}

/// Returns the next job of each lane that waits for a slot. Does not wait for the writer.
pub async fn next_in_lanes(store: &Store) -> Result<Vec<JobId>, StoreError> {
    let waiting = queue::first_waiting(&mut *store.readers().acquire().await?).await?;
    Ok(waiting.into_iter().map(|waiting| waiting.job).collect())
}

/// Returns a job that waits, as it would be claimed. `None` if it waits no more.
pub async fn waiting(store: &Store, id: JobId) -> Result<Option<ClaimedJob>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let Some(job) = fetch(&mut conn, id).await?.filter(|job| job.status == Status::Queued) else { return Ok(None) };
    transition::with_surroundings(store, &mut conn, job).await.map(Some)
}

/// Returns the jobs that this one sees, as [`BuildGraph::needs_of`](longshore_core::rules::graph::BuildGraph::needs_of)
/// says. [`StoreError::NotFound`] if there is no such job.
pub async fn needs(store: &Store, id: JobId) -> Result<Vec<NeedEnd>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let (_, build) = home(&mut conn, id).await?;
    graph::load(&mut conn, build).await?.needs_of(id).ok_or(StoreError::NotFound("job"))
}

/// Returns the jobs that were asked to stop and have not stopped. Does not wait for the writer.
pub async fn canceling(store: &Store) -> Result<Vec<JobId>, StoreError> {
    let query = sqlx::query("SELECT id FROM jobs WHERE finished_at IS NULL AND status = 'canceling'");
    query.fetch_all(store.readers()).await?.iter().map(|row| row::parsed(row, "id")).collect()
}

/// Returns the repository and the build of a job.
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

/// Selects everything but the plan and the engine's facts, which are long and rarely needed.
const SELECT: &str = "
    SELECT jobs.seq, jobs.id, jobs.build, builds.repo, jobs.position, jobs.key, jobs.name, jobs.pipeline, jobs.matrix,
           jobs.status, jobs.reason, jobs.exit_code, jobs.attempt, jobs.claimed_at, jobs.pulling_at, jobs.starting_at,
           jobs.started_at, jobs.finished_at, jobs.image, jobs.image_digest,
           json_type(jobs.plan, '$.docker') AS docker,
           jobs.carried_over, jobs.log_bytes, jobs.outputs, jobs.approved_by, jobs.continue_on_error,
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
        image: attempts::image_in(row)?,
        carried_over: row::parsed_opt(row, "carried_over")?,
        attempts: attempts::from_json(row)?,
        asks: row.try_get::<Option<&str>, _>("asks")?.and_then(question_in).map(str::to_owned),
        approved_by: row.try_get("approved_by")?,
        continue_on_error: row.try_get("continue_on_error")?,
        outputs: row::json_opt(row, "outputs")?.unwrap_or_default(),
        log_bytes: row::unsigned(row, "log_bytes")?,
        docker: row::docker(row)?,
        steps: Vec::new(),
    })
}
