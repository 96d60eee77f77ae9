-- Entries of caches. An entry is immutable under its key, except for a shared one, which is one folder that jobs write into. A row is
-- written when all volumes of the entry are complete, so no half entry is ever seen.
CREATE TABLE caches (
    id         TEXT PRIMARY KEY,
    repo       TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    key        TEXT NOT NULL,
    -- JSON: the paths as they are written in the pipeline. Only a cache with the same paths gets the entry.
    paths      TEXT NOT NULL,
    shared     INTEGER NOT NULL,
    -- JSON: for each path its volumes on the engine, the topmost layer first.
    layers     TEXT NOT NULL,
    -- The number of the user whose files these are.
    owner      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    -- How many jobs began with it.
    hits       INTEGER NOT NULL DEFAULT 0,
    UNIQUE (repo, paths, shared, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX caches_by_use ON caches (used_at);

-- The branches whose green jobs saved an entry, or found it under its whole key and would have saved the same.
CREATE TABLE cache_branches (
    cache  TEXT NOT NULL REFERENCES caches (id) ON DELETE CASCADE,
    branch TEXT NOT NULL,
    PRIMARY KEY (cache, branch)
) STRICT, WITHOUT ROWID;

-- What the caches of an attempt are made of, from before it starts until its volumes are kept or removed. Layers that are named here are
-- in use.
CREATE TABLE cache_uses (
    job      TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    -- Which of the job's caches, from 0.
    position INTEGER NOT NULL,
    repo     TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    paths    TEXT NOT NULL,
    -- JSON: the entry that it began with, if there was one.
    found    TEXT,
    -- The number of the user that the job runs as.
    owner    INTEGER NOT NULL DEFAULT 0,
    -- The branch that what it saves counts for; NULL for none.
    branch   TEXT,
    begun_at INTEGER NOT NULL,
    PRIMARY KEY (job, attempt, position)
) STRICT, WITHOUT ROWID;

-- The sizes of layers, once they are known. Several entries may have one layer.
CREATE TABLE cache_volumes (
    volume TEXT PRIMARY KEY,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How often a repository's jobs looked for an entry, and how often one was there.
CREATE TABLE cache_lookups (
    repo  TEXT PRIMARY KEY REFERENCES repos (id) ON DELETE CASCADE,
    asked INTEGER NOT NULL,
    found INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
