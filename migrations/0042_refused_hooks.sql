-- The newest call of a repository's webhook that was refused, so that people see why nothing arrives.
CREATE TABLE refused_hooks (
    repo TEXT PRIMARY KEY REFERENCES repos (id) ON DELETE CASCADE,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
