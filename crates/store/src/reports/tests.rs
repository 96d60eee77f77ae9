//! Reads the results of tests: of a build, and of one test in the builds before. [`reports`](crate::reports) writes
//! them.
//!
//! Every list costs its page, whatever the size of the build: failures, skipped tests, the slowest and the flaky have
//! indexes of their own.

use std::fmt;

use longshore_core::{BuildId, JobId, RepoId, Timestamp};
use longshore_reports::{Remark, TestStatus};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{Store, StoreError, page, reports::status_code, row};

/// How long a test counts as flaky after it last had both results on the same files.
const FLAKY_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Completes the query for results; its first parameter is [`FLAKY_MS`].
macro_rules! select_results {
    ($rest:literal) => {
        concat!(
            "SELECT r.run, r.test, r.status, r.duration_ms, t.suite, t.name, d.message, d.output, d.file, d.line,
                    d.first_failed, d.new, (r.flaky = 1 OR coalesce(t.flaky_at >= runs.created_at - ?1, 0)) AS flaky
             FROM test_results AS r JOIN report_runs AS runs ON runs.id = r.run JOIN tests AS t ON t.id = r.test
                 LEFT JOIN test_details AS d ON d.run = r.run AND d.test = r.test ",
            $rest
        )
    };
}

/// The reports of one job of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRun {
    pub(crate) run: i64,
    pub job: JobId,
    pub job_name: String,
    /// The number of the build with which this one is compared.
    pub base: Option<u64>,
    pub counts: Counts,
    pub duration_ms: u64,
    pub annotations: u64,
    pub has_coverage: bool,
    pub remarks: Vec<Remark>,
}

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Those that failed and do not fail in the branch before.
    pub new_failures: u64,
    /// Those that had both results on the same files in the last month.
    pub flaky: u64,
}

impl Counts {
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.passed + self.failed + self.skipped
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            new_failures: self.new_failures + other.new_failures,
            flaky: self.flaky + other.flaky,
        }
    }
}

/// Returns the counts of several jobs together.
#[must_use]
pub fn sum(runs: &[JobRun]) -> Counts {
    runs.iter().fold(Counts::default(), |sum, run| sum.plus(run.counts))
}

/// The result of one test in one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// `after` for the next page.
    pub cursor: TestCursor,
    /// The test, in all builds.
    pub test: i64,
    pub job: JobId,
    pub job_name: String,
    pub suite: String,
    pub name: String,
    pub status: TestStatus,
    pub duration_ms: Option<u64>,
    pub message: Option<String>,
    pub output: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// For a failure, the number of the build since which it fails.
    pub first_failed: Option<u64>,
    /// Whether the branch before does not have the failure.
    pub new: bool,
    pub flaky: bool,
}

/// A position in the list of a build's tests: failures first, then passed, then skipped ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestCursor {
    status: i64,
    run: i64,
    test: i64,
}

impl fmt::Display for TestCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.status, self.run, self.test)
    }
}

impl std::str::FromStr for TestCursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '-');
        let mut next = || parts.next().unwrap_or_default().parse();
        Ok(Self { status: next()?, run: next()?, test: next()? })
    }
}

/// One page of a build's tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPage {
    pub items: Vec<TestResult>,
    pub next: Option<TestCursor>,
}

/// Returns the reports of a build's jobs, in the order of the jobs. Jobs without any are not in it.
pub async fn of_build(store: &Store, build: BuildId) -> Result<Vec<JobRun>, StoreError> {
    let rows = sqlx::query(
        "SELECT r.id, jobs.id AS job, jobs.name, r.passed, r.failed, r.skipped, r.new_failures, r.duration_ms, r.annotations,
                r.lines_total IS NOT NULL AS has_coverage, r.remarks, base.number AS base,
                (SELECT count(*) FROM (
                     SELECT t.id FROM tests AS t INDEXED BY tests_flaky CROSS JOIN test_results AS x ON x.run = r.id AND x.test = t.id
                     WHERE t.job = r.test_job AND t.flaky_at IS NOT NULL AND t.flaky_at >= r.created_at - ?2
                     UNION SELECT test FROM test_results INDEXED BY test_results_flaky WHERE run = r.id AND flaky = 1)) AS flaky
         FROM jobs JOIN job_reports ON job_reports.job = jobs.id AND job_reports.attempt = jobs.attempt
             JOIN report_runs AS r ON r.id = job_reports.run
             LEFT JOIN report_runs AS base ON base.id = r.base
         WHERE jobs.build = ?1 ORDER BY jobs.position",
    )
    .bind(build.to_string())
    .bind(FLAKY_MS)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(run_from_row).collect()
}

/// Returns a page of a build's tests, `runs` being [`of_build`]'s: failures first.
pub async fn list(
    store: &Store,
    runs: &[JobRun],
    status: Option<TestStatus>,
    after: Option<TestCursor>,
    limit: u32,
) -> Result<TestPage, StoreError> {
    let limit = page::clamp(limit);
    let mut items = Vec::new();
    // Runs in the order of their ids, which cursors follow.
    let mut runs: Vec<&JobRun> = runs.iter().collect();
    runs.sort_unstable_by_key(|run| run.run);
    'all: for wanted in TestStatus::ALL {
        if status.is_some_and(|status| status != wanted) {
            continue;
        }
        for run in &runs {
            let count = match wanted {
                TestStatus::Failed => run.counts.failed,
                TestStatus::Passed => run.counts.passed,
                TestStatus::Skipped => run.counts.skipped,
            };
            let code = status_code(wanted);
            let from = match after {
                Some(after) if (after.status, after.run) > (code, run.run) => continue,
                Some(after) if (after.status, after.run) == (code, run.run) => after.test,
                Some(_) | None => -1,
            };
            if count == 0 {
                continue;
            }
            let missing = i64::from(limit) + 1 - items.len() as i64;
            let query = select_results!("WHERE r.run = ?2 AND r.status = ?3 AND r.test > ?4 ORDER BY r.test LIMIT ?5");
            let rows = sqlx::query(query)
                .bind(FLAKY_MS)
                .bind(run.run)
                .bind(code)
                .bind(from)
                .bind(missing)
                .fetch_all(store.readers())
                .await?;
            for row in &rows {
                items.push(result_from_row(row, run)?);
            }
            if items.len() > limit as usize {
                break 'all;
            }
        }
    }
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|item| item.cursor) } else { None };
    Ok(TestPage { items, next })
}

/// Returns the slowest tests of a build.
pub async fn slowest(store: &Store, runs: &[JobRun], limit: usize) -> Result<Vec<TestResult>, StoreError> {
    let mut found = Vec::new();
    for run in runs {
        let query = select_results!("WHERE r.run = ?2 AND r.slow IS NOT NULL ORDER BY r.slow LIMIT ?3");
        let query = sqlx::query(query).bind(FLAKY_MS).bind(run.run).bind(row::signed(limit as u64));
        for row in &query.fetch_all(store.readers()).await? {
            found.push(result_from_row(row, run)?);
        }
    }
    found.sort_by_key(|test| std::cmp::Reverse(test.duration_ms));
    found.truncate(limit);
    Ok(found)
}

/// Returns tests of a build that are flaky and did not fail in it; those that did are among its failures.
pub async fn flaky(store: &Store, runs: &[JobRun], limit: usize) -> Result<Vec<TestResult>, StoreError> {
    let mut found = Vec::new();
    for run in runs.iter().filter(|run| run.counts.flaky > 0) {
        let query = select_results!(
            "WHERE r.run = ?2 AND r.status <> 0 AND r.test IN (
                    SELECT id FROM tests INDEXED BY tests_flaky
                    WHERE job = runs.test_job AND flaky_at IS NOT NULL AND flaky_at >= runs.created_at - ?1
                    UNION SELECT test FROM test_results INDEXED BY test_results_flaky WHERE run = ?2 AND flaky = 1)
                ORDER BY r.test LIMIT ?3"
        );
        let query = sqlx::query(query).bind(FLAKY_MS).bind(run.run).bind(row::signed(limit as u64));
        for row in &query.fetch_all(store.readers()).await? {
            found.push(result_from_row(row, run)?);
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// A test, in all builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    pub id: i64,
    pub repo: RepoId,
    /// The key of its job.
    pub job_key: String,
    pub suite: String,
    pub name: String,
    /// When it last had both results on the same files, and in which build.
    pub flaky_at: Option<Timestamp>,
    pub flaky_build: Option<u64>,
}

impl Test {
    /// Returns whether it counts as flaky now.
    #[must_use]
    pub fn is_flaky(&self, now: Timestamp) -> bool {
        self.flaky_at.is_some_and(|at| now.as_millis() - at.as_millis() < FLAKY_MS)
    }
}

/// The result of a test in one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastResult {
    /// `before` for the next page.
    pub run: i64,
    pub build: BuildId,
    pub number: u64,
    pub job: JobId,
    pub branch: Option<String>,
    pub pull_request: Option<u64>,
    pub commit: String,
    pub at: Timestamp,
    /// `None` if the build did not run the test.
    pub status: Option<TestStatus>,
    pub duration_ms: Option<u64>,
    pub message: Option<String>,
}

/// Returns a test.
pub async fn get(store: &Store, id: i64) -> Result<Option<Test>, StoreError> {
    let row = sqlx::query(
        "SELECT tests.*, test_jobs.repo, test_jobs.key FROM tests JOIN test_jobs ON test_jobs.id = tests.job WHERE tests.id = ?",
    )
    .bind(id)
    .fetch_optional(store.readers())
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Test {
        id,
        repo: row::parsed(&row, "repo")?,
        job_key: row.try_get("key")?,
        suite: row.try_get("suite")?,
        name: row.try_get("name")?,
        flaky_at: row::time_opt(&row, "flaky_at")?,
        flaky_build: row.try_get::<Option<i64>, _>("flaky_build")?.map(row::count),
    }))
}

/// Returns the results of a test, newest first: one for each attempt of its job. `before` is a result of the test
/// itself: with one of another test there is nothing, so that its place tells nobody how many builds another repository
/// has.
pub async fn history(
    store: &Store,
    test: i64,
    before: Option<i64>,
    limit: u32,
) -> Result<crate::Page<PastResult>, StoreError> {
    let limit = page::clamp(limit);
    let rows = sqlx::query(
        "SELECT r.id AS run, jobs.build, r.number, r.job, r.branch, r.pull_request, r.commit_id, r.created_at,
                x.status, x.duration_ms, d.message
         FROM report_runs AS r INDEXED BY report_runs_by_number
             JOIN jobs ON jobs.id = r.job
             LEFT JOIN test_results AS x ON x.run = r.id AND x.test = ?1
             LEFT JOIN test_details AS d ON d.run = r.id AND d.test = ?1
         WHERE r.test_job = (SELECT job FROM tests WHERE id = ?1) AND (?2 IS NULL OR (r.number, r.id) < (
                   SELECT number, id FROM report_runs WHERE id = ?2 AND test_job = r.test_job))
           AND EXISTS (SELECT 1 FROM job_reports WHERE run = r.id)
         ORDER BY r.number DESC, r.id DESC LIMIT ?3",
    )
    .bind(test)
    .bind(before)
    .bind(i64::from(limit) + 1)
    .fetch_all(store.readers())
    .await?;
    let items = rows.iter().map(past_from_row).collect::<Result<Vec<_>, _>>()?;
    Ok(crate::Page::from_rows(items, limit, |item| item.run))
}

fn run_from_row(row: &SqliteRow) -> Result<JobRun, StoreError> {
    let remarks: Vec<(String, String)> = row::json(row, "remarks")?;
    Ok(JobRun {
        run: row.try_get("id")?,
        job: row::parsed(row, "job")?,
        job_name: row.try_get("name")?,
        base: row.try_get::<Option<i64>, _>("base")?.map(row::count),
        counts: Counts {
            passed: row::unsigned(row, "passed")?,
            failed: row::unsigned(row, "failed")?,
            skipped: row::unsigned(row, "skipped")?,
            new_failures: row::unsigned(row, "new_failures")?,
            flaky: row::unsigned(row, "flaky")?,
        },
        duration_ms: row::unsigned(row, "duration_ms")?,
        annotations: row::unsigned(row, "annotations")?,
        has_coverage: row.try_get("has_coverage")?,
        remarks: remarks.into_iter().map(|(file, text)| Remark { file, text }).collect(),
    })
}

fn result_from_row(row: &SqliteRow, run: &JobRun) -> Result<TestResult, StoreError> {
    let (status, test) = (row.try_get("status")?, row.try_get("test")?);
    Ok(TestResult {
        cursor: TestCursor { status, run: run.run, test },
        test,
        job: run.job,
        job_name: run.job_name.clone(),
        suite: row.try_get("suite")?,
        name: row.try_get("name")?,
        status: status_of(status)?,
        duration_ms: row.try_get::<Option<i64>, _>("duration_ms")?.map(row::count),
        message: row.try_get("message")?,
        output: row.try_get("output")?,
        file: row.try_get("file")?,
        line: row.try_get::<Option<i64>, _>("line")?.and_then(|line| u32::try_from(line).ok()),
        first_failed: row.try_get::<Option<i64>, _>("first_failed")?.map(row::count),
        new: row.try_get::<Option<bool>, _>("new")?.unwrap_or(false),
        flaky: row.try_get("flaky")?,
    })
}

fn past_from_row(row: &SqliteRow) -> Result<PastResult, StoreError> {
    Ok(PastResult {
        run: row.try_get("run")?,
        build: row::parsed(row, "build")?,
        number: row::unsigned(row, "number")?,
        job: row::parsed(row, "job")?,
        branch: row.try_get("branch")?,
        pull_request: row.try_get::<Option<i64>, _>("pull_request")?.map(row::count),
        commit: row.try_get("commit_id")?,
        at: row::time(row, "created_at")?,
        status: row.try_get::<Option<i64>, _>("status")?.map(status_of).transpose()?,
        duration_ms: row.try_get::<Option<i64>, _>("duration_ms")?.map(row::count),
        message: row.try_get("message")?,
    })
}

fn status_of(code: i64) -> Result<TestStatus, StoreError> {
    let found = TestStatus::ALL.into_iter().find(|status| status_code(*status) == code);
    found.ok_or_else(|| StoreError::Corrupt(format!("column `status`: {code}")))
}
