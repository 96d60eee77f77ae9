//! Finds what stands out in the audit log: rules over its records, and what they have found.
//!
//! One task of the server runs [`run`]: it looks at each record once, in order, and writes what it finds in the same
//! transaction as how far it has looked.

use std::{fmt, str::FromStr, time::Duration};

use longshore_core::{JobId, RepoId, Timestamp};
use sqlx::{Row as _, sqlite::SqliteRow};
use tokio_util::sync::CancellationToken;

use crate::{
    Page, Store, StoreError, WriteTx,
    audit::{self, Decision, Entry, Record},
    notices, page, row, settings,
};

/// Refusals of one actor within [`MANY_WITHIN_MS`] that are many.
const MANY_REFUSALS: u64 = 20;
const MANY_WITHIN_MS: i64 = 5 * 60 * 1000;
/// The most records that are looked at for that.
const LOOKED_AT: i64 = 5000;
/// The same again within this time is the same anomaly.
const SAME_WITHIN_MS: i64 = 60 * 60 * 1000;
/// Records that one transaction looks at.
const RECORDS_PER_BATCH: u32 = 200;
/// The pause after an error.
const ERROR_PAUSE: Duration = Duration::from_secs(60);
/// Where the setting says how far was looked.
const JUDGED: &str = "audit records judged";

/// A kind of anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A job was refused something beyond what every job has, in a repository where that never happened.
    FirstRefusal,
    /// Somebody was refused many times at once.
    ManyRefusals,
    /// A job was refused so much by its Docker API that it is refused everything.
    Frozen,
    /// A job tried ids of others at its Docker API.
    Probing,
    /// Something that a job made is still there after its end.
    Outlived,
    /// A job had an image of a registry that its repository never had images of.
    NewRegistry,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::FirstRefusal, Self::ManyRefusals, Self::Frozen, Self::Probing, Self::Outlived, Self::NewRegistry];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstRefusal => "first-refusal",
            Self::ManyRefusals => "many-refusals",
            Self::Frozen => "frozen",
            Self::Probing => "probing",
            Self::Outlived => "outlived",
            Self::NewRegistry => "new-registry",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a kind of anomaly"))
    }
}

/// Something that stands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    pub seq: i64,
    pub kind: Kind,
    /// For people.
    pub message: String,
    pub repo: Option<RepoId>,
    pub job: Option<JobId>,
    /// The number of the newest record that showed it.
    pub record: i64,
    pub times: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

struct NewAnomaly {
    kind: Kind,
    about: String,
    message: String,
}

/// Looks at records as they come, until `shutdown`.
pub async fn run(store: Store, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(judge_for_ever(&store)).await;
}

async fn judge_for_ever(store: &Store) {
    let mut audited = store.audited();
    loop {
        audited.borrow_and_update();
        match judge(store).await {
            Ok(()) => {
                if audited.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not search the audit log for anomalies; it is tried again");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// Looks at all records that were not looked at. Called by [`run`], and by tests.
pub async fn judge(store: &Store) -> Result<(), StoreError> {
    loop {
        let judged = settings::get(store, JUDGED).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let records = audit::after(store, judged, RECORDS_PER_BATCH).await?;
        let Some(last) = records.last().map(|record| record.number) else { return Ok(()) };
        let mut tx = store.write().await?;
        let mut new = Vec::new();
        for record in &records {
            let mut all = vec![by_itself(&record.entry)];
            if record.entry.decision == Decision::Denied {
                all.extend([first_refusal(&mut tx, record).await?, many_refusals(&mut tx, record).await?]);
            }
            for found in all.into_iter().flatten() {
                if add_anomaly(&mut tx, &found, record).await? {
                    new.push(found);
                }
            }
        }
        settings::set(&mut tx, JUDGED, &last.to_string()).await?;
        tx.commit().await?;
        for NewAnomaly { kind, message, .. } in new {
            tracing::warn!(%kind, "{message}");
        }
    }
}

/// Returns what a record shows by itself.
fn by_itself(entry: &Entry) -> Option<NewAnomaly> {
    let kind = match entry.action.as_str() {
        "docker.freeze" => Kind::Frozen,
        "docker.probe" => Kind::Probing,
        "docker.remove" => Kind::Outlived,
        "image.registry" => Kind::NewRegistry,
        _ => return None,
    };
    let Entry { who, repo_name, object, reason, .. } = entry;
    let subject = format!("{who} of {repo_name}");
    let message = match kind {
        Kind::Frozen => format!("{subject}: {reason}"),
        Kind::Probing => format!("{subject} tried what is not its own at its Docker API: {object}"),
        Kind::Outlived => format!("something that {subject} made is still there after its end: {object}"),
        Kind::NewRegistry => {
            format!("{subject} has an image of {object}, a registry that the repository never had images of")
        }
        Kind::FirstRefusal | Kind::ManyRefusals => return None,
    };
    // The same of another job of the repository is the same anomaly; another registry is not.
    let what = if kind == Kind::NewRegistry { object.as_str() } else { "" };
    let repo = entry.repo.map(|repo| repo.to_string()).unwrap_or_default();
    Some(NewAnomaly { kind, about: format!("{repo} {what}"), message })
}

async fn first_refusal(tx: &mut WriteTx, record: &Record) -> Result<Option<NewAnomaly>, StoreError> {
    let entry = &record.entry;
    let (Some(repo), "job") = (entry.repo, entry.via.as_str()) else { return Ok(None) };
    let happened: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM anomalies WHERE kind = ?1 AND about = ?2)
             OR EXISTS (SELECT 1 FROM audit WHERE repo = ?2 AND decision = 'denied' AND number < ?3
                        AND line ->> '$.entry.via' = 'job')",
    )
    .bind(Kind::FirstRefusal.as_str())
    .bind(repo.to_string())
    .bind(record.number)
    .fetch_one(tx.conn())
    .await?;
    let message = || {
        format!(
            "{} of {} was denied `{}`, as the first job of this repository: {}",
            entry.who, entry.repo_name, entry.action, entry.reason
        )
    };
    Ok((!happened).then(|| NewAnomaly { kind: Kind::FirstRefusal, about: repo.to_string(), message: message() }))
}

async fn many_refusals(tx: &mut WriteTx, record: &Record) -> Result<Option<NewAnomaly>, StoreError> {
    let entry = &record.entry;
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM audit WHERE number BETWEEN ?1 AND ?2 AND decision = 'denied' AND at > ?3
             AND who = ?4 AND line ->> '$.entry.via' = ?5 AND line ->> '$.entry.job' IS ?6",
    )
    .bind(record.number - LOOKED_AT)
    .bind(record.number)
    .bind(entry.at - MANY_WITHIN_MS)
    .bind(&entry.who)
    .bind(&entry.via)
    // Jobs of many repositories have the same name.
    .bind(entry.job.map(|job| job.to_string()))
    .fetch_one(tx.conn())
    .await?;
    let who = match entry.via.as_str() {
        "anonymous" => "somebody without a token",
        _ => entry.who.as_str(),
    };
    let found = || NewAnomaly {
        kind: Kind::ManyRefusals,
        about: format!("{} {} {}", entry.via, entry.who, entry.job.map(|job| job.to_string()).unwrap_or_default()),
        message: format!("{who} was refused {MANY_REFUSALS} times within {} minutes", MANY_WITHIN_MS / 60_000),
    };
    Ok((row::count(count) >= MANY_REFUSALS).then(found))
}

/// Writes down what was found. Returns whether it is new.
async fn add_anomaly(tx: &mut WriteTx, found: &NewAnomaly, record: &Record) -> Result<bool, StoreError> {
    let at = record.entry.at;
    let updated = sqlx::query(
        "UPDATE anomalies SET times = times + 1, last_at = ?1, record = ?2 WHERE kind = ?3 AND about = ?4 AND last_at > ?5",
    )
    .bind(at)
    .bind(record.number)
    .bind(found.kind.as_str())
    .bind(&found.about)
    .bind(at - SAME_WITHIN_MS)
    .execute(tx.conn())
    .await?;
    if updated.rows_affected() > 0 {
        return Ok(false);
    }
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO anomalies (kind, about, message, repo, job, record, first_at, last_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
         RETURNING seq",
    )
    .bind(found.kind.as_str())
    .bind(&found.about)
    .bind(&found.message)
    .bind(record.entry.repo.map(|id| id.to_string()))
    .bind(record.entry.job.map(|id| id.to_string()))
    .bind(record.number)
    .bind(at)
    .fetch_one(tx.conn())
    .await?;
    notices::note_anomaly(tx, seq, record.entry.repo, Timestamp::now()).await?;
    Ok(true)
}

/// Lists anomalies, newest first.
pub async fn list(store: &Store, before: Option<i64>, limit: u32) -> Result<Page<Anomaly>, StoreError> {
    let limit = page::clamp(limit);
    let rows = sqlx::query("SELECT * FROM anomalies WHERE seq < ? ORDER BY seq DESC LIMIT ?")
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit + 1)
        .fetch_all(store.readers())
        .await?;
    let anomalies: Result<Vec<Anomaly>, StoreError> = rows.iter().map(from_row).collect();
    Ok(Page::from_rows(anomalies?, limit, |anomaly| anomaly.seq))
}

/// Returns an anomaly by its number.
pub async fn get(store: &Store, seq: i64) -> Result<Option<Anomaly>, StoreError> {
    let found = sqlx::query("SELECT * FROM anomalies WHERE seq = ?").bind(seq).fetch_optional(store.readers()).await?;
    found.as_ref().map(from_row).transpose()
}

/// Counts anomalies of each kind.
pub async fn counts(store: &Store) -> Result<Vec<(Kind, u64)>, StoreError> {
    let mut counts = Vec::new();
    for kind in Kind::ALL {
        let query = sqlx::query_scalar("SELECT count(*) FROM anomalies WHERE kind = ?").bind(kind.as_str());
        counts.push((kind, row::count(query.fetch_one(store.readers()).await?)));
    }
    Ok(counts)
}

fn from_row(row: &SqliteRow) -> Result<Anomaly, StoreError> {
    Ok(Anomaly {
        seq: row.try_get("seq")?,
        kind: row::parsed(row, "kind")?,
        message: row.try_get("message")?,
        repo: row::parsed_opt(row, "repo")?,
        job: row::parsed_opt(row, "job")?,
        record: row.try_get("record")?,
        times: row::unsigned(row, "times")?,
        first_at: row::time(row, "first_at")?,
        last_at: row::time(row, "last_at")?,
    })
}
