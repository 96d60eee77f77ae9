//! Loads and stores the queue: what waits, what runs, and who had a turn when. `core::rules::queue` decides whose job
//! is next.
//!
//! Loading takes time in proportion to the number of lanes with waiting jobs, however many jobs wait in each.

pub(crate) mod approvals;
pub(crate) mod graph;
pub mod handing_on;
pub(crate) mod snapshot;
pub(crate) mod transition;

use std::collections::BTreeMap;

use longshore_core::{
    JobId, Lane, RepoId,
    rules::queue::{Queue, Taker, Waiting},
};
use sqlx::{Row as _, SqliteConnection};

use crate::{StoreError, WriteTx, row};

/// Loads the queue: the first waiting job of each lane, what runs, and the turns of the lanes that wait.
pub(crate) async fn load(conn: &mut SqliteConnection) -> Result<Queue, StoreError> {
    let waiting = first_waiting(conn).await?;
    if waiting.is_empty() {
        return Ok(Queue::default());
    }
    let running = sqlx::query("SELECT lane FROM jobs WHERE finished_at IS NULL AND status IN ('running', 'canceling')");
    let running = running.fetch_all(&mut *conn).await?;
    let running = running.iter().map(|row| row::parsed(row, "lane")).collect::<Result<Vec<Lane>, _>>()?;
    let turns = turns(conn, &waiting).await?;
    Ok(Queue { waiting, running, turns })
}

/// Returns the first waiting job of each lane.
pub(crate) async fn first_waiting(conn: &mut SqliteConnection) -> Result<Vec<Waiting>, StoreError> {
    // Goes from lane to lane through the index: a flood in one lane is skipped in one step.
    let rows = sqlx::query(
        "WITH RECURSIVE lanes (lane) AS (
             SELECT min(lane) FROM jobs INDEXED BY jobs_queued WHERE finished_at IS NULL AND status = 'queued'
             UNION ALL
             SELECT (SELECT min(lane) FROM jobs INDEXED BY jobs_queued
                     WHERE finished_at IS NULL AND status = 'queued' AND lane > lanes.lane)
             FROM lanes WHERE lanes.lane IS NOT NULL
         )
         SELECT jobs.id, jobs.lane, jobs.seq FROM lanes JOIN jobs
             ON jobs.seq = (SELECT min(seq) FROM jobs INDEXED BY jobs_queued
                            WHERE finished_at IS NULL AND status = 'queued' AND lane = lanes.lane)
         WHERE lanes.lane IS NOT NULL",
    )
    .fetch_all(conn)
    .await?;
    let read =
        |row| Ok(Waiting { job: row::parsed(row, "id")?, lane: row::parsed(row, "lane")?, order: row.try_get("seq")? });
    rows.iter().map(read).collect()
}

async fn turns(conn: &mut SqliteConnection, waiting: &[Waiting]) -> Result<BTreeMap<Taker, u64>, StoreError> {
    let takers: Vec<Taker> = waiting.iter().flat_map(|waiting| waiting.lane.takers()).collect();
    let keys: Vec<(RepoId, String)> = takers.iter().copied().map(key).collect();
    let rows = sqlx::query(
        "SELECT asked.key AS at, turns.turn FROM json_each(?) AS asked
         JOIN turns ON turns.repo = asked.value ->> 0 AND turns.taker = asked.value ->> 1",
    )
    .bind(row::to_json(&keys)?)
    .fetch_all(conn)
    .await?;
    let mut turns = BTreeMap::new();
    for row in &rows {
        let at: usize = row::unsigned(row, "at")?;
        if let Some(taker) = takers.get(at) {
            turns.insert(*taker, row::unsigned(row, "turn")?);
        }
    }
    Ok(turns)
}

/// Notes that a job was claimed: its lane, and whom the lane belongs to, have had their turn.
pub(crate) async fn had_turn(tx: &mut WriteTx, job: JobId) -> Result<(), StoreError> {
    let found = sqlx::query("SELECT lane FROM jobs WHERE id = ?").bind(job.to_string()).fetch_one(tx.conn()).await?;
    let lane: Lane = row::parsed(&found, "lane")?;
    let turn: i64 = sqlx::query_scalar("SELECT coalesce(max(turn), 0) + 1 FROM turns").fetch_one(tx.conn()).await?;
    for (repo, taker) in lane.takers().map(key) {
        sqlx::query(
            "INSERT INTO turns (repo, taker, turn) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET turn = excluded.turn",
        )
        .bind(repo.to_string())
        .bind(taker)
        .bind(turn)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

/// Forgets the turns of a lane that gets no more jobs for now.
pub(crate) async fn forget_lane(tx: &mut WriteTx, lane: Lane) -> Result<(), StoreError> {
    let (repo, taker) = key(Taker::Lane(lane));
    sqlx::query("DELETE FROM turns WHERE repo = ? AND taker = ?")
        .bind(repo.to_string())
        .bind(taker)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns the key of a taker's row.
fn key(taker: Taker) -> (RepoId, String) {
    match taker {
        Taker::Repo(repo) => (repo, "repository".to_owned()),
        Taker::Own(repo) => (repo, "own".to_owned()),
        Taker::Strangers(repo) => (repo, "strangers".to_owned()),
        Taker::Lane(Lane { repo, stranger: None }) => (repo, "lane".to_owned()),
        Taker::Lane(Lane { repo, stranger: Some(number) }) => (repo, format!("lane {number}")),
    }
}
