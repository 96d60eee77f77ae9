-- What forges have told of: the same is built once, under however many ids it is delivered. A row stays as long as its repository, since a
-- signed body can be sent again when its delivery and its build are long removed.
CREATE TABLE told (
    repo  TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    -- A hash of the event, its ref, its commits, and the pull request's number and action.
    key   TEXT NOT NULL,
    -- A hash of the body that told of it last.
    body  TEXT NOT NULL,
    -- The number of the build that it became last; none where it became none.
    build INTEGER,
    PRIMARY KEY (repo, key)
) STRICT, WITHOUT ROWID;

-- Where a ref was last told to be: at which commit; of a pull request, with whether it is open.
CREATE TABLE told_refs (
    repo    TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    git_ref TEXT NOT NULL,
    at      TEXT NOT NULL,
    PRIMARY KEY (repo, git_ref)
) STRICT, WITHOUT ROWID;

-- Whether a person has asked for it, once more.
ALTER TABLE deliveries ADD COLUMN by_hand INTEGER NOT NULL DEFAULT 0 CHECK (by_hand IN (0, 1));
-- Nobody reads them: what is needed of them is in the other columns.
ALTER TABLE deliveries DROP COLUMN headers;
