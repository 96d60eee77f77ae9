//! Compares the reports of an attempt with earlier ones: which failures are new, since when they are there, how
//! coverage changed, and which tests are flaky.

use longshore_core::Timestamp;
use sqlx::Row as _;

use super::{ROWS_PER_TRANSACTION, Reporter};
use crate::{Store, StoreError, WriteTx, row};

/// How many earlier runs are searched for the first failure of a test: some tests do not run in every build.
const LOOKED_BACK: i64 = 10;

/// Tests that change their result on the same files together with this many others are not flaky: something else is.
const FLAKY_AT_ONCE: i64 = 100;

/// Compares a run with those before it.
pub(super) async fn compare(
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
    /// Those of the branch before: of the branch itself; of a pull request, those of its target; of a new branch, those
    /// of the default one.
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

/// Notes for each failure since when the test fails, and whether that is new.
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
        .bind(row::signed(ROWS_PER_TRANSACTION as u64))
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
