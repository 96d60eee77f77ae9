-- Where people are told of builds: by the server, of all repositories, or by one of them. Addresses of webhooks give the right to write
-- there, so they are sealed with the key or token that goes with them; `shown` is what people see of it.
CREATE TABLE notifications (
    id         TEXT PRIMARY KEY NOT NULL,
    repo       TEXT REFERENCES repos (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    shown      TEXT NOT NULL,
    -- 24 bytes of nonce, then the sealed address and secret, as JSON, with the tag.
    sealed     BLOB NOT NULL,
    -- JSON: what is told, and globs of branches (all, if none is there).
    events     TEXT NOT NULL,
    branches   TEXT NOT NULL,
    -- Whether it may be at an address of the server's own network: only if an administrator of the server set it.
    internal   INTEGER NOT NULL CHECK (internal IN (0, 1)),
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;
CREATE INDEX notifications_of_repo ON notifications (repo);

-- What they are told, in order: a row for each message to each place. It stays with its build, so that nobody is told twice.
CREATE TABLE notices (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    notification TEXT NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
    build        TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    event        TEXT NOT NULL,
    -- JSON: the pipelines that are fixed, or the jobs that wait.
    about        TEXT NOT NULL,
    -- A stranger's pull request, of which little is told.
    pull_request INTEGER,
    owed_since   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    try_at       INTEGER NOT NULL,
    problem      TEXT,
    told_at      INTEGER,
    -- Nobody is told of it any more: it is no longer so, or the place does not take it.
    given_up     INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1))
) STRICT;
CREATE INDEX notices_of_notification ON notices (notification, seq);
CREATE INDEX notices_owed ON notices (notification, seq) WHERE told_at IS NULL AND given_up = 0;
CREATE INDEX notices_of_build ON notices (build);
