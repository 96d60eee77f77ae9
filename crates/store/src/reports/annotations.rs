//! Reads the annotations of a build. [`reports`](crate::reports) writes them.

use longshore_core::JobId;
use longshore_reports::{Annotation, Level};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{Store, StoreError, page, tests::JobRun};

/// An annotation of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobAnnotation {
    /// `after` for the next page.
    pub cursor: (i64, i64),
    pub job: JobId,
    pub job_name: String,
    pub annotation: Annotation,
}

/// Returns annotations of a build, `runs` being those of its jobs: job by job, the most serious of each first.
pub async fn list(
    store: &Store,
    runs: &[JobRun],
    after: Option<(i64, i64)>,
    limit: u32,
) -> Result<(Vec<JobAnnotation>, Option<(i64, i64)>), StoreError> {
    let limit = page::clamp(limit);
    let mut items = Vec::new();
    let mut runs: Vec<&JobRun> = runs.iter().filter(|run| run.annotations > 0).collect();
    runs.sort_unstable_by_key(|run| run.run);
    for run in runs {
        let from = match after {
            Some((after, _)) if after > run.run => continue,
            Some((after, position)) if after == run.run => position,
            Some(_) | None => -1,
        };
        let rows = sqlx::query("SELECT * FROM annotations WHERE run = ? AND position > ? ORDER BY position LIMIT ?")
            .bind(run.run)
            .bind(from)
            .bind(i64::from(limit) + 1 - items.len() as i64)
            .fetch_all(store.readers())
            .await?;
        for row in &rows {
            items.push(JobAnnotation {
                cursor: (run.run, row.try_get("position")?),
                job: run.job,
                job_name: run.job_name.clone(),
                annotation: from_row(row)?,
            });
        }
        if items.len() > limit as usize {
            break;
        }
    }
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|item| item.cursor) } else { None };
    Ok((items, next))
}

fn from_row(row: &SqliteRow) -> Result<Annotation, StoreError> {
    let level: &str = row.try_get("level")?;
    let level = Level::ALL.into_iter().find(|known| known.as_str() == level);
    let number = |column: &str| -> Result<Option<u32>, StoreError> {
        Ok(row.try_get::<Option<i64>, _>(column)?.and_then(|number| u32::try_from(number).ok()))
    };
    Ok(Annotation {
        level: level.ok_or_else(|| StoreError::Corrupt("column `level`".to_owned()))?,
        file: row.try_get("file")?,
        line: number("line")?,
        end_line: number("end_line")?,
        column: number("col")?,
        title: row.try_get("title")?,
        message: row.try_get("message")?,
        tool: row.try_get("tool")?,
        rule: row.try_get("rule")?,
    })
}
