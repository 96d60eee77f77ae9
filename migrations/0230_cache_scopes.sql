-- Entries belong to what saved them. Nobody knows who made the former ones: a branch was noted for an entry, too, that one of its jobs
-- had only found, and an entry may be a layer above one of another branch. So they are forgotten, and their volumes are nobody's.
DROP TABLE cache_branches;
DROP TABLE caches;

-- Entries of caches. An entry is immutable under its key, except for a shared one, which is one folder that jobs write into. A row is
-- written when all volumes of the entry are complete, so no half entry is ever seen.
CREATE TABLE caches (
    id         TEXT PRIMARY KEY,
    repo       TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    -- Whose it is: the full name of a branch or a tag, or a pull request's with the branches whose files it runs.
    scope      TEXT NOT NULL,
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
    UNIQUE (repo, scope, paths, shared, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX caches_by_use ON caches (used_at);

-- The scope that what an attempt saves belongs to; NULL if it saves nothing, as one that has begun with an entry of before.
ALTER TABLE cache_uses RENAME COLUMN branch TO scope;
UPDATE cache_uses SET scope = NULL;
