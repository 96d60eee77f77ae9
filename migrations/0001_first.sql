-- Ids are version 7 UUIDs as text, times are milliseconds since 1970, statuses are their words.
-- `seq` is the order of creation and what keyset pages go by: an id's own time follows the clock, and clocks jump.

CREATE TABLE settings (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE repos (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL UNIQUE,
    forge          TEXT NOT NULL,
    clone_url      TEXT NOT NULL,
    hook_secret    TEXT NOT NULL,
    public         INTEGER NOT NULL DEFAULT 0 CHECK (public IN (0, 1)),
    default_branch TEXT,
    -- The number the next build gets; raised in the transaction that creates the build, so there are no gaps.
    next_number    INTEGER NOT NULL DEFAULT 1,
    created_at     INTEGER NOT NULL
) STRICT;

-- The durable inbox: one row a webhook delivery, written before the forge gets its 202.
CREATE TABLE deliveries (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    repo         TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    delivery_key TEXT NOT NULL,
    event        TEXT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('pending', 'done', 'ignored', 'failed')),
    reason       TEXT,
    attempts     INTEGER NOT NULL DEFAULT 0,
    received_at  INTEGER NOT NULL,
    next_try_at  INTEGER NOT NULL,
    finished_at  INTEGER,
    headers      TEXT NOT NULL,
    body         BLOB NOT NULL,
    UNIQUE (repo, delivery_key)
) STRICT;
CREATE INDEX deliveries_of_repo ON deliveries (repo);
CREATE INDEX deliveries_pending ON deliveries (next_try_at) WHERE status = 'pending';

CREATE TABLE builds (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    repo        TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    status      TEXT NOT NULL,
    reason      TEXT,
    event       TEXT NOT NULL,
    branch      TEXT,
    commit_id   TEXT NOT NULL,
    delivery    TEXT REFERENCES deliveries (id) ON DELETE SET NULL,
    rerun_of    TEXT REFERENCES builds (id) ON DELETE SET NULL,
    created_at  INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    plan_version INTEGER NOT NULL,
    event_json  TEXT NOT NULL,
    diagnostics TEXT NOT NULL,
    UNIQUE (repo, number)
) STRICT;
-- Every index ends in the row's seq by itself: filters and keyset pages in one.
CREATE INDEX builds_of_repo ON builds (repo);
CREATE INDEX builds_by_status ON builds (status);
CREATE INDEX builds_of_repo_by_status ON builds (repo, status);
CREATE INDEX builds_of_repo_by_branch ON builds (repo, branch);
CREATE INDEX builds_of_repo_by_branch_and_status ON builds (repo, branch, status);
CREATE INDEX builds_of_repo_by_event ON builds (repo, event);
CREATE INDEX builds_by_branch ON builds (branch);
CREATE INDEX builds_by_event ON builds (event);
CREATE INDEX builds_by_commit ON builds (commit_id);
CREATE INDEX builds_of_delivery ON builds (delivery) WHERE delivery IS NOT NULL;
CREATE INDEX builds_rerun_of ON builds (rerun_of) WHERE rerun_of IS NOT NULL;

CREATE TABLE jobs (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    build        TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    key          TEXT NOT NULL,
    name         TEXT NOT NULL,
    pipeline     TEXT NOT NULL,
    matrix       TEXT NOT NULL,
    status       TEXT NOT NULL,
    reason       TEXT,
    exit_code    INTEGER,
    -- 0 until it is claimed; every claim raises it. It fences off whoever speaks for an older attempt.
    attempt      INTEGER NOT NULL DEFAULT 0,
    claimed_at   INTEGER,
    started_at   INTEGER,
    finished_at  INTEGER,
    carried_over TEXT,
    log_bytes    INTEGER NOT NULL DEFAULT 0,
    -- What the executor needs to find its attempt again on the daemon: written before the engine is called.
    engine_facts TEXT,
    plan         TEXT NOT NULL,
    UNIQUE (build, position),
    UNIQUE (build, key)
) STRICT;
-- Every final job has its finished_at; the queue and the boot look only at the others.
CREATE INDEX jobs_unfinished ON jobs (status) WHERE finished_at IS NULL;

CREATE TABLE job_needs (
    job  TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    need TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (job, need)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_needs_by_need ON job_needs (need);

CREATE TABLE steps (
    job               TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position          INTEGER NOT NULL,
    name              TEXT NOT NULL,
    status            TEXT NOT NULL,
    exit_code         INTEGER,
    signal            INTEGER,
    started_at        INTEGER,
    finished_at       INTEGER,
    wall_ms           INTEGER,
    cpu_ms            INTEGER,
    peak_memory_bytes INTEGER,
    out_of_memory     INTEGER NOT NULL DEFAULT 0 CHECK (out_of_memory IN (0, 1)),
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    expires_at   INTEGER
) STRICT;

-- What changed, newest 10,000: live views resume here after a cut or a restart. No references: a deletion is a change too.
CREATE TABLE changes (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    kind   TEXT NOT NULL,
    repo   TEXT,
    build  TEXT,
    job    TEXT,
    at     INTEGER NOT NULL
) STRICT;
