//! The outbox of statuses for forges: the current state of each context of a commit, and the one that the forge has
//! confirmed.
//!
//! `transition` and `builds` write it in the transaction that changes a job: after a kill it is as complete as the jobs
//! are. There is one row for each context, so that a state that has not been sent is replaced by the next one. The
//! outbox reads what is owed and notes what the forge confirmed; a row that changed meanwhile stays owed. The states are decided
//! in [`longshore_core::commit_status`].

use longshore_core::{
    BuildId, ConnectionId, Diagnostic, Event, RepoId, StatusDetail, Timestamp,
    commit_status::{CommitState, CommitStatus, JobOfContext, of_broken_build, of_build},
    stranger::BroughtBy,
};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{Store, StoreError, WriteTx, row};

/// Identifies a context of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub repo: RepoId,
    pub commit: String,
    pub context: String,
}

/// A context whose status is owed to the forge, without the state, which may change until the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub key: Key,
    pub connection: ConnectionId,
    pub try_at: Timestamp,
}

/// The newest state of a context, which the forge has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsentStatus {
    pub build: Option<BuildId>,
    pub state: CommitState,
    pub description: String,
    pub ref_name: Option<String>,
    /// The forge's number of the repository.
    pub forge_id: String,
    pub connection: ConnectionId,
    /// Which change of the row this is.
    pub wanted: i64,
    pub owed_since: Timestamp,
    pub attempts: u32,
    /// How the forge shows the context; `None` before the first call.
    pub shown: Option<Shown>,
}

/// How a forge shows a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// As a status of the commit.
    Status,
    /// As a check run: its id at the forge, and its build.
    CheckRun { id: String, build: Option<BuildId> },
}

/// A context that the forge shows in an older state, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    pub context: String,
    pub owed_since: Timestamp,
    pub problem: Option<String>,
    pub given_up: bool,
}

/// How long a context that shows no build is kept after the forge has it: as long as somebody might open a pull request
/// with its commit.
const KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;

/// Where the contexts of a build belong.
struct Place {
    repo: RepoId,
    build: Option<BuildId>,
    /// The build's place in the order of builds.
    seq: i64,
    commit: String,
    ref_name: Option<String>,
    brought_by: BroughtBy,
    /// Whether something of the build was approved.
    approved: bool,
}

impl Place {
    /// The place of a commit's contexts for which nothing is built.
    fn without_build(repo: RepoId, event: &Event) -> Self {
        Self {
            repo,
            build: None,
            seq: -1,
            commit: event.commit_at_forge().to_owned(),
            ref_name: ref_name(event),
            brought_by: BroughtBy::of(event),
            approved: false,
        }
    }

    /// Reads a row with `repo` and `seq` of a build.
    fn of_build(build: BuildId, event: &Event, row: &SqliteRow) -> Result<Self, StoreError> {
        let place = Self::without_build(row::parsed(row, "repo")?, event);
        Ok(Self { build: Some(build), seq: row.try_get("seq")?, ..place })
    }
}

/// Writes the current states of a build's contexts, if its repository reports to a forge.
pub(crate) async fn note_build(
    tx: &mut WriteTx,
    build: BuildId,
    jobs: &[JobOfContext],
    now: Timestamp,
) -> Result<(), StoreError> {
    let found = sqlx::query(
        "SELECT b.repo, b.seq, b.event_json, r.statuses,
                EXISTS (SELECT 1 FROM jobs WHERE jobs.build = b.id AND jobs.approved_by IS NOT NULL) AS approved
         FROM builds AS b JOIN repos AS r ON r.id = b.repo
         WHERE b.id = ? AND r.connection IS NOT NULL AND r.statuses <> 'none'",
    )
    .bind(build.to_string())
    .fetch_optional(tx.conn())
    .await?;
    let Some(found) = found else { return Ok(()) };
    let detail: StatusDetail = row::parsed(&found, "statuses")?;
    let event: Event = row::json(&found, "event_json")?;
    let mut place = Place::of_build(build, &event, &found)?;
    place.approved = found.try_get("approved")?;
    for status in of_build(detail, jobs) {
        write(tx, &place, status, now).await?;
    }
    Ok(())
}

/// Writes that a build's pipeline files have errors: to the contexts of the repository's build before it, which may be
/// required, and to those of the files.
pub(crate) async fn note_broken(
    tx: &mut WriteTx,
    build: BuildId,
    diagnostics: &[Diagnostic],
    now: Timestamp,
) -> Result<(), StoreError> {
    let found = sqlx::query(
        "SELECT b.repo, b.seq, b.event_json FROM builds AS b JOIN repos AS r ON r.id = b.repo
         WHERE b.id = ? AND r.connection IS NOT NULL AND r.statuses <> 'none'",
    )
    .bind(build.to_string())
    .fetch_optional(tx.conn())
    .await?;
    let Some(found) = found else { return Ok(()) };
    let event: Event = row::json(&found, "event_json")?;
    let place = Place::of_build(build, &event, &found)?;
    let contexts: Vec<String> = sqlx::query_scalar(
        "SELECT context FROM commit_statuses WHERE build =
            (SELECT id FROM builds WHERE repo = ?1 AND seq < ?2 AND event = ?3
                AND EXISTS (SELECT 1 FROM commit_statuses AS s WHERE s.build = builds.id) ORDER BY seq DESC LIMIT 1)",
    )
    .bind(place.repo.to_string())
    .bind(place.seq)
    .bind(event.name.as_str())
    .fetch_all(tx.conn())
    .await?;
    for status in of_broken_build(contexts, diagnostics) {
        write(tx, &place, status, now).await?;
    }
    Ok(())
}

/// Writes that pipelines were skipped for a commit, each with the reason, so that a required context does not block a
/// merge. Statuses that a build has written stay.
pub async fn note_skipped(
    tx: &mut WriteTx,
    repo: RepoId,
    event: &Event,
    pipelines: &[(String, String)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let reports: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM repos WHERE id = ? AND connection IS NOT NULL AND statuses = 'pipeline')",
    )
    .bind(repo.to_string())
    .fetch_one(tx.conn())
    .await?;
    if !reports {
        return Ok(());
    }
    let place = Place::without_build(repo, event);
    for (pipeline, reason) in pipelines {
        write(tx, &place, CommitStatus::skipped(pipeline, reason), now).await?;
    }
    Ok(())
}

/// Writes a state, unless the context shows it or belongs to a newer build. The repository's own events take precedence
/// over a stranger's, even if those are newer: anybody can open a pull request with a commit that the repository
/// already has. A pipeline that had nothing to do does not replace a build. A status that is owed already keeps its
/// turn.
async fn write(tx: &mut WriteTx, place: &Place, status: CommitStatus, now: Timestamp) -> Result<(), StoreError> {
    let CommitStatus { context, state, description } = status.for_commit(place.brought_by, place.approved);
    let done = sqlx::query(
        "INSERT INTO commit_statuses (repo, commit_id, context, build, state, description, ref_name, owed_since, try_at, stranger)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?10)
         ON CONFLICT (repo, commit_id, context) DO UPDATE SET
            build = excluded.build, state = excluded.state, description = excluded.description, ref_name = excluded.ref_name,
            owed_since = iif(told = wanted, excluded.owed_since, owed_since),
            try_at = iif(told = wanted OR given_up, excluded.try_at, try_at),
            attempts = iif(told = wanted OR given_up, 0, attempts),
            problem = iif(told = wanted OR given_up, NULL, problem),
            given_up = 0, wanted = wanted + 1, stranger = excluded.stranger
         WHERE (build IS NOT excluded.build OR state <> excluded.state OR description <> excluded.description)
           AND CASE WHEN stranger = excluded.stranger
                    THEN coalesce((SELECT seq FROM builds WHERE builds.id = commit_statuses.build), -1) <= ?9
                    ELSE excluded.stranger < stranger
                         AND (excluded.build IS NOT NULL OR commit_statuses.build IS NULL) END",
    )
    .bind(place.repo.to_string())
    .bind(&place.commit)
    .bind(context)
    .bind(place.build.map(|build| build.to_string()))
    .bind(state.as_str())
    .bind(description)
    .bind(&place.ref_name)
    .bind(now.as_millis())
    .bind(place.seq)
    .bind(place.brought_by as i64)
    .execute(tx.conn())
    .await?;
    if done.rows_affected() > 0 {
        tx.note_commit_statuses();
    }
    Ok(())
}

fn ref_name(event: &Event) -> Option<String> {
    match &event.pull_request {
        Some(pull_request) => Some(pull_request.source_branch.clone()),
        None => event.branch().or_else(|| event.tag()).map(str::to_owned),
    }
}

/// Returns the statuses that forges are owed, the longest due first: at most `of_each` for each connection, and none
/// for those in `but_for`.
pub async fn due(store: &Store, but_for: &[ConnectionId], of_each: u32) -> Result<Vec<Due>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT * FROM (
            SELECT s.repo, s.commit_id, s.context, s.try_at, r.connection,
                   row_number() OVER (PARTITION BY r.connection ORDER BY s.try_at) AS place
            FROM commit_statuses AS s JOIN repos AS r ON r.id = s.repo
            WHERE s.told <> s.wanted AND s.given_up = 0 AND r.connection IS NOT NULL AND r.forge_id IS NOT NULL
              AND r.statuses <> 'none'",
    );
    if !but_for.is_empty() {
        query.push(" AND r.connection NOT IN (");
        let mut list = query.separated(", ");
        for id in but_for {
            list.push_bind(id.to_string());
        }
        query.push(")");
    }
    query.push(") WHERE place <= ").push_bind(of_each).push(" ORDER BY try_at");
    let read = |found: &SqliteRow| {
        Ok(Due {
            key: Key {
                repo: row::parsed(found, "repo")?,
                commit: found.try_get("commit_id")?,
                context: found.try_get("context")?,
            },
            connection: row::parsed(found, "connection")?,
            try_at: row::time(found, "try_at")?,
        })
    };
    query.build().fetch_all(store.readers()).await?.iter().map(read).collect()
}

/// Returns the newest state of a context, unless the forge has confirmed it.
pub async fn unsent(store: &Store, key: &Key) -> Result<Option<UnsentStatus>, StoreError> {
    let found = sqlx::query(
        "SELECT s.*, r.connection, r.forge_id FROM commit_statuses AS s JOIN repos AS r ON r.id = s.repo
         WHERE s.repo = ? AND s.commit_id = ? AND s.context = ? AND s.told <> s.wanted AND r.connection IS NOT NULL
           AND r.forge_id IS NOT NULL",
    )
    .bind(key.repo.to_string())
    .bind(&key.commit)
    .bind(&key.context)
    .fetch_optional(store.readers())
    .await?;
    let read = |found: &SqliteRow| {
        Ok(UnsentStatus {
            build: row::parsed_opt(found, "build")?,
            state: row::parsed(found, "state")?,
            description: found.try_get("description")?,
            ref_name: found.try_get("ref_name")?,
            forge_id: found.try_get("forge_id")?,
            connection: row::parsed(found, "connection")?,
            wanted: found.try_get("wanted")?,
            owed_since: row::time(found, "owed_since")?,
            attempts: row::unsigned(found, "attempts")?,
            shown: shown(found)?,
        })
    };
    found.as_ref().map(read).transpose()
}

fn shown(found: &SqliteRow) -> Result<Option<Shown>, StoreError> {
    if found.try_get("as_status")? {
        return Ok(Some(Shown::Status));
    }
    let id: Option<String> = found.try_get("check_run")?;
    let build = row::parsed_opt(found, "check_build")?;
    Ok(id.map(|id| Shown::CheckRun { id, build }))
}

/// Notes that the forge shows a state, and how. A row that has changed since stays owed, from now on.
pub async fn mark_reported(
    tx: &mut WriteTx,
    key: &Key,
    wanted: i64,
    shown: &Shown,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (check_run, build) = match shown {
        Shown::Status => (None, None),
        Shown::CheckRun { id, build } => (Some(id), build.map(|build| build.to_string())),
    };
    sqlx::query(
        "UPDATE commit_statuses SET told = ?1, attempts = 0, problem = NULL, try_at = ?2, owed_since = ?2,
                as_status = ?6, check_run = ?7, check_build = ?8
         WHERE repo = ?3 AND commit_id = ?4 AND context = ?5 AND told < ?1",
    )
    .bind(wanted)
    .bind(now.as_millis())
    .bind(key.repo.to_string())
    .bind(&key.commit)
    .bind(&key.context)
    .bind(*shown == Shown::Status)
    .bind(check_run)
    .bind(build)
    .execute(tx.conn())
    .await?;
    // No build takes these along when it is removed.
    sqlx::query("DELETE FROM commit_statuses WHERE repo = ? AND build IS NULL AND told = wanted AND owed_since < ?")
        .bind(key.repo.to_string())
        .bind(now.as_millis() - KEPT_MS)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Notes that a report to the forge failed. Without a time for the next try, it is given up until the context changes
/// or the connection gets another token.
pub async fn failed(
    tx: &mut WriteTx,
    key: &Key,
    wanted: i64,
    problem: &str,
    try_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE commit_statuses SET attempts = attempts + 1, problem = ?, try_at = coalesce(?, try_at), given_up = ? AND wanted = ?
         WHERE repo = ? AND commit_id = ? AND context = ?",
    )
    .bind(problem)
    .bind(try_at.map(Timestamp::as_millis))
    .bind(try_at.is_none())
    .bind(wanted)
    .bind(key.repo.to_string())
    .bind(&key.commit)
    .bind(&key.context)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Lets everything that a connection owes be tried at once: it has another token.
pub(crate) async fn try_again(tx: &mut WriteTx, connection: ConnectionId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE commit_statuses SET try_at = ?, attempts = 0, given_up = 0
         WHERE told <> wanted AND repo IN (SELECT id FROM repos WHERE connection = ?)",
    )
    .bind(now.as_millis())
    .bind(connection.to_string())
    .execute(tx.conn())
    .await?;
    tx.note_commit_statuses();
    Ok(())
}

/// Returns the builds that the contexts of a commit show.
pub async fn builds_of_commit(store: &Store, repo: RepoId, commit: &str) -> Result<Vec<BuildId>, StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT build FROM commit_statuses WHERE repo = ? AND commit_id = ? AND build IS NOT NULL ORDER BY build",
    )
    .bind(repo.to_string())
    .bind(commit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|found| row::parsed(found, "build")).collect()
}

/// Returns the contexts of a build that the forge has shown in an older state since before that time.
pub async fn late(store: &Store, build: BuildId, before: Timestamp) -> Result<Vec<Late>, StoreError> {
    let rows = sqlx::query(
        "SELECT s.* FROM commit_statuses AS s JOIN repos AS r ON r.id = s.repo
         WHERE s.build = ? AND s.told <> s.wanted AND (s.owed_since < ? OR s.given_up) AND r.connection IS NOT NULL
           AND r.statuses <> 'none' ORDER BY s.context",
    )
    .bind(build.to_string())
    .bind(before.as_millis())
    .fetch_all(store.readers())
    .await?;
    let read = |found: &SqliteRow| {
        Ok(Late {
            context: found.try_get("context")?,
            owed_since: row::time(found, "owed_since")?,
            problem: found.try_get("problem")?,
            given_up: found.try_get("given_up")?,
        })
    };
    rows.iter().map(read).collect()
}
