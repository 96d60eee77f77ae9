-- The calls of a repository's webhook that were refused, one row for each reason: one that is called in a wrong way by a
-- stranger hides no other.
ALTER TABLE refused_hooks RENAME TO refused_hooks_before;
CREATE TABLE refused_hooks (
    repo TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (repo, reason)
) STRICT;
INSERT INTO refused_hooks (repo, reason, at, calls) SELECT repo, reason, at, 1 FROM refused_hooks_before;
DROP TABLE refused_hooks_before;
