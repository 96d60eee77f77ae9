//! Writes what a job's reports say: results of tests, coverage, annotations.
//!
//! A job may report 200,000 tests, so they are written before its end, a few thousand a transaction, into a *run* that
//! nobody sees. The transaction of the attempt's end [`publish`]es the run: a reader who sees a final status sees the
//! whole of the reports. A run that was not published (the server was killed) is written again, or removed with what
//! nothing refers to any more (`removals/reports`).
//!
//! [`write()`] also compares: with the branch before (which failures are new, since when they fail) and with runs on
//! the same files (which tests are flaky). [`tests`], [`coverage`] and [`annotations`] read.

pub mod annotations;
mod comparison;
pub mod coverage;
pub mod tests;

use self::comparison::compare;
use crate::{Store, StoreError, WriteTx, removals, row};
use longshore_core::{JobId, RepoId, Timestamp};
use longshore_reports::{Annotation, Coverage, Remark, TestCase, TestStatus};

/// The reports of one attempt, as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobReports {
    pub tests: Vec<TestCase>,
    pub coverage: Option<Coverage>,
    pub annotations: Vec<Annotation>,
    pub remarks: Vec<Remark>,
}

impl JobReports {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty() && self.coverage.is_none() && self.annotations.is_empty() && self.remarks.is_empty()
    }
}

/// The job and the build of the reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reporter {
    pub repo: RepoId,
    pub job: JobId,
    pub attempt: u32,
    /// The job's key in its build's plan.
    pub key: String,
    /// The build's number.
    pub number: u64,
    /// The branch; of a pull request the branch that it is to be merged into.
    pub branch: Option<String>,
    pub pull_request: Option<u64>,
    pub default_branch: Option<String>,
    pub commit: String,
    /// The commit's tree: runs with the same one ran on the same files. The commit itself if it is not known.
    pub tree: String,
    /// Whether the build is not a stranger's. Strangers' results are shown in their builds, and nothing else is
    /// compared with them.
    pub trusted: bool,
}

/// The reports of an attempt, once they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReportRun(pub(crate) i64);

/// Rows of one transaction.
const ROWS_PER_TRANSACTION: usize = 2_000;
/// Bytes of messages and outputs of one transaction.
const BYTES_AT_ONCE: usize = 1 << 20;
/// How many of a run's tests are kept in the order of their durations.
pub(crate) const SLOWEST: usize = 20;

/// Notes that the reports of an attempt are about to be read. Returns how often that was begun, this time included:
/// more than once if the server ended in between.
pub async fn begin_reading(store: &Store, job: JobId, attempt: u32) -> Result<u32, StoreError> {
    let mut tx = store.write().await?;
    let begun = sqlx::query(
        "UPDATE jobs SET report_readings = report_readings + 1 WHERE id = ? AND attempt = ? RETURNING report_readings",
    )
    .bind(job.to_string())
    .bind(attempt)
    .fetch_optional(tx.conn())
    .await?;
    tx.commit().await?;
    begun.as_ref().map_or(Ok(1), |row| row::unsigned(row, "report_readings"))
}

/// Writes the reports of an attempt. They replace those that an earlier process wrote of the same attempt.
pub async fn write(
    store: &Store,
    reporter: &Reporter,
    reports: &JobReports,
    now: Timestamp,
) -> Result<ReportRun, StoreError> {
    removals::reports::remove_unpublished(store, reporter.job, reporter.attempt).await?;
    let (run, test_job) = begin(store, reporter, reports, now).await?;
    write_tests(store, run, test_job, &reports.tests).await?;
    write_coverage(store, run, reports.coverage.as_ref()).await?;
    write_annotations(store, run, &reports.annotations).await?;
    compare(store, run, test_job, reporter, now).await?;
    Ok(ReportRun(run))
}

/// Makes the reports of an attempt those of its job. Called in the transaction of the attempt's end.
pub async fn publish(tx: &mut WriteTx, job: JobId, attempt: u32, run: ReportRun) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO job_reports (job, attempt, run) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(job.to_string())
        .bind(attempt)
        .bind(run.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Makes the reports of a job also those of another, which uses its success.
pub(crate) async fn carry_over(tx: &mut WriteTx, job: JobId, original: JobId) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO job_reports (job, attempt, run)
         SELECT ?1, job_reports.attempt, run FROM job_reports JOIN jobs ON jobs.id = job_reports.job
         WHERE job_reports.job = ?2 AND job_reports.attempt = jobs.attempt",
    )
    .bind(job.to_string())
    .bind(original.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn begin(
    store: &Store,
    reporter: &Reporter,
    reports: &JobReports,
    now: Timestamp,
) -> Result<(i64, i64), StoreError> {
    let count = |status| row::signed(reports.tests.iter().filter(|test| test.status == status).count() as u64);
    let duration: u64 = reports.tests.iter().filter_map(|test| test.duration_ms).fold(0, u64::saturating_add);
    let remarks: Vec<(&str, &str)> =
        reports.remarks.iter().map(|remark| (remark.file.as_str(), remark.text.as_str())).collect();
    let coverage = reports.coverage.as_ref();
    let mut tx = store.write().await?;
    sqlx::query("INSERT INTO test_jobs (repo, key) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(reporter.repo.to_string())
        .bind(&reporter.key)
        .execute(tx.conn())
        .await?;
    let test_job: i64 = sqlx::query_scalar("SELECT id FROM test_jobs WHERE repo = ? AND key = ?")
        .bind(reporter.repo.to_string())
        .bind(&reporter.key)
        .fetch_one(tx.conn())
        .await?;
    let run: i64 = sqlx::query_scalar(
        "INSERT INTO report_runs (test_job, job, attempt, number, branch, pull_request, commit_id, tree, trusted, created_at,
                                  passed, failed, skipped, duration_ms, lines_covered, lines_total, branches_covered,
                                  branches_total, annotations, remarks)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(test_job)
    .bind(reporter.job.to_string())
    .bind(reporter.attempt)
    .bind(row::signed(reporter.number))
    .bind(&reporter.branch)
    .bind(reporter.pull_request.map(row::signed))
    .bind(&reporter.commit)
    .bind(&reporter.tree)
    .bind(reporter.trusted)
    .bind(now.as_millis())
    .bind(count(TestStatus::Passed))
    .bind(count(TestStatus::Failed))
    .bind(count(TestStatus::Skipped))
    .bind(row::signed(duration))
    .bind(coverage.map(|coverage| row::signed(coverage.lines.covered)))
    .bind(coverage.map(|coverage| row::signed(coverage.lines.total)))
    .bind(coverage.map(|coverage| row::signed(coverage.branches.covered)))
    .bind(coverage.map(|coverage| row::signed(coverage.branches.total)))
    .bind(row::signed(reports.annotations.len() as u64))
    .bind(row::to_json(&remarks)?)
    .fetch_one(tx.conn())
    .await?;
    tx.commit().await?;
    Ok((run, test_job))
}

/// Returns the column of a status.
pub(crate) const fn status_code(status: TestStatus) -> i64 {
    match status {
        TestStatus::Failed => 0,
        TestStatus::Passed => 1,
        TestStatus::Skipped => 2,
    }
}

/// Returns the indices of the slowest tests, the slowest first.
fn slowest(tests: &[TestCase]) -> Vec<usize> {
    let mut slowest: Vec<usize> =
        (0..tests.len()).filter(|at| tests[*at].duration_ms.is_some_and(|ms| ms > 0)).collect();
    slowest.sort_unstable_by_key(|at| std::cmp::Reverse((tests[*at].duration_ms, std::cmp::Reverse(*at))));
    slowest.truncate(SLOWEST);
    slowest
}

/// Returns how many of these tests are written in one transaction.
fn batch_size(tests: &[TestCase], indices: &[usize]) -> usize {
    let mut bytes = 0;
    let fits = indices.iter().take(ROWS_PER_TRANSACTION).take_while(|at| {
        let test = &tests[**at];
        let before = bytes;
        bytes += test.output.as_ref().map_or(0, String::len) + test.message.as_ref().map_or(0, String::len);
        before < BYTES_AT_ONCE
    });
    fits.count()
}

async fn write_tests(store: &Store, run: i64, test_job: i64, tests: &[TestCase]) -> Result<(), StoreError> {
    let slowest = slowest(tests);
    // In the order of the index, so that neighbours are written together.
    let mut order: Vec<usize> = (0..tests.len()).collect();
    order.sort_unstable_by_key(|at| (&tests[*at].suite, &tests[*at].name));
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(batch_size(tests, rest));
        rest = later;
        let results: Vec<_> = now
            .iter()
            .map(|at| {
                let test = &tests[*at];
                let slow = slowest.iter().position(|slow| slow == at).map(|place| place + 1);
                let duration = test.duration_ms.map(row::signed);
                (&test.suite, &test.name, status_code(test.status), duration, slow, u8::from(test.flaky))
            })
            .collect();
        let details: Vec<_> = now
            .iter()
            .map(|at| &tests[*at])
            .filter(|test| test.status == TestStatus::Failed || test.message.is_some())
            .map(|test| (&test.suite, &test.name, &test.message, &test.output, &test.file, test.line))
            .collect();
        let mut tx = store.write().await?;
        insert_tests(&mut tx, (run, test_job), &row::to_json(&results)?, &row::to_json(&details)?).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Writes tests with their results and details, which are JSON arrays of the columns' values.
async fn insert_tests(
    tx: &mut WriteTx,
    (run, test_job): (i64, i64),
    results: &str,
    details: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tests (job, suite, name) SELECT ?, value ->> 0, value ->> 1 FROM json_each(?) WHERE true
         ON CONFLICT DO NOTHING",
    )
    .bind(test_job)
    .bind(results)
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "INSERT INTO test_results (run, test, status, duration_ms, slow, flaky)
         SELECT ?1, tests.id, new.value ->> 2, new.value ->> 3, new.value ->> 4, new.value ->> 5
         FROM json_each(?3) AS new CROSS JOIN tests
             ON tests.job = ?2 AND tests.suite = new.value ->> 0 AND tests.name = new.value ->> 1",
    )
    .bind(run)
    .bind(test_job)
    .bind(results)
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "INSERT INTO test_details (run, test, message, output, file, line)
         SELECT ?1, tests.id, new.value ->> 2, new.value ->> 3, new.value ->> 4, new.value ->> 5
         FROM json_each(?3) AS new CROSS JOIN tests
             ON tests.job = ?2 AND tests.suite = new.value ->> 0 AND tests.name = new.value ->> 1",
    )
    .bind(run)
    .bind(test_job)
    .bind(details)
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn write_coverage(store: &Store, run: i64, coverage: Option<&Coverage>) -> Result<(), StoreError> {
    for files in coverage.map_or(&[][..], |coverage| &coverage.files).chunks(ROWS_PER_TRANSACTION) {
        let rows: Vec<_> = files
            .iter()
            .map(|file| {
                let (lines, branches) = (file.lines, file.branches);
                (&file.path, lines.covered, lines.total, branches.covered, branches.total, &file.missed)
            })
            .collect();
        let mut tx = store.write().await?;
        sqlx::query(
            "INSERT INTO coverage_files (run, path, lines_covered, lines_total, branches_covered, branches_total, missed)
             SELECT ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)",
        )
        .bind(run)
        .bind(row::to_json(&rows)?)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn write_annotations(store: &Store, run: i64, annotations: &[Annotation]) -> Result<(), StoreError> {
    if annotations.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = annotations
        .iter()
        .map(|one| {
            let place = (&one.file, one.line, one.end_line, one.column);
            (one.level.as_str(), place, &one.title, &one.message, &one.tool, &one.rule)
        })
        .collect();
    let mut tx = store.write().await?;
    sqlx::query(
        "INSERT INTO annotations (run, position, level, file, line, end_line, col, title, message, tool, rule)
         SELECT ?, key, value ->> 0, value ->> '$[1][0]', value ->> '$[1][1]', value ->> '$[1][2]', value ->> '$[1][3]',
                value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)",
    )
    .bind(run)
    .bind(row::to_json(&rows)?)
    .execute(tx.conn())
    .await?;
    tx.commit().await.map(drop)
}
