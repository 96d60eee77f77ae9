-- What the pipelines of a repository's default branch have under `schedule`; entries that say the same are one row and one build.
-- The table of 0005 was never written to.
DROP TABLE schedules;

CREATE TABLE schedules (
    repo      TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    cron      TEXT NOT NULL,
    timezone  TEXT NOT NULL,
    branch    TEXT NOT NULL,
    -- JSON: the pipelines' names.
    pipelines TEXT NOT NULL,
    -- Moves on in the transaction that makes the build: no time makes two, and those that were slept through make one.
    next_at   INTEGER NOT NULL,
    -- How often the time that is due could not be carried out, and when that is tried again.
    attempts  INTEGER NOT NULL DEFAULT 0,
    try_at    INTEGER NOT NULL,
    -- What became of the last time.
    last_due_at INTEGER,
    last_build  TEXT REFERENCES builds (id) ON DELETE SET NULL,
    reason      TEXT,
    PRIMARY KEY (repo, cron, timezone, branch)
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_by_try ON schedules (try_at);
CREATE INDEX schedules_by_last_build ON schedules (last_build) WHERE last_build IS NOT NULL;
