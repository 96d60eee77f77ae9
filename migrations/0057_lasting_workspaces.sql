-- Workspaces that outlive their builds: of green jobs whose success may stand for a later job on whose workspace another begins.
CREATE TABLE lasting_workspaces (
    -- The job and the attempt that left it. The job's build may be gone.
    job     TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    -- The job's name, for people.
    name    TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;

-- Jobs that are about to take over the success of the job that left it. It stays until they are over.
CREATE TABLE workspace_claims (
    claimed_by TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    job        TEXT NOT NULL,
    attempt    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
