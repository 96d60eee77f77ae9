//! Builds. A build is created whole (with jobs, steps and edges) in one transaction. After that only its status
//! changes, and it follows from the status of its jobs.

pub mod attempts;
pub mod counts;
pub mod jobs;
pub(crate) mod new_jobs;
pub mod overview;
pub mod steps;

use std::cmp::Reverse;

use longshore_core::{
    BuildId, BuildPlan, DeliveryId, Diagnostic, Event, EventName, JobId, Lane, RepoId, Severity, Status, Timestamp,
    access::Visible,
    rules::{
        QueueEvent,
        build::{HAS_ERRORS, JobOfBuild, standing},
        groups_taken,
    },
    stranger,
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{
    ChangeKind, Page, PlanFault, Store, StoreError, WriteTx, commit_statuses, notices, page, pull_request_comments,
    pull_requests, repos, row, transition, write::NewChange,
};

pub use crate::{pull_requests::close as close_pull_request, transition::cancel_build as cancel};

/// A build, without its jobs (see [`jobs::of_builds`]) and its plan (see [`plan`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The place in lists: `before` for the next page.
    pub seq: i64,
    pub id: BuildId,
    pub repo: RepoId,
    /// Counts a repository's builds from 1, without gaps.
    pub number: u64,
    pub status: Status,
    /// Why the build ended as it did, or what it waits for.
    pub reason: Option<String>,
    pub event: Event,
    pub diagnostics: Vec<Diagnostic>,
    /// The delivery that the build came from; a manual build has none.
    pub delivery: Option<DeliveryId>,
    pub rerun_of: Option<BuildId>,
    pub created_at: Timestamp,
    /// When its first job was claimed.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// [`Build::waits`] for a build that has begun, in SQL.
pub(crate) const ONLY_WAITS: &str = "(status = 'running' AND reason IS NOT NULL)";

impl Build {
    /// Returns whether the build has not finished and yet no job of it runs or is about to. The reason says what it
    /// waits for.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.status == Status::Blocked || (self.status == Status::Running && self.reason.is_some())
    }
}

/// A build to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    pub repo: RepoId,
    pub event: Event,
    pub plan: BuildPlan,
    /// If one of them is an error, the build is created with the final status `error` and without jobs.
    pub diagnostics: Vec<Diagnostic>,
    pub delivery: Option<DeliveryId>,
    pub rerun_of: Option<BuildId>,
    /// Successful jobs of another build that count as jobs of this one: the key here, the job there.
    pub carried_over: Vec<(String, JobId)>,
}

impl NewBuild {
    /// Creates a build that no delivery announced and that reruns no other.
    #[must_use]
    pub const fn new(repo: RepoId, event: Event, plan: BuildPlan, diagnostics: Vec<Diagnostic>) -> Self {
        Self { repo, event, plan, diagnostics, delivery: None, rerun_of: None, carried_over: Vec::new() }
    }
}

/// Selects the builds of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildFilter {
    pub repo: Option<RepoId>,
    pub status: Option<Status>,
    pub event: Option<longshore_core::EventName>,
    pub branch: Option<String>,
    pub commit: Option<String>,
    /// `Some(true)` selects the builds that only wait (see [`Build::waits`]), `Some(false)` the others.
    pub waiting: Option<bool>,
    /// Selects the builds of repositories that the caller may see.
    pub visible: Visible,
}

/// Creates a build with its jobs. Jobs that nothing holds back are `queued`, jobs that are carried over are `success`,
/// the others are `blocked` or `skipped`. Asks older builds to stop if this build takes their group or belongs to a
/// newer commit of their pull request. [`StoreError::Invalid`] for a plan that has no jobs, an unknown need, or a key
/// twice.
pub async fn create(tx: &mut WriteTx, new: &NewBuild, now: Timestamp) -> Result<Build, StoreError> {
    let broken = new.diagnostics.iter().any(|d| d.severity == Severity::Error);
    if !broken && new.plan.jobs.is_empty() {
        return Err(PlanFault::NoJob.into());
    }
    let number: i64 =
        sqlx::query_scalar("UPDATE repos SET next_number = next_number + 1 WHERE id = ? RETURNING next_number - 1")
            .bind(new.repo.to_string())
            .fetch_optional(tx.conn())
            .await?
            .ok_or(StoreError::NotFound("repository"))?;
    let id = BuildId::new();
    let (status, reason) = match broken {
        true => (Status::Error, Some(HAS_ERRORS)),
        false => (Status::Queued, None),
    };
    sqlx::query(
        "INSERT INTO builds (id, repo, number, status, reason, event, branch, commit_id, delivery, rerun_of, created_at,
                             finished_at, plan_version, event_json, diagnostics, pull_request)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.to_string())
    .bind(new.repo.to_string())
    .bind(number)
    .bind(status.as_str())
    .bind(reason)
    .bind(new.event.name.as_str())
    .bind(new.event.branch())
    .bind(&new.event.commit)
    .bind(new.delivery.map(|id| id.to_string()))
    .bind(new.rerun_of.map(|id| id.to_string()))
    .bind(now.as_millis())
    .bind(broken.then_some(now.as_millis()))
    .bind(new.plan.version)
    .bind(row::to_json(&new.event)?)
    .bind(row::to_json(&new.diagnostics)?)
    .bind(new.event.pull_request.as_ref().map(|pull_request| row::signed(pull_request.number)))
    .execute(tx.conn())
    .await?;
    if !broken {
        let lane = Lane { repo: new.repo, stranger: stranger::pull_request(&new.event) };
        new_jobs::insert(tx, lane, id, &new.plan.jobs, &new.carried_over, now).await?;
        let (number, groups) = (u64::try_from(number).unwrap_or(0), groups_taken(&new.plan));
        if !groups.is_empty() {
            let event = QueueEvent::GroupsTaken { repo: new.repo, build: id, number, groups };
            transition::handle(tx, event, now).await?;
        }
        pull_requests::built(tx, new.repo, id, &new.event, now).await?;
        transition::update_build(tx, new.repo, id, now).await?;
    } else {
        commit_statuses::note_broken(tx, id, &new.diagnostics, now).await?;
        notices::note_end(tx, id, &[], now).await?;
        pull_request_comments::note_end(tx, id, status, now).await?;
    }
    tx.collapse_to_new_build(id);
    tx.note_change(NewChange { kind: ChangeKind::Build, repo: Some(new.repo), build: Some(id), job: None });
    fetch(tx.conn(), id).await?.ok_or(StoreError::NotFound("build"))
}

/// Adds a diagnostic to a build, unless the build has it already.
pub async fn add_diagnostic(tx: &mut WriteTx, id: BuildId, found: Diagnostic) -> Result<(), StoreError> {
    let build = fetch(tx.conn(), id).await?.ok_or(StoreError::NotFound("build"))?;
    let mut diagnostics = build.diagnostics;
    if diagnostics.contains(&found) {
        return Ok(());
    }
    diagnostics.push(found);
    sqlx::query("UPDATE builds SET diagnostics = ? WHERE id = ?")
        .bind(row::to_json(&diagnostics)?)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    tx.note_change(NewChange { kind: ChangeKind::Build, repo: Some(build.repo), build: Some(id), job: None });
    Ok(())
}

/// Returns how long a successful build of a repository takes: the median of its last twenty. `None` if it has none.
pub async fn usual_ms(store: &Store, repo: RepoId) -> Result<Option<u64>, StoreError> {
    let query = "SELECT finished_at - started_at FROM builds
                 WHERE repo = ? AND status = 'success' AND started_at IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.build = builds.id AND jobs.approved_by IS NOT NULL)
                 ORDER BY seq DESC LIMIT 20";
    let mut took: Vec<i64> = sqlx::query_scalar(query).bind(repo.to_string()).fetch_all(store.readers()).await?;
    took.sort_unstable();
    Ok(took.get(took.len() / 2).map(|ms| u64::try_from(*ms).unwrap_or(0)))
}

/// Returns a build.
pub async fn get(store: &Store, id: BuildId) -> Result<Option<Build>, StoreError> {
    fetch(&mut *store.readers().acquire().await?, id).await
}

/// Returns a repository's build by its number.
pub async fn by_number(store: &Store, repo: RepoId, number: u64) -> Result<Option<Build>, StoreError> {
    let row = sqlx::query("SELECT * FROM builds WHERE repo = ? AND number = ?")
        .bind(repo.to_string())
        .bind(row::signed(number));
    row.fetch_optional(store.readers()).await?.as_ref().map(from_row).transpose()
}

/// Returns the frozen plan. It is empty for a build whose pipeline has errors.
pub async fn plan(store: &Store, id: BuildId) -> Result<Option<BuildPlan>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let version = sqlx::query("SELECT plan_version FROM builds WHERE id = ?").bind(id.to_string());
    let Some(version) = version.fetch_optional(&mut *conn).await? else { return Ok(None) };
    let rows = sqlx::query("SELECT plan FROM jobs WHERE build = ? ORDER BY position")
        .bind(id.to_string())
        .fetch_all(&mut *conn)
        .await?;
    let jobs = rows.iter().map(|r| row::json(r, "plan")).collect::<Result<_, _>>()?;
    Ok(Some(BuildPlan { version: row::unsigned(&version, "plan_version")?, jobs }))
}

/// Returns the commits of a repository's builds that are not over.
pub async fn unfinished_commits(store: &Store, repo: RepoId) -> Result<Vec<String>, StoreError> {
    let query = "SELECT DISTINCT commit_id FROM builds WHERE repo = ? AND finished_at IS NULL";
    Ok(sqlx::query_scalar(query).bind(repo.to_string()).fetch_all(store.readers()).await?)
}

/// Returns the number of a rerun of this build that is not over.
pub async fn open_rerun(store: &Store, build: BuildId) -> Result<Option<u64>, StoreError> {
    let found = sqlx::query("SELECT number FROM builds WHERE rerun_of = ? AND finished_at IS NULL LIMIT 1")
        .bind(build.to_string())
        .fetch_optional(store.readers())
        .await?;
    found.as_ref().map(|found| row::unsigned(found, "number")).transpose()
}

/// Lists builds, newest first.
pub async fn list(
    store: &Store,
    filter: &BuildFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<Build>, StoreError> {
    let limit = page::clamp(limit);
    let public;
    let visible = match (&filter.visible, filter.repo) {
        (Visible::Public, None) => {
            public = Visible::Listed(repos::public(store).await?);
            &public
        }
        (visible, _) => visible,
    };
    let builds = match (visible, filter.repo) {
        (Visible::Listed(repos), Some(repo)) if !repos.contains(&repo) => Vec::new(),
        // One query for each repository, through that repository's index: among many builds of others, its builds may
        // be far apart.
        (Visible::Listed(repos), None) => {
            let mut builds = Vec::new();
            for repo in repos {
                let of_repo = BuildFilter { repo: Some(*repo), ..filter.clone() };
                builds.extend(newest(store, &of_repo, before, limit + 1).await?);
            }
            builds.sort_unstable_by_key(|build| Reverse(build.seq));
            builds.truncate(limit as usize + 1);
            builds
        }
        (Visible::All | Visible::Public | Visible::Listed(_), _) => newest(store, filter, before, limit + 1).await?,
    };
    Ok(Page::from_rows(builds, limit, |build: &Build| build.seq))
}

async fn newest(
    store: &Store,
    filter: &BuildFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Build>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM builds WHERE seq < ");
    query.push_bind(before.unwrap_or(i64::MAX));
    if let Some(repo) = filter.repo {
        query.push(" AND repo = ").push_bind(repo.to_string());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(event) = filter.event {
        query.push(" AND event = ").push_bind(event.as_str());
    }
    if let Some(branch) = &filter.branch {
        query.push(" AND branch = ").push_bind(branch.clone());
    }
    if let Some(commit) = &filter.commit {
        query.push(" AND commit_id = ").push_bind(commit.clone());
    }
    match filter.waiting {
        Some(true) => query.push(format!(" AND (status = 'blocked' OR {ONLY_WAITS})")),
        Some(false) => query.push(format!(" AND NOT {ONLY_WAITS}")),
        None => &mut query,
    };
    match filter.visible {
        Visible::Public => {
            query.push(" AND (SELECT public FROM repos WHERE repos.id = builds.repo) = 1");
        }
        // For `Listed`, [`list`] has set the filter to a repository of the list.
        Visible::All | Visible::Listed(_) => {}
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit);
    query.build().fetch_all(store.readers()).await?.iter().map(from_row).collect()
}

/// Returns the newest build of a branch (or of any branch) that is over, for badges; with `pipeline`, the newest that
/// has jobs of that pipeline. Builds of pull requests are left out: they say nothing about the branch yet.
pub async fn latest_finished(
    store: &Store,
    repo: RepoId,
    branch: Option<&str>,
    pipeline: Option<&str>,
) -> Result<Option<Build>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM builds WHERE finished_at IS NOT NULL AND event <> ");
    query.push_bind(EventName::PullRequest.as_str()).push(" AND repo = ").push_bind(repo.to_string());
    if let Some(branch) = branch {
        query.push(" AND branch = ").push_bind(branch.to_owned());
    }
    if let Some(pipeline) = pipeline {
        query.push(" AND EXISTS (SELECT 1 FROM jobs WHERE jobs.build = builds.id AND jobs.pipeline = ");
        query.push_bind(pipeline.to_owned()).push(")");
    }
    query.push(" ORDER BY seq DESC LIMIT 1");
    query.build().fetch_optional(store.readers()).await?.as_ref().map(from_row).transpose()
}

/// Returns the pipelines of a build, each with the status that the build would have if it were the only one.
pub async fn of_pipelines(store: &Store, id: BuildId) -> Result<Vec<(String, Status)>, StoreError> {
    let query = "SELECT pipeline, name, status, reason, continue_on_error FROM jobs WHERE build = ? ORDER BY position";
    let rows = sqlx::query(query).bind(id.to_string()).fetch_all(store.readers()).await?;
    let mut pipelines: Vec<(String, Vec<JobOfBuild>)> = Vec::new();
    for row in &rows {
        let pipeline: String = row.try_get("pipeline")?;
        let job = JobOfBuild {
            name: row.try_get("name")?,
            status: row::parsed(row, "status")?,
            reason: row.try_get("reason")?,
            continue_on_error: row.try_get("continue_on_error")?,
        };
        match pipelines.iter_mut().find(|(name, _)| *name == pipeline) {
            Some((_, jobs)) => jobs.push(job),
            None => pipelines.push((pipeline, vec![job])),
        }
    }
    Ok(pipelines.into_iter().map(|(name, jobs)| (name, standing(&jobs).status)).collect())
}

pub(crate) async fn fetch(conn: &mut SqliteConnection, id: BuildId) -> Result<Option<Build>, StoreError> {
    let row = sqlx::query("SELECT * FROM builds WHERE id = ?").bind(id.to_string()).fetch_optional(conn).await?;
    row.as_ref().map(from_row).transpose()
}

pub(crate) fn from_row(row: &SqliteRow) -> Result<Build, StoreError> {
    Ok(Build {
        seq: row.try_get("seq")?,
        id: row::parsed(row, "id")?,
        repo: row::parsed(row, "repo")?,
        number: row::unsigned(row, "number")?,
        status: row::parsed(row, "status")?,
        reason: row.try_get("reason")?,
        event: row::json(row, "event_json")?,
        diagnostics: row::json(row, "diagnostics")?,
        delivery: row::parsed_opt(row, "delivery")?,
        rerun_of: row::parsed_opt(row, "rerun_of")?,
        created_at: row::time(row, "created_at")?,
        started_at: row::time_opt(row, "started_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
    })
}
