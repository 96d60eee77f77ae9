//! The outbox of notifications: the messages about builds and anomalies that people have to get, and those that they
//! got.
//!
//! `transition` and `builds` write it in the transaction that changes a build, `anomalies` in the one that notes an
//! anomaly: after a kill it is as complete as they are. Each place gets its messages in the order of the rows.
//! [`longshore_core::notification`] decides what makes a message; the outbox decides whether it still holds, and in
//! which words.

use longshore_core::{
    BuildId, Event, NoticeId, NotificationEvent, NotificationId, RepoId, Status, Timestamp,
    commit_status::JobOfContext,
    notification::{Health, MAX_OF_STRANGERS, PAUSE_OF_STRANGERS_MS, health, is_fixed, tells_ends},
    rules::{
        approvals::question_in,
        build::{JobOfBuild, standing},
    },
    stranger,
};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use crate::{Store, StoreError, WriteTx, row};

/// How many builds before a successful one are searched for one that shows whether the pipeline was broken.
const LOOKED_BACK: i64 = 50;

/// The next message to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub id: NoticeId,
    pub notification: NotificationId,
    /// Whose place it is: a repository's, or the server's.
    pub repo: Option<RepoId>,
    pub try_at: Timestamp,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Build(BuildId),
    /// An anomaly, by its number.
    Anomaly(i64),
}

/// A message that was not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsentNotice {
    pub id: NoticeId,
    pub notification: NotificationId,
    pub topic: Topic,
    pub event: NotificationEvent,
    /// The pipelines that are fixed, or the jobs that waited when it was written.
    pub about: Vec<String>,
    pub owed_since: Timestamp,
    pub attempts: u32,
}

/// A message that has not arrived, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// The name of the place, and whether it is the server's.
    pub name: String,
    pub of_server: bool,
    pub event: NotificationEvent,
    pub owed_since: Timestamp,
    pub problem: Option<String>,
    pub given_up: bool,
}

/// Writes the messages about a build that has just ended.
pub(crate) async fn note_end(
    tx: &mut WriteTx,
    build: BuildId,
    jobs: &[JobOfContext],
    now: Timestamp,
) -> Result<(), StoreError> {
    let found = sqlx::query("SELECT repo, seq, branch, event_json FROM builds WHERE id = ?").bind(build.to_string());
    let found = found.fetch_one(tx.conn()).await?;
    let repo: RepoId = row::parsed(&found, "repo")?;
    let failures = recipients(tx, Some(repo), NotificationEvent::Failure).await?;
    let fixes = recipients(tx, Some(repo), NotificationEvent::Fixed).await?;
    if (failures.is_empty() && fixes.is_empty()) || !tells_ends(&row::json(&found, "event_json")?) {
        return Ok(());
    }
    let pipelines = healths(jobs);
    if jobs.is_empty() || pipelines.iter().any(|(_, health)| *health == Health::Fails) {
        for place in failures {
            insert(tx, place, Topic::Build(build), NotificationEvent::Failure, &[], None, now).await?;
        }
    }
    let Some(branch) = found.try_get::<Option<String>, _>("branch")?.filter(|_| !fixes.is_empty()) else {
        return Ok(());
    };
    let mut fixed: Vec<String> = Vec::new();
    for (pipeline, _) in pipelines.into_iter().filter(|(_, health)| *health == Health::Works) {
        if was_broken(tx, repo, found.try_get("seq")?, &branch, &pipeline).await? {
            fixed.push(pipeline);
        }
    }
    if !fixed.is_empty() {
        for place in fixes {
            insert(tx, place, Topic::Build(build), NotificationEvent::Fixed, &fixed, None, now).await?;
        }
    }
    Ok(())
}

/// Writes which jobs of a build have begun to wait for an approval.
pub(crate) async fn note_approvals(
    tx: &mut WriteTx,
    build: BuildId,
    jobs: &[JobOfContext],
    now: Timestamp,
) -> Result<(), StoreError> {
    let asks = |job: &&JobOfContext| {
        job.status == Status::Blocked && job.reason.as_deref().is_some_and(|reason| question_in(reason).is_some())
    };
    let asking: Vec<String> = jobs.iter().filter(asks).map(|job| format!("{}/{}", job.pipeline, job.name)).collect();
    if asking.is_empty() {
        return Ok(());
    }
    let found = sqlx::query("SELECT repo, event_json FROM builds WHERE id = ?").bind(build.to_string());
    let found = found.fetch_one(tx.conn()).await?;
    let repo: RepoId = row::parsed(&found, "repo")?;
    let places = recipients(tx, Some(repo), NotificationEvent::Approval).await?;
    if places.is_empty() {
        return Ok(());
    }
    let pull_request = stranger::pull_request(&row::json::<Event>(&found, "event_json")?);
    for place in places {
        let noticed: Vec<String> =
            sqlx::query_scalar("SELECT about FROM notices WHERE notification = ? AND build = ? AND event = 'approval'")
                .bind(place.to_string())
                .bind(build.to_string())
                .fetch_all(tx.conn())
                .await?;
        let noticed: Vec<String> =
            noticed.iter().flat_map(|about| serde_json::from_str::<Vec<String>>(about).unwrap_or_default()).collect();
        let new: Vec<String> = asking.iter().filter(|job| !noticed.contains(job)).cloned().collect();
        if new.is_empty() {
            continue;
        }
        if let Some(number) = pull_request
            && !stranger_may_be_told_of(tx, place, repo, build, number, &new, now).await?
        {
            continue;
        }
        insert(tx, place, Topic::Build(build), NotificationEvent::Approval, &new, pull_request, now).await?;
    }
    Ok(())
}

/// Writes the messages about an anomaly, which may concern a repository.
pub(crate) async fn note_anomaly(
    tx: &mut WriteTx,
    anomaly: i64,
    repo: Option<RepoId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for place in recipients(tx, repo, NotificationEvent::Anomaly).await? {
        insert(tx, place, Topic::Anomaly(anomaly), NotificationEvent::Anomaly, &[], None, now).await?;
    }
    Ok(())
}

/// Returns whether a stranger's pull request gets a message of its own. A message that is still owed is changed to be
/// about the newest build.
async fn stranger_may_be_told_of(
    tx: &mut WriteTx,
    place: NotificationId,
    repo: RepoId,
    build: BuildId,
    number: u64,
    jobs: &[String],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let moved = sqlx::query(
        "UPDATE notices SET build = ?1, about = ?2 WHERE notification = ?3 AND pull_request = ?4 AND told_at IS NULL AND given_up = 0
            AND (SELECT repo FROM builds WHERE id = notices.build) = ?5",
    )
    .bind(build.to_string())
    .bind(row::to_json(&jobs)?)
    .bind(place.to_string())
    .bind(row::signed(number))
    .bind(repo.to_string())
    .execute(tx.conn())
    .await?;
    if moved.rows_affected() > 0 {
        return Ok(false);
    }
    let since = now.as_millis().saturating_sub_unsigned(PAUSE_OF_STRANGERS_MS);
    let (of_all, of_this): (i64, i64) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(n.pull_request = ?1), 0) FROM notices AS n JOIN builds AS b ON b.id = n.build
         WHERE n.notification = ?2 AND n.pull_request IS NOT NULL AND n.owed_since > ?3 AND b.repo = ?4
           -- Dropped ones, which nobody has got, have no problem.
           AND NOT (n.given_up = 1 AND n.problem IS NULL)",
    )
    .bind(row::signed(number))
    .bind(place.to_string())
    .bind(since)
    .bind(repo.to_string())
    .fetch_one(tx.conn())
    .await?;
    Ok(of_this == 0 && of_all < MAX_OF_STRANGERS)
}

/// Returns the places that get this message: the repository's and the server's.
async fn recipients(
    tx: &mut WriteTx,
    repo: Option<RepoId>,
    event: NotificationEvent,
) -> Result<Vec<NotificationId>, StoreError> {
    let rows = sqlx::query(
        "SELECT id FROM notifications WHERE (repo IS NULL OR repo = ?) AND EXISTS (SELECT 1 FROM json_each(events) WHERE value = ?)
         ORDER BY id",
    )
    .bind(repo.map(|repo| repo.to_string()))
    .bind(event.as_str())
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|found| row::parsed(found, "id")).collect()
}

async fn insert(
    tx: &mut WriteTx,
    place: NotificationId,
    topic: Topic,
    event: NotificationEvent,
    about: &[String],
    pull_request: Option<u64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (build, anomaly) = match topic {
        Topic::Build(build) => (Some(build.to_string()), None),
        Topic::Anomaly(anomaly) => (None, Some(anomaly)),
    };
    sqlx::query(
        "INSERT INTO notices (id, notification, build, anomaly, event, about, pull_request, owed_since, try_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
    )
    .bind(NoticeId::new().to_string())
    .bind(place.to_string())
    .bind(build)
    .bind(anomaly)
    .bind(event.as_str())
    .bind(row::to_json(&about)?)
    .bind(pull_request.map(row::signed))
    .bind(now.as_millis())
    .execute(tx.conn())
    .await?;
    tx.note_notices();
    Ok(())
}

/// Returns the pipelines of a build, each with its result.
fn healths(jobs: &[JobOfContext]) -> Vec<(String, Health)> {
    let mut pipelines: Vec<&str> = Vec::new();
    for job in jobs {
        if !pipelines.contains(&job.pipeline.as_str()) {
            pipelines.push(&job.pipeline);
        }
    }
    let result_of = |pipeline: &str| {
        let jobs: Vec<JobOfBuild> = jobs
            .iter()
            .filter(|job| job.pipeline == pipeline)
            .map(|job| JobOfBuild {
                name: job.name.clone(),
                status: job.status,
                reason: job.reason.clone(),
                continue_on_error: job.continue_on_error,
            })
            .collect();
        health(standing(&jobs).status)
    };
    pipelines.iter().map(|pipeline| ((*pipeline).to_owned(), result_of(pipeline))).collect()
}

/// Returns whether the builds of a branch before this one end in one where the pipeline failed.
async fn was_broken(
    tx: &mut WriteTx,
    repo: RepoId,
    seq: i64,
    branch: &str,
    pipeline: &str,
) -> Result<bool, StoreError> {
    let before: Vec<(String, String)> = sqlx::query_as(
        "SELECT id, status FROM builds WHERE repo = ? AND branch = ? AND seq < ? AND finished_at IS NOT NULL AND pull_request IS NULL
         ORDER BY seq DESC LIMIT ?",
    )
    .bind(repo.to_string())
    .bind(branch)
    .bind(seq)
    .bind(LOOKED_BACK)
    .fetch_all(tx.conn())
    .await?;
    for (build, status) in before {
        let rows = sqlx::query("SELECT pipeline, name, status, reason, continue_on_error FROM jobs WHERE build = ?");
        let rows = rows.bind(&build).fetch_all(tx.conn()).await?;
        let jobs = rows.iter().map(job_of_context).collect::<Result<Vec<_>, _>>()?;
        let result = match jobs.is_empty() {
            // Its files had errors: no pipeline of it works.
            true => status.parse::<Status>().map_or(Health::Unknown, health),
            false => healths(&jobs)
                .into_iter()
                .find(|(name, _)| name == pipeline)
                .map_or(Health::Unknown, |(_, health)| health),
        };
        if result != Health::Unknown {
            return Ok(is_fixed([result]));
        }
    }
    Ok(false)
}

/// Reads a job as its contexts see it.
pub(crate) fn job_of_context(found: &SqliteRow) -> Result<JobOfContext, StoreError> {
    Ok(JobOfContext {
        pipeline: found.try_get("pipeline")?,
        name: found.try_get("name")?,
        status: row::parsed(found, "status")?,
        reason: found.try_get("reason")?,
        continue_on_error: found.try_get("continue_on_error")?,
    })
}

/// Returns the next message to each place, and of those that were overtaken there the one that is due next, the longest
/// due first: at most `of_each` of each repository's places, and none to those in `but_for`.
pub async fn due(store: &Store, but_for: &[NotificationId], of_each: u32) -> Result<Vec<Due>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT * FROM (
            SELECT m.id, m.notification, n.repo, m.try_at, m.seq,
                   row_number() OVER (PARTITION BY n.repo ORDER BY m.try_at, m.seq) AS place
            FROM notices AS m JOIN notifications AS n ON n.id = m.notification WHERE m.seq IN
                (SELECT min(seq) FROM notices WHERE told_at IS NULL AND given_up = 0 AND overtaken = 0 GROUP BY notification
                 UNION ALL SELECT seq FROM
                    (SELECT seq, min(try_at) FROM notices WHERE told_at IS NULL AND given_up = 0 AND overtaken = 1 GROUP BY notification))",
    );
    if !but_for.is_empty() {
        query.push(" AND m.notification NOT IN (");
        let mut list = query.separated(", ");
        for id in but_for {
            list.push_bind(id.to_string());
        }
        query.push(")");
    }
    query.push(") WHERE place <= ").push_bind(of_each).push(" ORDER BY try_at, seq");
    let read = |found: &SqliteRow| {
        Ok(Due {
            id: row::parsed(found, "id")?,
            notification: row::parsed(found, "notification")?,
            repo: row::parsed_opt(found, "repo")?,
            try_at: row::time(found, "try_at")?,
        })
    };
    query.build().fetch_all(store.readers()).await?.iter().map(read).collect()
}

/// Returns a message, unless it was delivered.
pub async fn unsent(store: &Store, id: NoticeId) -> Result<Option<UnsentNotice>, StoreError> {
    let found = sqlx::query("SELECT * FROM notices WHERE id = ? AND told_at IS NULL AND given_up = 0");
    let found = found.bind(id.to_string()).fetch_optional(store.readers()).await?;
    let read = |found: &SqliteRow| {
        let event: String = found.try_get("event")?;
        let topic = match row::parsed_opt(found, "build")? {
            Some(build) => Topic::Build(build),
            None => Topic::Anomaly(found.try_get("anomaly")?),
        };
        Ok(UnsentNotice {
            id,
            notification: row::parsed(found, "notification")?,
            topic,
            event: event.parse().map_err(|error| StoreError::Corrupt(format!("column `event`: {error}")))?,
            about: row::json(found, "about")?,
            owed_since: row::time(found, "owed_since")?,
            attempts: row::unsigned(found, "attempts")?,
        })
    };
    found.as_ref().map(read).transpose()
}

/// Notes that a message has arrived.
pub async fn mark_sent(tx: &mut WriteTx, id: NoticeId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE notices SET told_at = ?, problem = NULL WHERE id = ?")
        .bind(now.as_millis())
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Drops a message that is no longer true, or not for its place.
pub async fn drop_one(tx: &mut WriteTx, id: NoticeId) -> Result<(), StoreError> {
    sqlx::query("UPDATE notices SET given_up = 1, problem = NULL WHERE id = ?")
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Notes that a message did not arrive. Without a time for the next try it is given up; one that is `overtaken` holds
/// up no other.
pub async fn failed(
    tx: &mut WriteTx,
    id: NoticeId,
    problem: &str,
    try_at: Option<Timestamp>,
    overtaken: bool,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE notices SET attempts = attempts + 1, problem = ?, try_at = coalesce(?, try_at), given_up = ?,
                overtaken = max(overtaken, ?) WHERE id = ?",
    )
    .bind(problem)
    .bind(try_at.map(Timestamp::as_millis))
    .bind(try_at.is_none())
    .bind(overtaken)
    .bind(id.to_string())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Returns the messages about a build that have been owed since before that time, or were given up.
pub async fn late(store: &Store, build: BuildId, before: Timestamp) -> Result<Vec<Late>, StoreError> {
    let rows = sqlx::query(
        "SELECT n.*, p.name, p.repo IS NULL AS of_server FROM notices AS n JOIN notifications AS p ON p.id = n.notification
         WHERE n.build = ? AND n.told_at IS NULL AND ((n.owed_since < ? AND n.given_up = 0) OR (n.given_up = 1 AND n.problem IS NOT NULL))
         ORDER BY n.seq",
    )
    .bind(build.to_string())
    .bind(before.as_millis())
    .fetch_all(store.readers())
    .await?;
    let read = |found: &SqliteRow| {
        let event: String = found.try_get("event")?;
        Ok(Late {
            name: found.try_get("name")?,
            of_server: found.try_get("of_server")?,
            event: event.parse().map_err(|error| StoreError::Corrupt(format!("column `event`: {error}")))?,
            owed_since: row::time(found, "owed_since")?,
            problem: found.try_get("problem")?,
            given_up: found.try_get("given_up")?,
        })
    };
    rows.iter().map(read).collect()
}
