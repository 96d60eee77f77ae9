-- Tokens for a list of repositories: JSON of their ids; NULL for all.
ALTER TABLE tokens ADD COLUMN repos TEXT;

-- A session, and the link that opens one, have the rights of their token's row; without a token they are the administrator's.
ALTER TABLE sign_in_links DROP COLUMN scope;
ALTER TABLE sessions DROP COLUMN scope;

-- What people did with a build or a job of it, and who they were. A build that an event or a schedule started has no row for that:
-- the event says it.
CREATE TABLE acts (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    build TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    -- Where it was done with one job alone.
    job   TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    act   TEXT NOT NULL CHECK (act IN ('started', 'canceled', 'rerun', 'approved', 'declined')),
    at    INTEGER NOT NULL,
    name  TEXT NOT NULL,
    via   TEXT NOT NULL,
    -- No reference: tokens end, what was done with them stays.
    token TEXT,
    -- The build that a rerun made. No reference: it may be gone before the first.
    made  TEXT
) STRICT;
CREATE INDEX acts_of_build ON acts (build);
CREATE INDEX acts_of_job ON acts (job) WHERE job IS NOT NULL;

-- Until now only the name of whoever approved was kept, beside the job.
INSERT INTO acts (build, job, act, at, name, via)
SELECT build, id, 'approved', coalesce(approved_at, finished_at, 0), approved_by, 'token' FROM jobs WHERE approved_by IS NOT NULL;
