//! Overviews for the pages, which show many things at once, in few and small queries: every repository with its last
//! builds, and the jobs that are not over. Only reads.

use std::collections::HashMap;

use longshore_core::{BuildId, EventName, JobId, RepoId, Status, Timestamp, access::Visible, docker::Docker};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{
    Store, StoreError,
    builds::{self, Build, ONLY_WAITS},
    repos::{self, Repo},
    row, secret_key,
};

/// A repository with its last builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoOverview {
    pub repo: Repo,
    /// Its last builds, but for those of pull requests, which say nothing about its branches. Oldest first.
    pub last: Vec<Bar>,
    /// The newest build of the default branch, if that is known, else the newest of `last`.
    pub newest: Option<Build>,
}

/// A build as a bar of the overview shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    pub seq: i64,
    pub number: u64,
    /// `blocked` for a build that only waits.
    pub status: Status,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// Returns the repositories that the caller may see, with their last builds, by name: those whose name comes after
/// `after` and contains `holding`. `limit` is not checked.
pub async fn of_repos(
    store: &Store,
    visible: &Visible,
    holding: &str,
    after: &str,
    limit: u32,
    bars: u32,
) -> Result<Vec<RepoOverview>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT repos.*, (");
    push_bars(&mut query, bars);
    query.push(
        ") AS bars, (SELECT seq FROM builds WHERE repo = repos.id AND branch = repos.default_branch
                     AND event <> 'pull-request' ORDER BY seq DESC LIMIT 1) AS newest
         FROM repos WHERE name > ",
    );
    query.push_bind(after.to_owned());
    repos::push_visible(&mut query, visible);
    if !holding.is_empty() {
        query.push(" AND instr(lower(name), ").push_bind(holding.to_lowercase()).push(") > 0");
    }
    query.push(" ORDER BY name LIMIT ").push_bind(limit);
    let key = secret_key::current(store)?;
    let mut conn = store.readers().acquire().await?;
    let mut found = Vec::new();
    for row in &query.build().fetch_all(&mut *conn).await? {
        let repo = repos::from_row(row, key.as_ref())?;
        let last: Vec<Bar> = row::json::<Vec<BarColumns>>(row, "bars")?.into_iter().map(Bar::from).collect();
        let newest = row.try_get::<Option<i64>, _>("newest")?.or(last.last().map(|bar| bar.seq));
        found.push((repo, last, newest));
    }
    let newest: Vec<i64> = found.iter().filter_map(|(.., newest)| *newest).collect();
    let rows = sqlx::query("SELECT * FROM builds WHERE seq IN (SELECT value FROM json_each(?))")
        .bind(row::to_json(&newest)?)
        .fetch_all(&mut *conn)
        .await?;
    let mut builds = rows
        .iter()
        .map(|row| builds::from_row(row).map(|build| (build.seq, build)))
        .collect::<Result<HashMap<_, _>, _>>()?;
    let overview = |(repo, last, newest): (_, _, Option<i64>)| RepoOverview {
        repo,
        last,
        newest: newest.and_then(|seq| builds.remove(&seq)),
    };
    Ok(found.into_iter().map(overview).collect())
}

/// A bar as [`push_bars`] selects it.
type BarColumns = (i64, u64, Status, Option<i64>, Option<i64>);

impl From<BarColumns> for Bar {
    fn from((seq, number, status, started_at, finished_at): BarColumns) -> Self {
        let time = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        Self { seq, number, status, started_at: time(started_at), finished_at: time(finished_at) }
    }
}

/// Selects the last builds of `repos.id` as one value, because each row that is read costs several switches of threads.
fn push_bars(query: &mut QueryBuilder<Sqlite>, bars: u32) {
    query.push(format!(
        "SELECT json_group_array(
             json_array(seq, number, iif({ONLY_WAITS}, 'blocked', status), started_at, finished_at) ORDER BY seq)
         FROM builds WHERE seq IN (SELECT seq FROM ("
    ));
    // Each event is read from the index by itself, so that any number of pull requests between costs nothing.
    for (at, event) in [EventName::Push, EventName::Tag, EventName::Schedule, EventName::Manual].iter().enumerate() {
        query.push(if at > 0 { " UNION ALL " } else { "" });
        query
            .push("SELECT * FROM (SELECT seq FROM builds WHERE repo = repos.id AND event = ")
            .push_bind(event.as_str());
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(bars).push(")");
    }
    query.push(") ORDER BY seq DESC LIMIT ").push_bind(bars).push(")");
}

/// Returns the build at a place in lists.
pub async fn build_by_seq(store: &Store, seq: i64) -> Result<Option<Build>, StoreError> {
    let row = sqlx::query("SELECT * FROM builds WHERE seq = ?").bind(seq).fetch_optional(store.readers()).await?;
    row.as_ref().map(builds::from_row).transpose()
}

/// How far a server has come towards its first build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstSteps {
    pub registered: bool,
    pub delivered: bool,
    pub built: bool,
}

/// Returns how far the server has come towards its first build.
pub async fn first_steps(store: &Store) -> Result<FirstSteps, StoreError> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM repos) AS registered, EXISTS (SELECT 1 FROM deliveries) AS delivered,
                EXISTS (SELECT 1 FROM builds) AS built",
    )
    .fetch_one(store.readers())
    .await?;
    Ok(FirstSteps {
        registered: row.try_get("registered")?,
        delivered: row.try_get("delivered")?,
        built: row.try_get("built")?,
    })
}

/// A job that has not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedJob {
    pub id: JobId,
    pub name: String,
    pub status: Status,
    pub reason: Option<String>,
    pub build: BuildId,
    pub number: u64,
    pub branch: Option<String>,
    pub repo: RepoId,
    pub repo_name: String,
    /// When its build was created.
    pub created_at: Timestamp,
    pub claimed_at: Option<Timestamp>,
    /// Names of jobs that it needs and that are not over.
    pub waits_for: Vec<String>,
    /// The access to Docker that it asks for.
    pub docker: Docker,
}

/// Returns the unfinished jobs with these statuses in repositories that the caller may see, oldest first, at most
/// `limit`.
pub async fn queue(
    store: &Store,
    statuses: &[Status],
    visible: &Visible,
    limit: u32,
) -> Result<Vec<QueuedJob>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT jobs.id, jobs.name, jobs.status, jobs.reason, jobs.build, builds.number, builds.branch, builds.repo,
                repos.name AS repo_name, builds.created_at, jobs.claimed_at, json_type(jobs.plan, '$.docker') AS docker,
                (SELECT json_group_array(n.name ORDER BY n.seq) FROM job_needs JOIN jobs AS n ON n.id = job_needs.need
                 WHERE job_needs.job = jobs.id AND n.finished_at IS NULL) AS waits_for
         FROM jobs JOIN builds ON builds.id = jobs.build JOIN repos ON repos.id = builds.repo
         WHERE jobs.finished_at IS NULL AND jobs.status IN (",
    );
    let mut list = query.separated(", ");
    for status in statuses {
        list.push_bind(status.as_str());
    }
    query.push(")");
    repos::push_visible(&mut query, visible);
    query.push(" ORDER BY jobs.seq LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(store.readers()).await?;
    let job = |row: &SqliteRow| {
        Ok(QueuedJob {
            id: row::parsed(row, "id")?,
            name: row.try_get("name")?,
            status: row::parsed(row, "status")?,
            reason: row.try_get("reason")?,
            build: row::parsed(row, "build")?,
            number: row::unsigned(row, "number")?,
            branch: row.try_get("branch")?,
            repo: row::parsed(row, "repo")?,
            repo_name: row.try_get("repo_name")?,
            created_at: row::time(row, "created_at")?,
            claimed_at: row::time_opt(row, "claimed_at")?,
            waits_for: row::json(row, "waits_for")?,
            docker: row::docker(row)?,
        })
    };
    rows.iter().map(job).collect()
}
