//! The one place that writes statuses. `core::rules` decide what an event changes. This module writes their changes by
//! compare-and-set, and in the same transaction the builds whose status or reason changes with them.
//!
//! Called by the dispatcher, which also passes on cancels. Decides nothing by itself.

use longshore_core::{
    BuildId, JobId, JobPlan, Outcome, RepoId, Status, Timestamp,
    rules::{
        Agenda, Change, Decision, Move, QueueEvent,
        build::{JobOfBuild, standing},
        decide,
        state::JobEvent,
    },
};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::{
    ChangeKind, Conflict, Store, StoreError, WriteTx, attempts,
    builds::{self, Build},
    commit_statuses,
    jobs::{self, Job},
    notices, pull_request_comments, queue,
    repos::{self, Repo},
    row, snapshot, steps,
    write::NewChange,
};

/// The result of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The job changed from one status to another.
    Changed {
        job: JobId,
        build: BuildId,
        from: Status,
        to: Status,
        /// The build's status afterwards.
        build_status: Status,
        /// Jobs that changed as a consequence: to `queued` if nothing holds them back any more, to `skipped` if a need
        /// or their matrix failed, to `canceling` if their matrix failed and they ran.
        followed: Vec<(JobId, Status)>,
    },
    /// The event had happened before, came too late, or belonged to an older attempt.
    Unchanged { status: Status },
}

/// A job whose turn it is, with everything that running it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedJob {
    pub job: Job,
    pub build: Build,
    pub repo: Repo,
    pub plan: JobPlan,
    /// From 1. Every report about this attempt carries it.
    pub attempt: u32,
}

/// Applies `event` to a job. [`StoreError::NotFound`] if there is no such job.
///
/// For [`JobEvent::Ended`], the log's last record is appended before this is called, so that a reader who sees the
/// final status can read the whole log.
pub async fn apply(tx: &mut WriteTx, job: JobId, event: &JobEvent, now: Timestamp) -> Result<Applied, StoreError> {
    let effects = handle(tx, QueueEvent::Job { job, event: event.clone() }, now).await?;
    effects.applied_to(job)
}

/// Applies [`JobEvent::Ended`] for one attempt. The end of an older attempt changes nothing.
pub async fn end_attempt(
    tx: &mut WriteTx,
    job: JobId,
    attempt: u32,
    outcome: Outcome,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let effects = handle(tx, QueueEvent::AttemptEnded { job, attempt, outcome }, now).await?;
    effects.applied_to(job)
}

/// Claims the job whose turn it is. `None` if no job waits that may have a slot.
pub async fn claim_next(tx: &mut WriteTx, now: Timestamp) -> Result<Option<ClaimedJob>, StoreError> {
    let effects = handle(tx, QueueEvent::Slot, now).await?;
    let Some(id) = effects.moves.iter().find(|claimed| claimed.claimed).map(|claimed| claimed.job) else {
        return Ok(None);
    };
    let job = jobs::fetch(tx.conn(), id).await?.ok_or(StoreError::NotFound("job"))?;
    let claimed = with_surroundings(&tx.store().clone(), tx.conn(), job).await?;
    tx.note_attempt(id, claimed.attempt);
    Ok(Some(claimed))
}

/// Loads what else is needed to run a job.
pub(crate) async fn with_surroundings(
    store: &Store,
    conn: &mut SqliteConnection,
    job: Job,
) -> Result<ClaimedJob, StoreError> {
    let plan = jobs::fetch_plan(conn, job.id).await?.ok_or(StoreError::NotFound("job"))?;
    let build = builds::fetch(conn, job.build).await?.ok_or(StoreError::NotFound("build"))?;
    let repo = repos::fetch(store, conn, job.repo).await?.ok_or(StoreError::NotFound("repository"))?;
    let attempt = job.attempt;
    Ok(ClaimedJob { job, build, repo, plan, attempt })
}

/// Asks every job of a build to end: jobs that wait become `canceled`, jobs that run become `canceling`. Returns what
/// happened to each; empty if the build was over.
pub async fn cancel_build(tx: &mut WriteTx, build: BuildId, now: Timestamp) -> Result<Vec<Applied>, StoreError> {
    let effects = handle(tx, QueueEvent::BuildCanceled { build }, now).await?;
    let of_build = effects.moves.iter().filter(|change| change.build == build);
    let applied = of_build.map(|change| Applied::Changed {
        job: change.job,
        build,
        from: change.from,
        to: change.to,
        build_status: effects.build_status(build).unwrap_or(change.to),
        followed: Vec::new(),
    });
    Ok(applied.collect())
}

/// Decides again about every job that waits for more than its needs. Called when the server has started, because its
/// labels and limits may be other than before.
pub async fn recheck_waiting(tx: &mut WriteTx, now: Timestamp) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT builds.repo FROM jobs JOIN builds ON builds.id = jobs.build
         WHERE jobs.finished_at IS NULL AND jobs.status = 'blocked' AND jobs.ready = 1",
    );
    for found in &rows.fetch_all(tx.conn()).await? {
        handle(tx, QueueEvent::Room { repo: row::parsed(found, "repo")? }, now).await?;
    }
    Ok(())
}

/// The effects of an event and of all events that followed from it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// The statuses, before the event, of the jobs that the event itself was about.
    before: Vec<(JobId, Status)>,
    pub(crate) moves: Vec<Move>,
    /// Jobs that were approved, with their builds.
    pub(crate) approved: Vec<(BuildId, JobId)>,
    /// Builds that were touched, with their new status.
    builds: Vec<(RepoId, BuildId, Option<Status>)>,
}

impl Effects {
    /// Returns how many builds have jobs that were canceled or asked to end.
    pub(crate) fn stopped(&self) -> usize {
        let is_stopped = |id: BuildId| {
            self.moves.iter().any(|one| one.build == id && matches!(one.to, Status::Canceled | Status::Canceling))
        };
        self.builds.iter().filter(|(_, id, _)| is_stopped(*id)).count()
    }

    fn build_status(&self, build: BuildId) -> Option<Status> {
        self.builds.iter().find(|(_, id, _)| *id == build).and_then(|(_, _, status)| *status)
    }

    fn touch(&mut self, repo: RepoId, build: BuildId) {
        if !self.builds.iter().any(|(_, id, _)| *id == build) {
            self.builds.push((repo, build, None));
        }
    }

    /// Returns what the event did to the one job that it was about.
    fn applied_to(&self, job: JobId) -> Result<Applied, StoreError> {
        let Some((first, rest)) = self.moves.split_first().filter(|(first, _)| first.job == job) else {
            let before = self.before.iter().find(|(id, _)| *id == job).ok_or(StoreError::NotFound("job"))?;
            return Ok(Applied::Unchanged { status: before.1 });
        };
        let followed = rest.iter().filter(|one| one.to != Status::Blocked).map(|one| (one.job, one.to)).collect();
        Ok(Applied::Changed {
            job,
            build: first.build,
            from: first.from,
            to: first.to,
            build_status: self.build_status(first.build).unwrap_or(first.to),
            followed,
        })
    }
}

/// Handles an event and all events that follow from it. [`StoreError::Conflict`] if the rules refuse it.
pub(crate) async fn handle(tx: &mut WriteTx, event: QueueEvent, now: Timestamp) -> Result<Effects, StoreError> {
    let (mut agenda, mut effects) = (Agenda::new(event), Effects::default());
    let mut is_first = true;
    while let Some(event) = agenda.next_event() {
        let snapshot = snapshot::load(tx, &event).await?;
        if std::mem::take(&mut is_first) {
            effects.before = snapshot.jobs.iter().map(|job| (job.id, job.status)).collect();
        }
        let Decision { changes, follow } = decide(&snapshot, &event).map_err(Conflict::Refused)?;
        for change in changes {
            write(tx, change, &mut effects, now).await?;
        }
        agenda.add(follow);
    }
    for (repo, build, status) in &mut effects.builds {
        *status = Some(update_build(tx, *repo, *build, now).await?);
    }
    Ok(effects)
}

async fn write(tx: &mut WriteTx, change: Change, effects: &mut Effects, now: Timestamp) -> Result<(), StoreError> {
    match change {
        Change::Move(change) => {
            set_status(tx, &change, now).await?;
            effects.touch(change.repo, change.build);
            effects.moves.push(change);
            Ok(())
        }
        Change::Ready(job) => {
            sqlx::query("UPDATE jobs SET ready = 1 WHERE id = ?").bind(job.to_string()).execute(tx.conn()).await?;
            Ok(())
        }
        Change::Approved { job, repo, build } => {
            effects.touch(repo, build);
            effects.approved.push((build, job));
            Ok(())
        }
        Change::KeepAttempt { job, attempt, outcome } => attempts::keep(tx, job, attempt, &outcome, now).await,
        Change::BeginAgain(job) => attempts::begin_again(tx, job).await,
        Change::HadTurn(job) => queue::had_turn(tx, job).await,
    }
}

/// Writes a job's change of status, and everything that belongs to that change alone.
async fn set_status(tx: &mut WriteTx, change: &Move, now: Timestamp) -> Result<(), StoreError> {
    let log_bytes = match change.to.is_final() && change.attempt > 0 {
        true => tx.store().logs().len(change.job, change.attempt),
        false => 0,
    };
    let done = sqlx::query(
        // If the clock was set back, no job ends before it began.
        "UPDATE jobs SET status = ?, reason = ?, exit_code = ?, attempt = ?, log_bytes = ?,
                claimed_at = coalesce(?, claimed_at), finished_at = max(?, coalesce(started_at, claimed_at, 0))
         WHERE id = ? AND status = ?",
    )
    .bind(change.to.as_str())
    .bind(&change.reason)
    .bind(change.exit_code)
    .bind(change.attempt)
    .bind(row::signed(log_bytes))
    .bind(change.claimed.then_some(now.as_millis()))
    .bind(change.to.is_final().then_some(now.as_millis()))
    .bind(change.job.to_string())
    .bind(change.from.as_str())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() != 1 {
        return Err(Conflict::StatusChanged.into());
    }
    if change.to.is_final() {
        steps::end_all(tx, change.job, change.to, now).await?;
        tx.note_end(change.job);
    }
    let (repo, build, job) = (Some(change.repo), Some(change.build), Some(change.job));
    tx.note_change(NewChange { kind: ChangeKind::Job, repo, build, job });
    Ok(())
}

/// Writes a build's status and reason as they follow from its jobs. Returns the status.
pub(crate) async fn update_build(
    tx: &mut WriteTx,
    repo: RepoId,
    build: BuildId,
    now: Timestamp,
) -> Result<Status, StoreError> {
    let rows = sqlx::query(
        "SELECT pipeline, status, name, reason, continue_on_error FROM jobs WHERE build = ? ORDER BY position",
    )
    .bind(build.to_string())
    .fetch_all(tx.conn())
    .await?;
    let read = |row: &SqliteRow| {
        Ok(JobOfBuild {
            name: row.try_get("name")?,
            status: row::parsed(row, "status")?,
            reason: row.try_get("reason")?,
            continue_on_error: row.try_get("continue_on_error")?,
        })
    };
    let of_contexts = rows.iter().map(notices::job_of_context).collect::<Result<Vec<_>, StoreError>>()?;
    commit_statuses::note_build(tx, build, &of_contexts, now).await?;
    notices::note_approvals(tx, build, &of_contexts, now).await?;
    let stands = standing(&rows.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?);
    let done = sqlx::query(
        "UPDATE builds SET status = ?1, reason = ?2, started_at = coalesce(started_at, max(?3, created_at)),
                finished_at = max(?4, coalesce(started_at, created_at),
                                  (SELECT coalesce(max(finished_at), 0) FROM jobs WHERE build = builds.id AND carried_over IS NULL))
         WHERE id = ?5 AND finished_at IS NULL
           AND (status <> ?1 OR reason IS NOT ?2 OR (started_at IS NULL AND ?3 IS NOT NULL))",
    )
    .bind(stands.status.as_str())
    .bind(stands.reason)
    .bind(stands.runs.then_some(now.as_millis()))
    .bind(stands.status.is_final().then_some(now.as_millis()))
    .bind(build.to_string())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() > 0 {
        tx.note_change(NewChange { kind: ChangeKind::Build, repo: Some(repo), build: Some(build), job: None });
        if stands.status.is_final() {
            notices::note_end(tx, build, &of_contexts, now).await?;
            pull_request_comments::note_end(tx, build, stands.status, now).await?;
        }
    }
    Ok(stands.status)
}
