//! A store as it looks after years, for the bench (`tests/bench`): filled by the database itself, a prepared statement
//! and a transaction per batch. Only ever adds.
#![allow(unreachable_pub, reason = "the bench uses it too")]

use std::path::Path;

use longshore_core::{JobPlan, Record, RecordKind, Stream, Timestamp};
use longshore_store::{
    Store, StoreError, jobs,
    repos::{self, NewRepo},
};
use sqlx::{Connection as _, SqliteConnection};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Seed {
    pub repos: u32,
    pub builds: u32,
    pub jobs_per_build: u32,
    /// Lines of each large log; the newest build's jobs have one each.
    pub log_lines: u32,
}

/// Builds in one transaction.
const BATCH: u32 = 20_000;
/// Builds whose jobs have steps: older ones are only counted and listed.
const WITH_STEPS: u32 = 20_000;
/// From one build to the next.
const APART_MS: i64 = 60_000;

/// Fills the store of a data folder that nobody has open.
pub async fn fill(data_dir: &Path, seed: Seed) -> Result<(), StoreError> {
    let store = Store::open_ephemeral(data_dir).await?;
    let now = Timestamp::now().as_millis();
    let mut made = Vec::new();
    let mut tx = store.write().await?;
    for idx in 0..seed.repos {
        let new = NewRepo {
            name: format!("seed-{}/repo-{idx:03}", now / 1000),
            forge: "git".to_owned(),
            clone_url: "https://forge.example/seed.git".to_owned(),
            public: idx % 10 == 0,
            default_branch: Some("main".to_owned()),
        };
        made.push(repos::create(&mut tx, &new, Timestamp::from_millis(now)).await?.id);
    }
    tx.commit().await?;

    // A connection of its own, because nothing else is going on.
    let database = format!("sqlite://{}", data_dir.join("longshore.db").display());
    let mut conn = SqliteConnection::connect(&database).await?;
    for statement in [
        "CREATE TEMP TABLE seed_repos (idx INTEGER PRIMARY KEY, id TEXT NOT NULL)",
        // The setting belongs to this connection, which ends with the process.
        "PRAGMA cache_size = -200000",
    ] {
        sqlx::query(statement).execute(&mut conn).await?;
    }
    for (idx, id) in (0_u32..).zip(&made) {
        let insert = sqlx::query("INSERT INTO seed_repos (idx, id) VALUES (?, ?)").bind(idx).bind(id.to_string());
        insert.execute(&mut conn).await?;
    }
    sqlx::query("UPDATE repos SET next_number = ? WHERE id IN (SELECT id FROM seed_repos)")
        .bind(seed.builds / seed.repos.max(1) + 2)
        .execute(&mut conn)
        .await?;

    let plan = serde_json::to_string(&JobPlan::default()).expect("a plan is JSON");
    let mut from = 0;
    while from < seed.builds {
        let to = (from + BATCH).min(seed.builds);
        batch(&mut conn, &seed, &plan, from, to, now).await?;
        from = to;
    }
    // Pages are only as quick as the planner is well informed.
    sqlx::query("ANALYZE").execute(&mut conn).await?;
    large_logs(&store, &mut conn, seed.log_lines).await?;
    conn.close().await?;
    store.close().await;
    Ok(())
}

async fn batch(
    conn: &mut SqliteConnection,
    seed: &Seed,
    plan: &str,
    from: u32,
    to: u32,
    now: i64,
) -> Result<(), StoreError> {
    let mut tx = conn.begin().await?;
    sqlx::query(BUILDS)
        .bind(from)
        .bind(to)
        .bind(seed.repos.max(1))
        .bind(now - i64::from(seed.builds) * APART_MS)
        .bind(APART_MS)
        .execute(&mut *tx)
        .await?;
    sqlx::query(JOBS).bind(to - from).bind(seed.jobs_per_build).bind(plan).execute(&mut *tx).await?;
    sqlx::query(NEEDS).bind((to - from) * seed.jobs_per_build).execute(&mut *tx).await?;
    if to + WITH_STEPS > seed.builds {
        sqlx::query(STEPS).bind((to - from) * seed.jobs_per_build).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// ?1 and ?2: the first build and the one behind the last; ?3: repositories; ?4 and ?5: when the first was, and how far
/// apart.
const BUILDS: &str = r#"
WITH RECURSIVE numbers (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?2),
     facts AS (SELECT n, n % ?3 AS idx, ?4 + n * ?5 AS at, (n * 7919) % 100 AS dice,
                      CASE WHEN n % 5 < 3 THEN 'main' ELSE 'topic-' || (n % 500) END AS branch FROM numbers)
INSERT INTO builds (id, repo, number, status, reason, event, branch, commit_id, created_at, started_at, finished_at,
                    plan_version, event_json, diagnostics)
SELECT printf('%08x-%04x-7000-8000-%012x', at >> 16, at & 65535, n), seed_repos.id, n / ?3 + 1,
       CASE WHEN dice < 80 THEN 'success' WHEN dice < 92 THEN 'failure' WHEN dice < 95 THEN 'error'
            WHEN dice < 98 THEN 'canceled' ELSE 'timed-out' END,
       NULL, CASE n % 7 WHEN 0 THEN 'manual' ELSE 'push' END, branch, printf('%040x', n), at, at + 1000, at + 20000 + (n % 97) * 3000,
       2,
       json_object('name', CASE n % 7 WHEN 0 THEN 'manual' ELSE 'push' END, 'git_ref', 'refs/heads/' || branch,
                   'commit', printf('%040x', n), 'before', NULL, 'message', 'Change number ' || n || ' of many, said at some length',
                   'author', 'Author ' || (n % 40), 'author_email', 'author@example.org', 'sender', '', 'url', NULL,
                   'default_branch', 'main', 'inputs', json('{}')),
       '[]'
FROM facts JOIN seed_repos ON seed_repos.idx = facts.idx ORDER BY n
"#;

/// ?1: how many of the newest builds; ?2: jobs of each; ?3: the plan.
const JOBS: &str = r#"
WITH RECURSIVE places (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM places WHERE k + 1 < ?2),
     newest AS (SELECT * FROM builds ORDER BY seq DESC LIMIT ?1)
INSERT INTO jobs (id, build, position, key, name, pipeline, matrix, status, reason, exit_code, attempt, claimed_at, started_at,
                  finished_at, plan)
SELECT substr(b.id, 1, 19) || printf('9%03x', k) || substr(b.id, 24), b.id, k, 'ci/job-' || k, 'job-' || k, 'ci', '[]',
       CASE k WHEN 0 THEN b.status ELSE 'success' END,
       CASE WHEN k = 0 AND b.status = 'failure' THEN 'step `test` failed with exit code 1' END,
       CASE WHEN k = 0 AND b.status = 'failure' THEN 1 ELSE 0 END, 1, b.started_at, b.started_at + 200, b.finished_at - k * 500, ?3
FROM newest AS b JOIN places ORDER BY b.seq, k
"#;

/// Every job but a build's first needs that one. ?1: how many of the newest jobs.
const NEEDS: &str = "
INSERT INTO job_needs (job, need)
SELECT j.id, first.id FROM (SELECT id, build, position FROM jobs ORDER BY seq DESC LIMIT ?1) AS j
JOIN jobs AS first ON first.build = j.build AND first.position = 0 WHERE j.position > 0";

/// Four of each. ?1: how many of the newest jobs.
const STEPS: &str = "
INSERT INTO steps (job, position, name, status, exit_code, started_at, finished_at, wall_ms, cpu_ms, peak_memory_bytes)
SELECT j.id, p.column1, p.column2, CASE p.column1 WHEN 3 THEN j.status ELSE 'success' END, 0, j.started_at + p.column1 * 1000,
       j.started_at + p.column1 * 1000 + 900, 900, 400, 50000000
FROM (SELECT * FROM jobs ORDER BY seq DESC LIMIT ?1) AS j
JOIN (VALUES (0, 'checkout'), (1, 'deps'), (2, 'build'), (3, 'test')) AS p";

async fn large_logs(store: &Store, conn: &mut SqliteConnection, lines: u32) -> Result<(), StoreError> {
    let newest: Option<String> =
        sqlx::query_scalar("SELECT id FROM builds ORDER BY seq DESC LIMIT 1").fetch_optional(conn).await?;
    let Some(build) = newest.and_then(|id| id.parse().ok()) else { return Ok(()) };
    for job in jobs::of_build(store, build).await? {
        let mut log = store.logs().open_writer(job.id, job.attempt)?;
        let mut line = 0;
        while line < lines {
            let mut records = Vec::with_capacity(1000);
            for _ in 0..1000.min(lines - line) {
                line += 1;
                let text = format!("line {line} of {lines}: something was compiled, and something else was tested\n");
                records.push(Record {
                    seq: u64::from(line),
                    time: Timestamp::now(),
                    step: 2,
                    kind: RecordKind::Output(Stream::Stdout),
                    data: text.into_bytes().into(),
                });
            }
            log.append(&records)?;
        }
    }
    Ok(())
}
