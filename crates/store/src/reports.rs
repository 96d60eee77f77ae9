//! Writes what a job's reports say: results of tests, coverage, annotations.
//!
//! A job may report 200,000 tests, so they are written before its end, a few thousand a transaction, into a *run* that nobody sees. The
//! transaction of the attempt's end [`publish`]es the run: whoever sees a final status sees the whole of the reports. A run that was not
//! published (the server was killed) is written again, or removed with what nothing refers to any more (`report_removals`).
//!
//! [`write()`] also compares: with the branch before (which failures are new, since when they fail) and with runs on the same files (which
//! tests are flaky). [`tests`](crate::tests), [`coverage`](crate::coverage) and [`annotations`](crate::annotations) read.

use longshore_core::{JobId, RepoId, Timestamp};
use longshore_reports::{Annotation, Coverage, Remark, TestCase, TestStatus};
use sqlx::Row as _;

use crate::{Store, StoreError, WriteTx, report_removals, row};

/// What the reports of one attempt say.
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

/// Whose reports they are.
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
    /// Whether the build is not a stranger's. Strangers' results are shown in their builds, and nothing else is compared with them.
    pub trusted: bool,
}

/// The reports of an attempt, once they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReportRun(pub(crate) i64);

/// Rows of one transaction.
const AT_ONCE: usize = 2_000;
/// Bytes of messages and outputs of one transaction.
const BYTES_AT_ONCE: usize = 1 << 20;
/// How many of a run's tests are kept in the order of their durations.
pub(crate) const SLOWEST: usize = 20;
/// How many earlier runs are asked when a test began to fail: some tests do not run in every build.
const LOOKED_BACK: i64 = 10;
/// Tests that change their result on the same files together with this many others are not flaky: something else is.
const FLAKY_AT_ONCE: i64 = 100;

/// Notes that the reports of an attempt are about to be read. Returns how often that was begun, this time included: more
/// than once if the server ended in between.
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

/// Writes what an attempt reported. What an earlier process wrote of the same attempt is replaced.
pub async fn write(
    store: &Store,
    reporter: &Reporter,
    reports: &JobReports,
    now: Timestamp,
) -> Result<ReportRun, StoreError> {
    report_removals::remove_unpublished(store, reporter.job, reporter.attempt).await?;
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

/// Makes the reports of a job also those of another, which stands for the same work.
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

/// The column of a status.
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
    let fits = indices.iter().take(AT_ONCE).take_while(|at| {
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
    for files in coverage.map_or(&[][..], |coverage| &coverage.files).chunks(AT_ONCE) {
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

/// Compares a run with those before it.
async fn compare(
    store: &Store,
    run: i64,
    test_job: i64,
    reporter: &Reporter,
    now: Timestamp,
) -> Result<(), StoreError> {
    let earlier = earlier(store, test_job, reporter).await?;
    let base = earlier.of_base.first().copied();
    compare_tests(store, run, reporter.number, base, &earlier).await?;
    let mut tx = store.write().await?;
    sqlx::query(
        "UPDATE report_runs SET base = ?2, new_failures = (SELECT count(*) FROM test_details WHERE run = ?1 AND new = 1),
                coverage_base = (SELECT b.id FROM report_runs AS b JOIN json_each(?3) AS asked ON asked.value = b.id
                                 WHERE b.lines_total IS NOT NULL ORDER BY asked.key LIMIT 1)
         WHERE id = ?1",
    )
    .bind(run)
    .bind(base)
    .bind(row::to_json(&earlier.of_base)?)
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "UPDATE coverage_files SET change = lines_covered * 10000 / max(lines_total, 1)
             - (SELECT lines_covered * 10000 / max(lines_total, 1) FROM coverage_files AS b
                WHERE b.run = (SELECT coverage_base FROM report_runs WHERE id = ?1) AND b.path = coverage_files.path)
         WHERE run = ?1",
    )
    .bind(run)
    .execute(tx.conn())
    .await?;
    if reporter.trusted {
        note_flaky(&mut tx, run, test_job, reporter, now).await?;
    }
    tx.commit().await.map(drop)
}

/// The runs before one, newest first.
struct Earlier {
    /// Those of the branch before: of the branch itself; of a pull request, those of its target; of a new branch, those of the default one.
    of_base: Vec<i64>,
    /// Those of the same pull request; none of a branch.
    own: Vec<i64>,
}

async fn earlier(store: &Store, test_job: i64, reporter: &Reporter) -> Result<Earlier, StoreError> {
    let of_branch = async |branch: Option<&str>| -> Result<Vec<i64>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT id FROM report_runs INDEXED BY report_runs_by_branch
             WHERE test_job = ? AND branch = ? AND pull_request IS NULL AND trusted = 1 AND number < ?
               AND EXISTS (SELECT 1 FROM job_reports WHERE run = report_runs.id)
             ORDER BY number DESC, id DESC LIMIT ?",
        )
        .bind(test_job)
        .bind(branch)
        .bind(row::signed(reporter.number))
        .bind(LOOKED_BACK)
        .fetch_all(store.readers())
        .await?)
    };
    let mut of_base = of_branch(reporter.branch.as_deref()).await?;
    if of_base.is_empty() {
        of_base = of_branch(reporter.default_branch.as_deref()).await?;
    }
    let own = sqlx::query_scalar(
        "SELECT id FROM report_runs INDEXED BY report_runs_by_branch
         WHERE test_job = ? AND branch = ? AND pull_request = ? AND number < ?
           AND EXISTS (SELECT 1 FROM job_reports WHERE run = report_runs.id)
         ORDER BY number DESC, id DESC LIMIT ?",
    )
    .bind(test_job)
    .bind(&reporter.branch)
    .bind(reporter.pull_request.map(row::signed))
    .bind(row::signed(reporter.number))
    .bind(LOOKED_BACK)
    .fetch_all(store.readers())
    .await?;
    Ok(Earlier { of_base, own })
}

/// Notes of each failure since when it is there, and whether it is new.
async fn compare_tests(
    store: &Store,
    run: i64,
    number: u64,
    base: Option<i64>,
    earlier: &Earlier,
) -> Result<(), StoreError> {
    let candidates: Vec<i64> = earlier.own.iter().chain(&earlier.of_base).copied().collect();
    let candidates = row::to_json(&candidates)?;
    let mut after = -1_i64;
    loop {
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT max(test) FROM (SELECT test FROM test_results WHERE run = ? AND status = 0 AND test > ? ORDER BY test LIMIT ?)",
        )
        .bind(run)
        .bind(after)
        .bind(row::signed(AT_ONCE as u64))
        .fetch_one(store.readers())
        .await?;
        let Some(last) = last else { return Ok(()) };
        let mut tx = store.write().await?;
        sqlx::query(
            "UPDATE test_details SET
                 first_failed = coalesce(
                     (SELECT CASE p.status WHEN 0 THEN
                          (SELECT d.first_failed FROM test_details AS d WHERE d.run = p.run AND d.test = p.test) END
                      FROM json_each(?4) AS asked CROSS JOIN test_results AS p ON p.run = asked.value AND p.test = test_details.test
                      WHERE p.status <> 2 ORDER BY asked.key LIMIT 1), ?5),
                 new = ?6 IS NOT NULL AND NOT EXISTS (
                     SELECT 1 FROM test_results AS p WHERE p.run = ?6 AND p.test = test_details.test AND p.status = 0)
             WHERE run = ?1 AND test IN (
                 SELECT test FROM test_results WHERE run = ?1 AND status = 0 AND test > ?2 AND test <= ?3)",
        )
        .bind(run)
        .bind(after)
        .bind(last)
        .bind(&candidates)
        .bind(row::signed(number))
        .bind(base)
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        after = last;
    }
}

/// Notes which tests have had both results on the same files: in this run, or in this one and an earlier one.
async fn note_flaky(
    tx: &mut WriteTx,
    run: i64,
    test_job: i64,
    reporter: &Reporter,
    now: Timestamp,
) -> Result<(), StoreError> {
    let same_files: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM report_runs INDEXED BY report_runs_by_tree
         WHERE test_job = ? AND tree = ? AND id <> ? AND trusted = 1
           AND EXISTS (SELECT 1 FROM job_reports WHERE run = report_runs.id)
         ORDER BY id DESC LIMIT ?",
    )
    .bind(test_job)
    .bind(&reporter.tree)
    .bind(run)
    .bind(LOOKED_BACK)
    .fetch_all(tx.conn())
    .await?;
    let rows = sqlx::query(
        "SELECT test FROM test_results INDEXED BY test_results_flaky WHERE run = ?1 AND flaky = 1
         UNION SELECT f.test FROM json_each(?2) AS asked CROSS JOIN test_results AS f ON f.run = asked.value AND f.status = 0
               CROSS JOIN test_results AS p ON p.run = ?1 AND p.test = f.test AND p.status = 1
         UNION SELECT f.test FROM json_each(?2) AS asked CROSS JOIN test_results AS f ON f.run = ?1 AND f.status = 0
               CROSS JOIN test_results AS p ON p.run = asked.value AND p.test = f.test AND p.status = 1
         LIMIT ?3",
    )
    .bind(run)
    .bind(row::to_json(&same_files)?)
    .bind(FLAKY_AT_ONCE + 1)
    .fetch_all(tx.conn())
    .await?;
    if rows.is_empty() || rows.len() as i64 > FLAKY_AT_ONCE {
        return Ok(());
    }
    let tests = rows.iter().map(|row| row.try_get::<i64, _>("test")).collect::<Result<Vec<_>, _>>()?;
    sqlx::query("UPDATE tests SET flaky_at = ?, flaky_build = ? WHERE id IN (SELECT value FROM json_each(?))")
        .bind(now.as_millis())
        .bind(row::signed(reporter.number))
        .bind(row::to_json(&tests)?)
        .execute(tx.conn())
        .await?;
    Ok(())
}
