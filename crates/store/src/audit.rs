//! The audit log: who did what to which object, what was decided, and which fields were given. Never a field's value.
//!
//! Records are chained by their hashes (`longshore_audit`), and the database refuses to change or remove one; only
//! retention removes the oldest, and keeps where the rest begins.
//!
//! A request that changes something carries a [`Pending`] record (`api/audited.rs`). The first transaction that is
//! begun while it is carried writes it: there is no change without its record, and no record of what was rolled back.
//! Code that hands a request on to another task hands the record on with it. Decisions of the server itself are written
//! with [`record`].

pub mod acts;
pub mod anomalies;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use longshore_audit::Chain;
use longshore_core::{BuildId, JobId, RepoId, Timestamp, TokenId, access::Actor};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

pub use longshore_core::decision::Decision;

use crate::{Invalid, Page, Store, StoreError, WriteTx, backup, page, row};

/// The longest name of an object and the longest reason that are kept, in characters.
const MAX_TEXT: usize = 300;
/// The most fields that are named.
const MAX_FIELDS: usize = 50;
/// Rows that a check reads at once.
const ROWS_PER_BATCH: u32 = 1000;
/// The most records that one transaction removes.
const REMOVED_AT_ONCE: i64 = 500;

/// A record. Its JSON is what is hashed, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// In milliseconds since 1970.
    pub at: i64,
    /// The name of the actor: a token's, a person's, `job NAME`; empty for somebody unknown.
    pub who: String,
    /// How they acted: `token`, `session`, `job`, `server`.
    pub via: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The kind of object and what was done to it: `secret.set`.
    pub action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoId>,
    /// The repository's name at that time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repo_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    pub decision: Decision,
    /// Why it was denied or failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The names of the fields that were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

impl Entry {
    /// Starts a record of what somebody does.
    #[must_use]
    pub fn by(actor: &Actor, action: impl Into<String>) -> Self {
        let Actor { name, via, token } = actor;
        Self {
            who: name.clone(),
            via: via.as_str().to_owned(),
            token: *token,
            action: action.into(),
            ..Self::default()
        }
    }

    /// Starts a record of what the server does by itself.
    #[must_use]
    pub fn of_server(action: impl Into<String>) -> Self {
        Self { via: "server".to_owned(), action: action.into(), ..Self::default() }
    }

    /// Starts a record of what a job gets.
    #[must_use]
    pub fn of_job(job: JobId, name: &str, action: impl Into<String>) -> Self {
        Self {
            who: format!("job {name}"),
            via: "job".to_owned(),
            job: Some(job),
            action: action.into(),
            ..Self::default()
        }
    }
}

tokio::task_local! {
    static CARRIED: Pending;
}

/// The record of a request that is being carried out.
#[derive(Debug, Clone)]
pub struct Pending(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    entry: Entry,
    is_written: bool,
}

impl Pending {
    #[must_use]
    pub fn new(entry: Entry) -> Self {
        Self(Arc::new(Mutex::new(State { entry, is_written: false })))
    }

    /// Returns the record that is carried where this is called.
    #[must_use]
    pub fn carried() -> Option<Self> {
        CARRIED.try_with(Self::clone).ok()
    }

    /// Carries a record while something is done, if there is one.
    pub async fn carry<F: Future>(carried: Option<Self>, what: F) -> F::Output {
        match carried {
            Some(pending) => CARRIED.scope(pending, what).await,
            None => what.await,
        }
    }

    /// Adds to the record what is found out about the request.
    pub fn describe(&self, describe: impl FnOnce(&mut Entry)) {
        describe(&mut self.state().entry);
    }

    /// Adds to the carried record, if there is one, what is found out about the request.
    pub fn describe_carried(describe: impl FnOnce(&mut Entry)) {
        let _ = CARRIED.try_with(|pending| pending.describe(describe));
    }

    /// Returns the record, and whether a transaction has written it.
    #[must_use]
    pub fn outcome(&self) -> (Entry, bool) {
        let state = self.state();
        (state.entry.clone(), state.is_written)
    }

    /// Returns the record if no transaction has written it.
    pub(crate) fn unwritten(&self) -> Option<Entry> {
        let state = self.state();
        (!state.is_written).then(|| state.entry.clone())
    }

    pub(crate) fn note_written(&self) {
        self.state().is_written = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a record of what the server decided by itself.
pub async fn record(tx: &mut WriteTx, entry: Entry, now: Timestamp) -> Result<(), StoreError> {
    append(tx.conn(), entry, now).await?;
    tx.note_audited();
    Ok(())
}

/// Adds a record at the end. Details of its object that are missing are looked up.
pub(crate) async fn append(conn: &mut SqliteConnection, mut entry: Entry, now: Timestamp) -> Result<(), StoreError> {
    find_place(conn, &mut entry).await?;
    entry.at = now.as_millis();
    for text in [&mut entry.object, &mut entry.reason, &mut entry.who] {
        *text = text.chars().take(MAX_TEXT).collect();
    }
    entry.fields.truncate(MAX_FIELDS);
    let mut chain = last_link(conn).await?;
    let line = chain.append(&entry).map_err(|error| Invalid::NotJson(error.to_string()))?;
    sqlx::query("INSERT INTO audit (number, line) VALUES (?, ?)")
        .bind(row::signed(chain.number))
        .bind(line)
        .execute(conn)
        .await?;
    Ok(())
}

/// Looks up where the object of a carried record is, before it may be removed.
pub(crate) async fn locate(conn: &mut SqliteConnection, pending: &Pending) -> Result<(), StoreError> {
    let Some(mut entry) = pending.unwritten() else { return Ok(()) };
    find_place(conn, &mut entry).await?;
    let Entry { repo, repo_name, build, .. } = entry;
    pending.describe(|entry| (entry.repo, entry.repo_name, entry.build) = (repo, repo_name, build));
    Ok(())
}

async fn find_place(conn: &mut SqliteConnection, entry: &mut Entry) -> Result<(), StoreError> {
    if let (Some(job), None) = (entry.job, entry.build) {
        let build: Option<String> = sqlx::query_scalar("SELECT build FROM jobs WHERE id = ?")
            .bind(job.to_string())
            .fetch_optional(&mut *conn)
            .await?;
        entry.build = build.and_then(|id| id.parse().ok());
    }
    if let (Some(build), None) = (entry.build, entry.repo) {
        let repo: Option<String> = sqlx::query_scalar("SELECT repo FROM builds WHERE id = ?")
            .bind(build.to_string())
            .fetch_optional(&mut *conn)
            .await?;
        entry.repo = repo.and_then(|id| id.parse().ok());
    }
    if let (Some(repo), true) = (entry.repo, entry.repo_name.is_empty()) {
        let name: Option<String> = sqlx::query_scalar("SELECT name FROM repos WHERE id = ?")
            .bind(repo.to_string())
            .fetch_optional(&mut *conn)
            .await?;
        entry.repo_name = name.unwrap_or_default();
    }
    Ok(())
}

async fn last_link(conn: &mut SqliteConnection) -> Result<Chain, StoreError> {
    let last = sqlx::query("SELECT number, line ->> '$.hash' AS hash FROM audit ORDER BY number DESC LIMIT 1");
    match last.fetch_optional(&mut *conn).await? {
        Some(last) => chain(&last),
        None => start(conn).await,
    }
}

async fn start(conn: &mut SqliteConnection) -> Result<Chain, StoreError> {
    chain(&sqlx::query("SELECT number, hash FROM audit_start").fetch_one(conn).await?)
}

fn chain(row: &SqliteRow) -> Result<Chain, StoreError> {
    Ok(Chain { number: row::unsigned(row, "number")?, hash: row.try_get("hash")? })
}

/// Which records are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub repo: Option<RepoId>,
    pub who: Option<String>,
    /// An action (`secret.set`), or all of a kind (`secret`).
    pub action: Option<String>,
    pub decision: Option<Decision>,
    /// Words that the record must all contain.
    pub words: Vec<String>,
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub number: i64,
    pub entry: Entry,
    /// The line of JSON with its place in the chain.
    pub line: String,
}

#[derive(Deserialize)]
struct Line {
    entry: Entry,
}

/// Lists records, newest first.
pub async fn list(store: &Store, filter: &Filter, before: Option<i64>, limit: u32) -> Result<Page<Record>, StoreError> {
    let limit = page::clamp(limit);
    let mut query = QueryBuilder::<Sqlite>::new("SELECT number, line FROM audit WHERE number < ");
    query.push_bind(before.unwrap_or(i64::MAX));
    narrow(&mut query, filter);
    query.push(" ORDER BY number DESC LIMIT ").push_bind(limit + 1);
    let rows = query.build().fetch_all(store.readers()).await?;
    let records: Result<Vec<Record>, StoreError> = rows.iter().map(from_row).collect();
    Ok(Page::from_rows(records?, limit, |record| record.number))
}

/// Lists records after a number, oldest first.
pub async fn after(store: &Store, number: i64, limit: u32) -> Result<Vec<Record>, StoreError> {
    let rows = sqlx::query("SELECT number, line FROM audit WHERE number > ? ORDER BY number LIMIT ?")
        .bind(number)
        .bind(page::clamp(limit))
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(from_row).collect()
}

fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    let Filter { repo, who, action, decision, words } = filter;
    if let Some(repo) = repo {
        query.push(" AND repo = ").push_bind(repo.to_string());
    }
    if let Some(who) = who {
        query.push(" AND who = ").push_bind(who.clone());
    }
    if let Some(action) = action {
        // `/` is the character after `.`.
        query.push(" AND (action = ").push_bind(action.clone());
        query.push(" OR (action > ").push_bind(format!("{action}."));
        query.push(" AND action < ").push_bind(format!("{action}/")).push("))");
    }
    if let Some(decision) = decision {
        query.push(" AND decision = ").push_bind(decision.as_str());
    }
    for word in words {
        query
            .push(
                " AND instr(lower(concat_ws(' ', who, action, line ->> '$.entry.object', line ->> '$.entry.repo_name',
                         line ->> '$.entry.reason', line ->> '$.entry.fields')), ",
            )
            .push_bind(word.to_ascii_lowercase())
            .push(") > 0");
    }
}

fn from_row(row: &SqliteRow) -> Result<Record, StoreError> {
    let line: String = row.try_get("line")?;
    let Line { entry } = serde_json::from_str(&line)
        .map_err(|error| StoreError::Corrupt(format!("a record of the audit log: {error}")))?;
    Ok(Record { number: row.try_get("number")?, entry, line })
}

/// Removes records that are older than `before`, from the oldest on, a few in a transaction.
pub(crate) async fn remove_before(store: &Store, before: Timestamp) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let mut tx = store.write().await?;
        let begins = start(tx.conn()).await?.number;
        let first_kept: Option<i64> =
            sqlx::query_scalar("SELECT number FROM audit WHERE at >= ? AND number > ? ORDER BY number LIMIT 1")
                .bind(before.as_millis())
                .bind(row::signed(begins))
                .fetch_optional(tx.conn())
                .await?;
        let newest: Option<i64> = sqlx::query_scalar("SELECT max(number) FROM audit").fetch_one(tx.conn()).await?;
        let Some(newest) = newest else { return Ok(removed) };
        let last = first_kept.map_or(newest, |first| first - 1).min(row::signed(begins) + REMOVED_AT_ONCE);
        if last <= row::signed(begins) {
            return Ok(removed);
        }
        sqlx::query(
            "UPDATE audit_start SET number = ?1, hash = (SELECT line ->> '$.hash' FROM audit WHERE number = ?1)",
        )
        .bind(last)
        .execute(tx.conn())
        .await?;
        removed +=
            sqlx::query("DELETE FROM audit WHERE number <= ?").bind(last).execute(tx.conn()).await?.rows_affected();
        tx.commit().await?;
    }
}

/// The result of a check of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The record before the first that is kept.
    pub from: Chain,
    /// The last record.
    pub to: Chain,
}

/// Verifies the log of a data folder, beside a running server or without one.
///
/// # Errors
/// The folder cannot be read, or [`StoreError::Corrupt`] with what does not hold.
pub async fn verify(data_dir: &Path) -> Result<Verified, StoreError> {
    let database = backup::database_in(data_dir)?;
    let mut conn = backup::connect(&database, true).await?;
    // One transaction: retention beside it does not move the start under us.
    let mut tx = conn.begin().await?;
    let from = start(&mut tx).await?;
    let mut to = from.clone();
    loop {
        let lines: Vec<String> = sqlx::query_scalar("SELECT line FROM audit WHERE number > ? ORDER BY number LIMIT ?")
            .bind(row::signed(to.number))
            .bind(ROWS_PER_BATCH)
            .fetch_all(&mut *tx)
            .await?;
        if lines.is_empty() {
            break;
        }
        for line in lines {
            let at = usize::try_from(to.number + 1).unwrap_or(usize::MAX);
            to = to
                .follow(&line, at)
                .map_err(|broken| StoreError::Corrupt(format!("the audit log does not hold: {broken}")))?;
        }
    }
    let stray: i64 = sqlx::query_scalar("SELECT count(*) FROM audit WHERE number <= ?")
        .bind(row::signed(from.number))
        .fetch_one(&mut *tx)
        .await?;
    tx.rollback().await?;
    conn.close().await?;
    if stray > 0 {
        return Err(StoreError::Corrupt("the audit log does not hold: it has records before its beginning".to_owned()));
    }
    Ok(Verified { from, to })
}
