-- Whether a comment on a pull request says what failed, in the repository's settings.
ALTER TABLE repos ADD COLUMN comments INTEGER NOT NULL DEFAULT 0 CHECK (comments IN (0, 1));

-- The comment on each pull request, with the build that it ought to speak of. `wanted` counts the changes of a row, and `told` is the count
-- that the forge has confirmed: a row is owed as long as they differ. It stays when its build goes, since it knows the comment.
CREATE TABLE pull_request_comments (
    repo         TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    pull_request INTEGER NOT NULL,
    build        TEXT REFERENCES builds (id) ON DELETE SET NULL,
    -- The forge's id of the comment. While one is sent for the first time, it is not known whether it is there.
    comment      TEXT,
    sent         INTEGER NOT NULL DEFAULT 0 CHECK (sent IN (0, 1)),
    wanted       INTEGER NOT NULL DEFAULT 1,
    told         INTEGER NOT NULL DEFAULT 0,
    owed_since   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    try_at       INTEGER NOT NULL,
    problem      TEXT,
    given_up     INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1)),
    PRIMARY KEY (repo, pull_request)
) STRICT, WITHOUT ROWID;
CREATE INDEX pull_request_comments_owed ON pull_request_comments (try_at) WHERE told <> wanted AND given_up = 0;
CREATE INDEX pull_request_comments_of_build ON pull_request_comments (build) WHERE build IS NOT NULL;
