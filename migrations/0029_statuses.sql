-- What the forges are to show beside commits: a row for each context, with the state that it ought to have by now. `wanted` counts the
-- changes of a row, and `told` is the count that the forge has confirmed: a row is owed as long as they differ.
CREATE TABLE commit_statuses (
    repo        TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    commit_id   TEXT NOT NULL,
    context     TEXT NOT NULL,
    -- The build that it speaks of, the newest with that context. None where a pipeline had nothing to do.
    build       TEXT REFERENCES builds (id) ON DELETE CASCADE,
    state       TEXT NOT NULL,
    description TEXT NOT NULL,
    -- The branch or tag by its short name; of a pull request, its source branch.
    ref_name    TEXT,
    wanted      INTEGER NOT NULL DEFAULT 1,
    told        INTEGER NOT NULL DEFAULT 0,
    -- Since when the forge shows something else.
    owed_since  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    try_at      INTEGER NOT NULL,
    -- Why it could not be reported yet.
    problem     TEXT,
    -- The forge will not take it, however often it is asked.
    given_up    INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1)),
    PRIMARY KEY (repo, commit_id, context)
) STRICT, WITHOUT ROWID;
CREATE INDEX commit_statuses_owed ON commit_statuses (try_at) WHERE told <> wanted AND given_up = 0;
CREATE INDEX commit_statuses_of_build ON commit_statuses (build) WHERE build IS NOT NULL;

-- Which contexts a repository's builds have at its forge.
ALTER TABLE repos ADD COLUMN statuses TEXT NOT NULL DEFAULT 'pipeline' CHECK (statuses IN ('pipeline', 'job', 'none'));
