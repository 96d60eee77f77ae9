//! The places where people are notified of builds: mailboxes, channels and webhooks, of the server
//! (for all repositories) and of single repositories.
//!
//! Addresses and secrets are sealed together (`secret_key`) and leave through [`open`] alone, for the call to that
//! place. The messages that are sent there are in [`notices`](crate::notices).

use longshore_core::{
    NotificationEvent, NotificationId, RepoId, Timestamp,
    limits::{Limited, check_notification_name},
    sealing::Damaged,
};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{Conflict, Store, StoreError, WriteTx, row, secret_key};

/// A place to which messages are sent, without its address and secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub id: NotificationId,
    /// The repository whose builds count; `None` for all.
    pub repo: Option<RepoId>,
    /// The word of its kind: `email`, `slack`, ….
    pub kind: String,
    pub name: String,
    /// The part of its address that people see.
    pub shown: String,
    pub events: Vec<NotificationEvent>,
    /// Globs; without any, all branches and tags.
    pub branches: Vec<String>,
    /// Whether it may be at an address of the server's own network.
    pub internal: bool,
    pub created_at: Timestamp,
    /// Who added it: a token's name.
    pub created_by: String,
}

/// A place to add. The caller has checked its parts.
#[derive(Clone)]
pub struct NewNotification {
    pub repo: Option<RepoId>,
    pub kind: String,
    pub name: String,
    pub shown: String,
    /// The address and the secret, in the words of who sends.
    pub target: String,
    pub events: Vec<NotificationEvent>,
    pub branches: Vec<String>,
    pub internal: bool,
}

impl std::fmt::Debug for NewNotification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewNotification").field("kind", &self.kind).field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// The state of the messages to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub told_at: Option<Timestamp>,
    /// Messages that wait.
    pub waiting: u64,
    /// Why the oldest of them waits, or why the newest message was given up.
    pub problem: Option<String>,
}

/// Adds a place. [`StoreError::SecretKey`] if the current key is not the database's.
pub async fn add(
    tx: &mut WriteTx,
    new: &NewNotification,
    by: &str,
    now: Timestamp,
) -> Result<Notification, StoreError> {
    let name = new.name.trim();
    check_notification_name(name)?;
    if let Some(repo) = new.repo
        && sqlx::query("SELECT 1 FROM repos WHERE id = ?")
            .bind(repo.to_string())
            .fetch_optional(tx.conn())
            .await?
            .is_none()
    {
        return Err(StoreError::NotFound("repository"));
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM notifications WHERE repo IS ?")
        .bind(new.repo.map(|repo| repo.to_string()))
        .fetch_one(tx.conn())
        .await?;
    if count >= Limited::Notifications.most() {
        return Err(Conflict::Full(Limited::Notifications).into());
    }
    let notification = Notification {
        id: NotificationId::new(),
        repo: new.repo,
        kind: new.kind.clone(),
        name: name.to_owned(),
        shown: new.shown.clone(),
        events: new.events.clone(),
        branches: new.branches.clone(),
        internal: new.internal,
        created_at: now,
        created_by: by.to_owned(),
    };
    let key = secret_key::of_database_or_new(tx).await?;
    let sealed = key.seal(&sealing_place(&notification), new.target.as_bytes())?;
    sqlx::query(
        "INSERT INTO notifications (id, repo, kind, name, shown, sealed, events, branches, internal, created_at, created_by)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(notification.id.to_string())
    .bind(notification.repo.map(|repo| repo.to_string()))
    .bind(&notification.kind)
    .bind(&notification.name)
    .bind(&notification.shown)
    .bind(sealed)
    .bind(row::to_json(&notification.events)?)
    .bind(row::to_json(&notification.branches)?)
    .bind(notification.internal)
    .bind(now.as_millis())
    .bind(by)
    .execute(tx.conn())
    .await?;
    Ok(notification)
}

/// Lists the places of a repository or, for `None`, of the server, by name, each with its state.
pub async fn list(store: &Store, repo: Option<RepoId>) -> Result<Vec<(Notification, Standing)>, StoreError> {
    let rows = sqlx::query(
        "SELECT *, (SELECT max(told_at) FROM notices WHERE notification = notifications.id) AS last_told,
                (SELECT count(*) FROM notices WHERE notification = notifications.id AND told_at IS NULL AND given_up = 0) AS waiting,
                coalesce((SELECT problem FROM notices WHERE notification = notifications.id AND told_at IS NULL AND given_up = 0
                          ORDER BY seq LIMIT 1),
                         (SELECT problem FROM notices WHERE notification = notifications.id ORDER BY seq DESC LIMIT 1)) AS problem
         FROM notifications WHERE repo IS ? ORDER BY name, id",
    )
    .bind(repo.map(|repo| repo.to_string()))
    .fetch_all(store.readers())
    .await?;
    let read = |found: &SqliteRow| {
        let standing = Standing {
            told_at: row::time_opt(found, "last_told")?,
            waiting: row::unsigned(found, "waiting")?,
            problem: found.try_get("problem")?,
        };
        Ok((from_row(found)?, standing))
    };
    rows.iter().map(read).collect()
}

/// Returns a place with its address and secret. [`StoreError::SecretKey`] if the current key does not open them.
pub async fn open(store: &Store, id: NotificationId) -> Result<Option<(Notification, String)>, StoreError> {
    let mut conn = store.readers().acquire().await?;
    let found = sqlx::query("SELECT * FROM notifications WHERE id = ?").bind(id.to_string());
    let Some(found) = found.fetch_optional(&mut *conn).await? else { return Ok(None) };
    let notification = from_row(&found)?;
    let key = secret_key::of_database(store, &mut conn).await?;
    let target = key
        .and_then(|key| key.open(&sealing_place(&notification), found.try_get("sealed").ok()?))
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| StoreError::Unopened(Damaged::NotificationAddress(notification.name.clone())))?;
    Ok(Some((notification, target)))
}

/// Removes a place of a repository or, for `None`, of the server, with the messages that it is still owed.
pub async fn remove(tx: &mut WriteTx, repo: Option<RepoId>, id: NotificationId) -> Result<(), StoreError> {
    let done = sqlx::query("DELETE FROM notifications WHERE id = ? AND repo IS ?")
        .bind(id.to_string())
        .bind(repo.map(|repo| repo.to_string()))
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("notification"));
    }
    secret_key::forget_if_lost(tx).await
}

/// Names the place that an address is sealed for. No secret's name has spaces.
fn sealing_place(notification: &Notification) -> String {
    format!("notification {} {}", notification.id, notification.kind)
}

fn from_row(found: &SqliteRow) -> Result<Notification, StoreError> {
    Ok(Notification {
        id: row::parsed(found, "id")?,
        repo: row::parsed_opt(found, "repo")?,
        kind: found.try_get("kind")?,
        name: found.try_get("name")?,
        shown: found.try_get("shown")?,
        events: row::json(found, "events")?,
        branches: row::json(found, "branches")?,
        internal: found.try_get("internal")?,
        created_at: row::time(found, "created_at")?,
        created_by: found.try_get("created_by")?,
    })
}
