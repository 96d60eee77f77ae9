-- What running the whole language takes.

-- JSON of what the job gave to those that need it.
ALTER TABLE jobs ADD COLUMN outputs TEXT;
-- Its needs are over, its `if` holds, it is approved: what may still keep it is a group or its matrix.
ALTER TABLE jobs ADD COLUMN ready INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN approved_by TEXT;
ALTER TABLE jobs ADD COLUMN approved_at INTEGER;
-- Of the builds of a repository, the oldest that has unfinished jobs of a group has it.
ALTER TABLE jobs ADD COLUMN concurrency_group TEXT;
ALTER TABLE jobs ADD COLUMN continue_on_error INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_unfinished_of_group ON jobs (concurrency_group) WHERE finished_at IS NULL AND concurrency_group IS NOT NULL;

-- Markdown that the step wrote.
ALTER TABLE steps ADD COLUMN summary TEXT;

-- Tries of a job that are over, where it was tried again.
CREATE TABLE job_attempts (
    job         TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    status      TEXT NOT NULL,
    reason      TEXT,
    exit_code   INTEGER,
    claimed_at  INTEGER,
    started_at  INTEGER,
    finished_at INTEGER NOT NULL,
    log_bytes   INTEGER NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;

-- When a pipeline is due. `next_at` moves on in the transaction that makes the build: a time that was slept through is made up
-- for once.
CREATE TABLE schedules (
    repo      TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    pipeline  TEXT NOT NULL,
    cron      TEXT NOT NULL,
    timezone  TEXT NOT NULL,
    branch    TEXT NOT NULL,
    next_at   INTEGER NOT NULL,
    PRIMARY KEY (repo, pipeline, cron, timezone, branch)
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (next_at);
