//! Reads the coverage of a build. [`reports`](crate::reports) writes it.
//!
//! A source file that several jobs of a build cover counts once, with the best of them.

use longshore_reports::{CoveredFile, Share};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{Store, StoreError, page, row, tests::JobRun};

/// The coverage of a build's jobs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildCoverage {
    pub lines: Share,
    pub branches: Share,
    pub base: Option<BaseCoverage>,
}

/// The coverage to compare a build's with: that of the same jobs in the branch before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseCoverage {
    /// The build's number.
    pub number: u64,
    pub lines: Share,
}

impl BuildCoverage {
    /// Returns how many hundredths of a percent of the lines are covered more, or less, than in the branch before.
    #[must_use]
    pub fn change(&self) -> Option<i64> {
        let points = |share: Share| i64::try_from(share.basis_points()?).ok();
        Some(points(self.lines)? - points(self.base?.lines)?)
    }
}

/// A file of a build's coverage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCoverage {
    pub file: CoveredFile,
    /// Hundredths of a percent more or less than in the branch before; `None` for a file that it does not have.
    pub change: Option<i64>,
}

/// Returns the coverage of a build, `runs` being those of its jobs; `None` if no job has any.
pub async fn of_build(store: &Store, runs: &[JobRun]) -> Result<Option<BuildCoverage>, StoreError> {
    let ids: Vec<i64> = runs.iter().filter(|run| run.has_coverage).map(|run| run.run).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    let ids = row::to_json(&ids)?;
    let bases = sqlx::query(
        "SELECT base.id, base.number FROM report_runs AS r JOIN report_runs AS base ON base.id = r.coverage_base
         WHERE r.id IN (SELECT value FROM json_each(?)) ORDER BY base.number",
    )
    .bind(&ids)
    .fetch_all(store.readers())
    .await?;
    let base_ids = bases.iter().map(|row| row.try_get::<i64, _>("id")).collect::<Result<Vec<_>, _>>()?;
    let number = bases.last().map(|row| row::unsigned(row, "number")).transpose()?;
    let (lines, branches) = total(store, &ids).await?;
    let base = match number {
        Some(number) => Some(BaseCoverage { number, lines: total(store, &row::to_json(&base_ids)?).await?.0 }),
        None => None,
    };
    Ok(Some(BuildCoverage { lines, branches, base }))
}

/// Returns the lines and branches of some runs together.
async fn total(store: &Store, ids: &str) -> Result<(Share, Share), StoreError> {
    // The sums of a single run are stored. Those of several are computed from their files.
    let row = sqlx::query(
        "SELECT count(*) AS runs, max(lines_covered) AS lines_covered, max(lines_total) AS lines_total,
                max(branches_covered) AS branches_covered, max(branches_total) AS branches_total
         FROM report_runs WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(ids)
    .fetch_one(store.readers())
    .await?;
    if row.try_get::<i64, _>("runs")? == 1 {
        return shares(&row);
    }
    let row = sqlx::query(
        "SELECT coalesce(sum(lines_covered), 0) AS lines_covered, coalesce(sum(lines_total), 0) AS lines_total,
                coalesce(sum(branches_covered), 0) AS branches_covered, coalesce(sum(branches_total), 0) AS branches_total
         FROM (SELECT max(lines_covered) AS lines_covered, max(lines_total) AS lines_total,
                      max(branches_covered) AS branches_covered, max(branches_total) AS branches_total
               FROM coverage_files WHERE run IN (SELECT value FROM json_each(?)) GROUP BY path)",
    )
    .bind(ids)
    .fetch_one(store.readers())
    .await?;
    shares(&row)
}

/// Returns files of a build's coverage by their paths, from the one after `after` on.
pub async fn files(
    store: &Store,
    runs: &[JobRun],
    after: Option<&str>,
    limit: u32,
) -> Result<(Vec<FileCoverage>, Option<String>), StoreError> {
    let limit = page::clamp(limit);
    // A page of each run, by its own key: the first rows of all runs are among these.
    let mut items: Vec<FileCoverage> = Vec::new();
    for run in runs.iter().filter(|run| run.has_coverage) {
        let rows = sqlx::query("SELECT * FROM coverage_files WHERE run = ? AND path > ? ORDER BY path LIMIT ?")
            .bind(run.run)
            .bind(after.unwrap_or_default())
            .bind(i64::from(limit) + 1)
            .fetch_all(store.readers())
            .await?;
        for row in &rows {
            items.push(from_row(row)?);
        }
    }
    items.sort_by(|one, other| {
        let key = |item: &FileCoverage| (item.file.path.clone(), std::cmp::Reverse(item.file.lines.covered));
        key(one).cmp(&key(other))
    });
    items.dedup_by(|other, one| other.file.path == one.file.path);
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|item| item.file.path.clone()) } else { None };
    Ok((items, next))
}

/// Returns the files whose coverage changed most, losses first.
pub async fn changed(store: &Store, runs: &[JobRun], limit: u32) -> Result<Vec<FileCoverage>, StoreError> {
    let mut items = Vec::new();
    // `change <> 0` lets SQLite use the index of the files that changed.
    for run in runs.iter().filter(|run| run.has_coverage) {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM coverage_files WHERE run = ?1 AND change < 0 AND change <> 0 ORDER BY change LIMIT ?2)
             UNION ALL
             SELECT * FROM (SELECT * FROM coverage_files WHERE run = ?1 AND change > 0 AND change <> 0
                            ORDER BY change DESC LIMIT ?2)",
        )
        .bind(run.run)
        .bind(limit)
        .fetch_all(store.readers())
        .await?;
        for row in &rows {
            items.push(from_row(row)?);
        }
    }
    items.sort_by_key(|item| (item.change > Some(0), std::cmp::Reverse(item.change.map(i64::abs))));
    items.truncate(limit as usize);
    Ok(items)
}

fn shares(row: &SqliteRow) -> Result<(Share, Share), StoreError> {
    let share = |covered: &str, total: &str| -> Result<Share, StoreError> {
        Ok(Share { covered: row::unsigned(row, covered)?, total: row::unsigned(row, total)? })
    };
    Ok((share("lines_covered", "lines_total")?, share("branches_covered", "branches_total")?))
}

fn from_row(row: &SqliteRow) -> Result<FileCoverage, StoreError> {
    let (lines, branches) = shares(row)?;
    Ok(FileCoverage {
        file: CoveredFile { path: row.try_get("path")?, lines, branches, missed: row.try_get("missed")? },
        change: row.try_get("change")?,
    })
}
