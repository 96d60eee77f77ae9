//! The acts of people on builds and jobs: who started, canceled, reran, approved or declined one, and when.
//!
//! A row is written in the transaction of the act. A build that an event or a schedule started has no row: its event
//! says who it was.

use std::{fmt, str::FromStr};

use longshore_core::{
    BuildId, JobId, Timestamp,
    access::{Actor, Via},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{Store, StoreError, WriteTx, audit::Pending, row};

/// What a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActKind {
    Started,
    Canceled,
    Rerun,
    Approved,
    Declined,
}

impl ActKind {
    const ALL: [Self; 5] = [Self::Started, Self::Canceled, Self::Rerun, Self::Approved, Self::Declined];

    /// Returns the word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Canceled => "canceled",
            Self::Rerun => "rerun",
            Self::Approved => "approved",
            Self::Declined => "declined",
        }
    }
}

impl fmt::Display for ActKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ActKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("unknown action: `{text}`"))
    }
}

/// One act of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub build: BuildId,
    /// The job, if the act was about one job alone.
    pub job: Option<JobId>,
    pub kind: ActKind,
    pub by: Actor,
    pub at: Timestamp,
    /// The build that a rerun made, and its number if that build still exists.
    pub made: Option<(BuildId, Option<u64>)>,
}

/// What an act was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActTarget {
    pub build: BuildId,
    pub job: Option<JobId>,
    /// The build that a rerun made.
    pub made: Option<BuildId>,
}

impl ActTarget {
    #[must_use]
    pub fn build(build: BuildId) -> Self {
        Self { build, job: None, made: None }
    }

    #[must_use]
    pub fn job(build: BuildId, job: JobId) -> Self {
        Self { build, job: Some(job), made: None }
    }
}

/// Records who did what.
pub async fn record(
    tx: &mut WriteTx,
    kind: ActKind,
    target: ActTarget,
    by: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    Pending::describe_carried(|record| {
        record.build.get_or_insert(target.build);
    });
    sqlx::query("INSERT INTO acts (build, job, act, at, name, via, token, made) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(target.build.to_string())
        .bind(target.job.map(|id| id.to_string()))
        .bind(kind.as_str())
        .bind(now.as_millis())
        .bind(&by.name)
        .bind(by.via.as_str())
        .bind(by.token.map(|id| id.to_string()))
        .bind(target.made.map(|id| id.to_string()))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns what people did with these builds and their jobs, oldest first.
pub async fn of_builds(store: &Store, builds: &[BuildId]) -> Result<Vec<Act>, StoreError> {
    if builds.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT acts.*, made.number AS made_number FROM acts LEFT JOIN builds AS made ON made.id = acts.made
         WHERE acts.build IN (",
    );
    let mut list = query.separated(", ");
    for build in builds {
        list.push_bind(build.to_string());
    }
    query.push(") ORDER BY acts.seq");
    query.build().fetch_all(store.readers()).await?.iter().map(from_row).collect()
}

fn from_row(row: &SqliteRow) -> Result<Act, StoreError> {
    let made: Option<BuildId> = row::parsed_opt(row, "made")?;
    let number: Option<i64> = row.try_get("made_number")?;
    Ok(Act {
        build: row::parsed(row, "build")?,
        job: row::parsed_opt(row, "job")?,
        kind: row::parsed(row, "act")?,
        by: Actor {
            name: row.try_get("name")?,
            via: row::parsed::<Via>(row, "via")?,
            token: row::parsed_opt(row, "token")?,
        },
        at: row::time(row, "at")?,
        made: made.map(|id| (id, number.map(row::count))),
    })
}
