//! Services that projects use, with the clients that they use: PostgreSQL and Redis of Debian, in images that start as
//! the public ones do, asked by Python and by Node.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use support::{
    api::text,
    world::{World, job},
};

const PIPELINE: &str = r#"
jobs:
  python:
    image: longshore-test/clients
    services:
      postgres:
        image: longshore-test/postgres
        env: { POSTGRES_HOST_AUTH_METHOD: trust, POSTGRES_DB: app }
        ready: { exec: pg_isready -h localhost, timeout: 5m }
    steps:
      - run: |
          cat > ask.py <<'END'
          import psycopg
          for host in ("postgres", "localhost"):
              with psycopg.connect(host=host, user="postgres", dbname="app") as connection:
                  connection.execute("create table if not exists seen (host text)")
                  connection.execute("insert into seen values (%s)", (host,))
                  print(connection.execute("select host from seen order by 1").fetchall(), flush=True)
          END
          python3 ask.py
  node:
    image: longshore-test/clients
    services:
      redis: longshore-test/redis
      db:
        image: longshore-test/postgres
        env: { POSTGRES_PASSWORD: 'a password' }
        ready: { exec: pg_isready -h localhost, timeout: 5m }
    steps:
      - run: |
          cat > ask.js <<'END'
          const Redis = require("ioredis");
          (async () => {
            for (const host of ["redis", "localhost"]) {
              const redis = new Redis({ host });
              console.log(host, await redis.incr("asked"));
              redis.disconnect();
            }
          })();
          END
          node ask.js
      - run: psql -h db -U postgres -tAc "select 'as ' || current_user"
        env: { PGPASSWORD: 'a password' }
      # As in the public image, the first word may be another program.
      - image: longshore-test/redis
        command: [redis-cli, -h, redis, get, asked]
  wrong:
    image: longshore-test/clients
    services: { postgres: longshore-test/postgres }
    steps: [{ run: 'true' }]
"#;

#[test]
fn postgresql_and_redis_are_reached_by_name_and_at_localhost_by_the_clients_that_projects_use() {
    let world = World::start();
    let build = world.run(PIPELINE);
    let log = |name: &str| {
        let job = job(&build, name);
        let raw = world.api().raw_log(&text(job, "id"));
        (text(job, "status"), String::from_utf8_lossy(&raw).into_owned())
    };
    let (status, python) = log("python");
    assert_eq!(status, "success", "{python}");
    assert!(python.contains("[('postgres',)]\n[('localhost',), ('postgres',)]\n"), "{python}");
    let (status, node) = log("node");
    assert_eq!(status, "success", "{node}");
    assert!(node.contains("redis 1\nlocalhost 2\n") && node.contains("as postgres\n"), "{node}");
    assert!(node.ends_with("2\n") || node.contains("\n2\n"), "{node}");
    let services = job(&build, "node")["services"].as_array().unwrap();
    assert!(services.iter().all(|service| service["ready_at"].is_string()), "{services:?}");
    // A service that says what it lacks fails its job with its own words.
    let wrong = job(&build, "wrong");
    let reason = text(wrong, "reason");
    assert!(reason.contains("`postgres` exited with code 1: set POSTGRES_PASSWORD"), "{reason}");
    world.nothing_is_left();
}
