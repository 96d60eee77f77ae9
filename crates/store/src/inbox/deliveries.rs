//! The durable inbox. It stores what a forge delivered, whole, before the forge is answered, and then, exactly once,
//! the result.
//!
//! The hook handler calls [`accept`]; the ingest loop [`due_repos`], [`next_pending`] and one of [`finish`] and
//! [`retry_later`].

use std::str::FromStr;

use longshore_core::{BuildId, DeliveryId, RepoId, Timestamp};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{ChangeKind, Conflict, Page, Store, StoreError, WriteTx, page, row, write::NewChange};

/// The status of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// Waits to be processed, for the first time or again.
    Pending,
    /// Became builds.
    Done,
    /// Asked for nothing that Longshore does; the reason says so.
    Ignored,
    /// Could not be parsed or fetched; the reason says why.
    Failed,
}

impl DeliveryStatus {
    const ALL: [Self; 4] = [Self::Pending, Self::Done, Self::Ignored, Self::Failed];

    /// Returns the word in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for DeliveryStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| format!("`{text}` is not a delivery's status"))
    }
}

/// A delivery that a hook received. Its signature has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    pub repo: RepoId,
    /// The forge's delivery id, or what replaces it. The same key of the same repository is the same delivery.
    pub key: String,
    /// The forge's word for the event (`push`, `ping`, …).
    pub event: String,
    /// As received, byte for byte.
    pub body: Vec<u8>,
    /// The same for all deliveries with these bytes, if it matters.
    pub body_key: Option<String>,
    /// Whether the forge never sends these bytes for another event.
    pub is_unique: bool,
    pub received_at: Timestamp,
}

/// Deliveries with the same bytes that are kept while they wait, or after they failed: so a single signed body cannot
/// cause a flood.
const MAX_OF_A_BODY: usize = 100;

/// The result of [`accept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub id: DeliveryId,
    /// The delivery was in the inbox already.
    pub repeated: bool,
}

/// A delivery without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The place in lists: `before` for the next page.
    pub seq: i64,
    pub id: DeliveryId,
    pub repo: RepoId,
    pub key: String,
    pub event: String,
    pub status: DeliveryStatus,
    pub reason: Option<String>,
    /// No webhook reported it: it was found by checking the repository.
    pub found: bool,
    /// How often it was tried and put off.
    pub attempts: u32,
    pub received_at: Timestamp,
    pub next_try_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// The builds that were made of it.
    pub builds: Vec<BuildId>,
}

/// A delivery to process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDelivery {
    pub seq: i64,
    pub id: DeliveryId,
    pub repo: RepoId,
    pub event: String,
    pub received_at: Timestamp,
    pub attempts: u32,
    /// A person has asked to process it once more.
    pub by_hand: bool,
    /// No webhook reported it.
    pub found: bool,
    pub body: Vec<u8>,
}

/// How a delivery ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// Its builds were created in the same transaction.
    Done {
        /// What else it did, for people.
        note: Option<String>,
    },
    Ignored {
        reason: String,
    },
    Failed {
        reason: String,
    },
}

/// Puts a delivery into the inbox, once.
pub async fn accept(tx: &mut WriteTx, new: &NewDelivery) -> Result<Accepted, StoreError> {
    let known: Option<String> = sqlx::query_scalar("SELECT id FROM deliveries WHERE repo = ? AND delivery_key = ?")
        .bind(new.repo.to_string())
        .bind(&new.key)
        .fetch_optional(tx.conn())
        .await?;
    if let Some(id) = known {
        let id = id.parse().map_err(|error| StoreError::Corrupt(format!("deliveries.id: {error}")))?;
        return Ok(Accepted { id, repeated: true });
    }
    if let Some(id) = same_body(tx, new).await? {
        return Ok(Accepted { id, repeated: true });
    }
    let id = DeliveryId::new();
    sqlx::query(
        "INSERT INTO deliveries (id, repo, delivery_key, event, status, received_at, next_try_at, body, body_key)
         VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, ?)",
    )
    .bind(id.to_string())
    .bind(new.repo.to_string())
    .bind(&new.key)
    .bind(&new.event)
    .bind(new.received_at.as_millis())
    .bind(new.received_at.as_millis())
    .bind(new.body.as_slice())
    .bind(&new.body_key)
    .execute(tx.conn())
    .await
    .map_err(|error| match error.as_database_error() {
        Some(e) if e.is_foreign_key_violation() => StoreError::NotFound("repository"),
        _ => error.into(),
    })?;
    note_change(tx, new.repo);
    Ok(Accepted { id, repeated: false })
}

/// Returns the delivery that stands for one with the same bytes under another key. One that failed may be tried again
/// by the forge, and what may have happened twice is reported twice.
async fn same_body(tx: &mut WriteTx, new: &NewDelivery) -> Result<Option<DeliveryId>, StoreError> {
    let newest =
        sqlx::query("SELECT id, status FROM deliveries WHERE repo = ? AND body_key = ? ORDER BY seq DESC LIMIT ?")
            .bind(new.repo.to_string())
            .bind(&new.body_key)
            .bind(i64::try_from(MAX_OF_A_BODY).unwrap_or(i64::MAX))
            .fetch_all(tx.conn())
            .await?;
    let mut found = Vec::with_capacity(newest.len());
    for row in &newest {
        found.push((row::parsed::<DeliveryId>(row, "id")?, row::parsed::<DeliveryStatus>(row, "status")?));
    }
    let stands = found.iter().find(|(_, status)| *status != DeliveryStatus::Failed).filter(|_| new.is_unique);
    let waits_for = if new.is_unique { DeliveryStatus::Failed } else { DeliveryStatus::Pending };
    let is_flood = found.len() == MAX_OF_A_BODY && found.iter().all(|(_, status)| *status == waits_for);
    Ok(stands.or(found.first().filter(|_| is_flood)).map(|(id, _)| *id))
}

/// Puts the bytes of a delivery into the inbox again, as a new delivery. Returns the repository and the new delivery's
/// id. [`StoreError::NotFound`] if there is no such delivery, [`StoreError::Conflict`] while it is pending.
pub async fn redeliver(tx: &mut WriteTx, id: DeliveryId, now: Timestamp) -> Result<(RepoId, DeliveryId), StoreError> {
    let row = sqlx::query("SELECT repo, status FROM deliveries WHERE id = ?").bind(id.to_string());
    let row = row.fetch_optional(tx.conn()).await?.ok_or(StoreError::NotFound("delivery"))?;
    if row::parsed::<DeliveryStatus>(&row, "status")? == DeliveryStatus::Pending {
        return Err(Conflict::DeliveryPending.into());
    }
    let (repo, new) = (row::parsed(&row, "repo")?, DeliveryId::new());
    sqlx::query(
        "INSERT INTO deliveries (id, repo, delivery_key, event, status, received_at, next_try_at, by_hand, found, body, body_key)
         SELECT ?1, repo, delivery_key || ' again ' || ?1, event, 'pending', ?2, ?2, 1, found, body, body_key
         FROM deliveries WHERE id = ?3",
    )
    .bind(new.to_string())
    .bind(now.as_millis())
    .bind(id.to_string())
    .execute(tx.conn())
    .await?;
    note_change(tx, repo);
    Ok((repo, new))
}

/// The longest time that a delivery is put off. A delivery that seems to be put off for longer was put off before the
/// clock was set back, and is due.
pub const MAX_PAUSE_MS: u64 = 10 * 60 * 1000;

/// Returns the repositories with pending deliveries that are due by `now`. The one with the oldest of them comes first.
///
/// A clock that was set holds up no delivery: one that was never tried is due whatever the clock says.
pub async fn due_repos(store: &Store, now: Timestamp) -> Result<Vec<RepoId>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT repo FROM ");
    push_due(&mut query, now);
    query.push(" GROUP BY repo ORDER BY min(seq)");
    query.build().fetch_all(store.readers()).await?.iter().map(|row| row::parsed(row, "repo")).collect()
}

/// Returns the first pending delivery of a repository that is due by `now`.
pub async fn next_pending(store: &Store, repo: RepoId, now: Timestamp) -> Result<Option<PendingDelivery>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM ");
    push_due(&mut query, now);
    query.push(" AND repo = ").push_bind(repo.to_string()).push(" ORDER BY seq LIMIT 1");
    let row = query.build().fetch_optional(store.readers()).await?;
    row.map(|row| {
        Ok(PendingDelivery {
            seq: row.try_get("seq")?,
            id: row::parsed(&row, "id")?,
            repo: row::parsed(&row, "repo")?,
            event: row.try_get("event")?,
            received_at: row::time(&row, "received_at")?,
            attempts: row::unsigned(&row, "attempts")?,
            by_hand: row.try_get("by_hand")?,
            found: row.try_get("found")?,
            body: row.try_get("body")?,
        })
    })
    .transpose()
}

/// Adds the pending deliveries that are due. They are few, and found without those that are over.
fn push_due(query: &mut QueryBuilder<Sqlite>, now: Timestamp) {
    query.push("deliveries INDEXED BY deliveries_pending WHERE status = 'pending'");
    query.push(" AND (attempts = 0 OR next_try_at NOT BETWEEN ").push_bind(now.as_millis() + 1).push(" AND ");
    query.push_bind(now.as_millis().saturating_add(row::signed(MAX_PAUSE_MS))).push(")");
}

/// Makes older deliveries of the same repository due that wait for their next try, so that what happened first is built
/// first once the git host is back. Returns whether there are any. Each newer delivery does that once: one that cannot
/// be processed holds nobody up.
pub async fn let_older_pass(tx: &mut WriteTx, delivery: &PendingDelivery, now: Timestamp) -> Result<bool, StoreError> {
    let update = sqlx::query(
        "UPDATE deliveries SET next_try_at = ?1, hurried_by = ?2
         WHERE status = 'pending' AND repo = ?3 AND seq < ?2 AND (hurried_by IS NULL OR hurried_by < ?2)",
    );
    let done =
        update.bind(now.as_millis()).bind(delivery.seq).bind(delivery.repo.to_string()).execute(tx.conn()).await?;
    Ok(done.rows_affected() > 0)
}

/// Returns when the next pending delivery is due that is not due by `now`, at the latest `now` plus [`MAX_PAUSE_MS`].
/// `None` if there is none. Until then the caller only waits for changes.
pub async fn next_due(store: &Store, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let due: Option<i64> =
        sqlx::query_scalar("SELECT min(next_try_at) FROM deliveries WHERE status = 'pending' AND next_try_at > ?")
            .bind(now.as_millis())
            .fetch_one(store.readers())
            .await?;
    let latest = now.as_millis().saturating_add(row::signed(MAX_PAUSE_MS));
    Ok(due.map(|due| Timestamp::from_millis(due.min(latest))))
}

/// Ends a delivery, in the transaction that creates its builds. [`StoreError::Conflict`] if it has ended already: that
/// transaction must not be committed then.
pub async fn finish(tx: &mut WriteTx, id: DeliveryId, end: &DeliveryEnd, now: Timestamp) -> Result<(), StoreError> {
    let (status, reason) = match end {
        DeliveryEnd::Done { note } => (DeliveryStatus::Done, note.as_ref()),
        DeliveryEnd::Ignored { reason } => (DeliveryStatus::Ignored, Some(reason)),
        DeliveryEnd::Failed { reason } => (DeliveryStatus::Failed, Some(reason)),
    };
    let repo: Option<String> = sqlx::query_scalar(
        "UPDATE deliveries SET status = ?, reason = ?, finished_at = ? WHERE id = ? AND status = 'pending' RETURNING repo",
    )
    .bind(status.as_str())
    .bind(reason)
    .bind(now.as_millis())
    .bind(id.to_string())
    .fetch_optional(tx.conn())
    .await?;
    note_pending_change(tx, repo)
}

/// Puts a pending delivery off until `at`, with a reason for people. [`StoreError::Conflict`] if it has ended.
pub async fn retry_later(tx: &mut WriteTx, id: DeliveryId, at: Timestamp, reason: &str) -> Result<(), StoreError> {
    let repo: Option<String> = sqlx::query_scalar(
        "UPDATE deliveries SET next_try_at = ?, reason = ?, attempts = attempts + 1
         WHERE id = ? AND status = 'pending' RETURNING repo",
    )
    .bind(at.as_millis())
    .bind(reason)
    .bind(id.to_string())
    .fetch_optional(tx.conn())
    .await?;
    note_pending_change(tx, repo)
}

/// Returns a delivery.
pub async fn get(store: &Store, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
    let row = sqlx::query(WITH_BUILDS_BY_ID).bind(id.to_string()).fetch_optional(store.readers()).await?;
    row.as_ref().map(from_row).transpose()
}

/// Lists a repository's deliveries, newest first.
pub async fn list(store: &Store, repo: RepoId, before: Option<i64>, limit: u32) -> Result<Page<Delivery>, StoreError> {
    let limit = page::clamp(limit);
    let rows = sqlx::query(WITH_BUILDS_BY_REPO)
        .bind(repo.to_string())
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit + 1)
        .fetch_all(store.readers())
        .await?;
    let deliveries = rows.iter().map(from_row).collect::<Result<_, _>>()?;
    Ok(Page::from_rows(deliveries, limit, |delivery: &Delivery| delivery.seq))
}

macro_rules! with_builds {
    ($rest:literal) => {
        concat!(
            "SELECT seq, id, repo, delivery_key, event, status, reason, found, attempts, received_at, next_try_at, finished_at,
                    (SELECT json_group_array(builds.id ORDER BY builds.seq) FROM builds WHERE builds.delivery = deliveries.id)
                        AS builds
             FROM deliveries ",
            $rest
        )
    };
}
const WITH_BUILDS_BY_ID: &str = with_builds!("WHERE id = ?");
const WITH_BUILDS_BY_REPO: &str = with_builds!("WHERE repo = ? AND seq < ? ORDER BY seq DESC LIMIT ?");

fn note_pending_change(tx: &mut WriteTx, repo: Option<String>) -> Result<(), StoreError> {
    let Some(repo) = repo else { return Err(Conflict::DeliveryEnded.into()) };
    let repo = repo.parse().map_err(|error| StoreError::Corrupt(format!("deliveries.repo: {error}")))?;
    note_change(tx, repo);
    Ok(())
}

fn note_change(tx: &mut WriteTx, repo: RepoId) {
    tx.note_change(NewChange { kind: ChangeKind::Delivery, repo: Some(repo), build: None, job: None });
}

fn from_row(row: &SqliteRow) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        seq: row.try_get("seq")?,
        id: row::parsed(row, "id")?,
        repo: row::parsed(row, "repo")?,
        key: row.try_get("delivery_key")?,
        event: row.try_get("event")?,
        status: row::parsed(row, "status")?,
        reason: row.try_get("reason")?,
        found: row.try_get("found")?,
        attempts: row::unsigned(row, "attempts")?,
        received_at: row::time(row, "received_at")?,
        next_try_at: row::time(row, "next_try_at")?,
        finished_at: row::time_opt(row, "finished_at")?,
        builds: row::json(row, "builds")?,
    })
}
