//! Loads the snapshots that `core::rules` decide on: for each event the jobs that it names, and what else its decision
//! needs.

use std::collections::BTreeSet;

use longshore_core::{
    BuildId, JobId, RepoId,
    event::PullRequest,
    rules::{
        GroupMember, JobFacts, PullRequestBuild, PullRequestFacts, QueueEvent, Server, Snapshot, UnderWay, queue::Queue,
    },
};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{Store, StoreError, WriteTx, graph, queue, row};

/// Loads the snapshot for an event. [`StoreError::NotFound`] if the event names a job that does not exist.
pub(crate) async fn load(tx: &mut WriteTx, event: &QueueEvent) -> Result<Snapshot, StoreError> {
    let mut snapshot = Snapshot::of(server(tx.store()));
    match event {
        QueueEvent::Slot => snapshot.queue = queue::load(tx.conn()).await?,
        QueueEvent::Job { job, .. } | QueueEvent::AttemptEnded { job, .. } => snapshot.jobs = one_job(tx, *job).await?,
        QueueEvent::Approved { job } | QueueEvent::Declined { job, .. } => {
            snapshot.jobs = one_job(tx, *job).await?;
            for job in &snapshot.jobs {
                snapshot.graph = graph::load(tx.conn(), job.build).await?;
            }
        }
        QueueEvent::BuildCreated { build } | QueueEvent::BuildApproved { build } => {
            snapshot.jobs = open_jobs_of_build(tx, *build).await?;
            snapshot.graph = graph::load(tx.conn(), *build).await?;
        }
        QueueEvent::BuildCanceled { build } => snapshot.jobs = open_jobs_of_build(tx, *build).await?,
        QueueEvent::NeedOver { build, job } => {
            let (graph, dependents) = graph::dependents(tx.conn(), *build, *job).await?;
            if !dependents.is_empty() {
                let mut query = open_jobs();
                query.push(" AND jobs.id IN (SELECT value FROM json_each(");
                query.push_bind(row::to_json(&dependents)?).push("))");
                snapshot.jobs = fetch(tx, query).await?;
            }
            snapshot.graph = graph;
        }
        QueueEvent::MatrixFailed { build, pipeline, job, .. } => {
            let mut query = open_jobs();
            query.push(" AND jobs.build = ").push_bind(build.to_string());
            query.push(" AND jobs.pipeline = ").push_bind(pipeline.clone());
            query.push(" AND json_extract(jobs.plan, '$.job') = ").push_bind(job.clone());
            snapshot.jobs = fetch(tx, query).await?;
        }
        QueueEvent::Room { repo } => {
            let mut query = open_jobs();
            query.push(" AND jobs.status = 'blocked' AND jobs.ready = 1 AND builds.repo = ");
            query.push_bind(repo.to_string());
            snapshot.jobs = fetch(tx, query).await?;
            snapshot.groups = groups(tx, *repo, &snapshot.jobs).await?;
            snapshot.under_way = under_way(tx, &snapshot.jobs).await?;
        }
        QueueEvent::GroupsTaken { repo, groups, .. } => {
            // Uses the index of groups instead of reading all builds of the repository: `+` excludes that index.
            let mut query = open_jobs();
            query.push(" AND jobs.concurrency_group IN (SELECT value FROM json_each(");
            query.push_bind(row::to_json(groups)?).push(")) AND +builds.repo = ").push_bind(repo.to_string());
            snapshot.jobs = fetch(tx, query).await?;
        }
        QueueEvent::PullRequestBuilt { repo, number, .. } | QueueEvent::PullRequestClosed { repo, number } => {
            let mut query = open_jobs();
            query.push(" AND builds.finished_at IS NULL AND builds.repo = ").push_bind(repo.to_string());
            query.push(" AND builds.pull_request = ").push_bind(row::signed(*number));
            snapshot.jobs = fetch(tx, query).await?;
            snapshot.pull_request = pull_request(tx, *repo, *number).await?;
        }
    }
    Ok(snapshot)
}

/// Returns the snapshot for the question whose turn it is.
pub(crate) fn for_queue(store: &Store, queue: Queue) -> Snapshot {
    Snapshot { queue, ..Snapshot::of(server(store)) }
}

fn server(store: &Store) -> Server {
    Server { labels: store.labels().cloned(), url: store.url().to_owned(), slots: store.slots() }
}

/// Selects [`JobFacts`]; a WHERE follows.
const FACTS: &str =
    "SELECT jobs.id, builds.repo, jobs.build, builds.number, jobs.status, jobs.reason, jobs.attempt, jobs.ready,
    jobs.approved_by IS NOT NULL AS approved, jobs.plan FROM jobs JOIN builds ON builds.id = jobs.build";

/// Selects jobs that are not over; further conditions follow.
fn open_jobs() -> QueryBuilder<Sqlite> {
    QueryBuilder::new(format!("{FACTS} WHERE jobs.finished_at IS NULL"))
}

/// Fetches jobs in the order of creation.
async fn fetch(tx: &mut WriteTx, mut query: QueryBuilder<Sqlite>) -> Result<Vec<JobFacts>, StoreError> {
    query.push(" ORDER BY jobs.seq");
    query.build().fetch_all(tx.conn()).await?.iter().map(from_row).collect()
}

fn from_row(row: &SqliteRow) -> Result<JobFacts, StoreError> {
    Ok(JobFacts {
        id: row::parsed(row, "id")?,
        repo: row::parsed(row, "repo")?,
        build: row::parsed(row, "build")?,
        number: row::unsigned(row, "number")?,
        status: row::parsed(row, "status")?,
        reason: row.try_get("reason")?,
        attempt: row::unsigned(row, "attempt")?,
        ready: row.try_get("ready")?,
        approved: row.try_get("approved")?,
        plan: row::json(row, "plan")?,
    })
}

async fn one_job(tx: &mut WriteTx, job: JobId) -> Result<Vec<JobFacts>, StoreError> {
    let mut query = QueryBuilder::new(FACTS);
    query.push(" WHERE jobs.id = ").push_bind(job.to_string());
    let found = fetch(tx, query).await?;
    if found.is_empty() { Err(StoreError::NotFound("job")) } else { Ok(found) }
}

/// Returns the jobs of a build that are not over.
async fn open_jobs_of_build(tx: &mut WriteTx, build: BuildId) -> Result<Vec<JobFacts>, StoreError> {
    let mut query = open_jobs();
    query.push(" AND jobs.build = ").push_bind(build.to_string());
    fetch(tx, query).await
}

/// Returns the builds of a repository that have unfinished jobs in the groups of these jobs.
async fn groups(tx: &mut WriteTx, repo: RepoId, found: &[JobFacts]) -> Result<Vec<GroupMember>, StoreError> {
    let names = found.iter().filter_map(|job| job.plan.concurrency.as_ref());
    let names: BTreeSet<&str> = names.map(|concurrency| concurrency.group.as_str()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT DISTINCT jobs.concurrency_group, jobs.build, builds.number
         FROM jobs INDEXED BY jobs_unfinished_of_group JOIN builds ON builds.id = jobs.build
         WHERE jobs.finished_at IS NULL AND jobs.concurrency_group IN (SELECT value FROM json_each(?)) AND +builds.repo = ?",
    )
    .bind(row::to_json(&names)?)
    .bind(repo.to_string())
    .fetch_all(tx.conn())
    .await?;
    let read = |row: &SqliteRow| {
        Ok(GroupMember {
            group: row.try_get("concurrency_group")?,
            build: row::parsed(row, "build")?,
            number: row::unsigned(row, "number")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Returns how many jobs the matrices of these jobs have in the queue and running.
async fn under_way(tx: &mut WriteTx, found: &[JobFacts]) -> Result<Vec<UnderWay>, StoreError> {
    let limited = found.iter().filter(|job| job.plan.matrix_group.is_some_and(|group| group.max_parallel.is_some()));
    let builds: BTreeSet<String> = limited.map(|job| job.build.to_string()).collect();
    if builds.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT build, pipeline, json_extract(plan, '$.job') AS job, count(*) AS count FROM jobs
         WHERE build IN (SELECT value FROM json_each(?)) AND status IN ('queued', 'running', 'canceling')
         GROUP BY build, pipeline, json_extract(plan, '$.job')",
    )
    .bind(row::to_json(&builds)?)
    .fetch_all(tx.conn())
    .await?;
    let read = |row: &SqliteRow| {
        Ok(UnderWay {
            build: row::parsed(row, "build")?,
            pipeline: row.try_get("pipeline")?,
            job: row.try_get("job")?,
            count: row::unsigned(row, "count")?,
        })
    };
    rows.iter().map(read).collect()
}

async fn pull_request(tx: &mut WriteTx, repo: RepoId, number: u64) -> Result<PullRequestFacts, StoreError> {
    let cancels_older = sqlx::query_scalar("SELECT cancel_older FROM repos WHERE id = ?")
        .bind(repo.to_string())
        .fetch_one(tx.conn())
        .await?;
    // A delivery that a person repeated has the key of the first one with its own id behind it.
    let rows = sqlx::query(
        "SELECT b.id, b.number, b.commit_id, json_extract(b.event_json, '$.pull_request.action') = ? AS of_closing, d.seq AS delivered
         FROM builds AS b LEFT JOIN deliveries AS d ON d.id = b.delivery AND d.delivery_key NOT LIKE '% again ' || d.id
         WHERE b.repo = ? AND b.pull_request = ?",
    )
    .bind(PullRequest::CLOSED)
    .bind(repo.to_string())
    .bind(row::signed(number))
    .fetch_all(tx.conn())
    .await?;
    let read = |row: &SqliteRow| {
        Ok(PullRequestBuild {
            build: row::parsed(row, "id")?,
            number: row::unsigned(row, "number")?,
            commit: row.try_get("commit_id")?,
            delivered: row.try_get("delivered")?,
            of_closing: row.try_get("of_closing")?,
        })
    };
    Ok(PullRequestFacts { cancels_older, builds: rows.iter().map(read).collect::<Result<_, StoreError>>()? })
}
