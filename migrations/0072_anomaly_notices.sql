-- People are told of anomalies, too: a message is about a build or about an anomaly.
CREATE TABLE notices_new (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    notification TEXT NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
    build        TEXT REFERENCES builds (id) ON DELETE CASCADE,
    anomaly      INTEGER REFERENCES anomalies (seq) ON DELETE CASCADE,
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
    given_up     INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1)),
    -- A message to which its place answers with an error again and again: those after it do not wait for it any more.
    overtaken    INTEGER NOT NULL DEFAULT 0 CHECK (overtaken IN (0, 1)),
    CHECK ((build IS NULL) <> (anomaly IS NULL))
) STRICT;
INSERT INTO notices_new (seq, id, notification, build, event, about, pull_request, owed_since, attempts, try_at, problem, told_at, given_up, overtaken)
SELECT seq, id, notification, build, event, about, pull_request, owed_since, attempts, try_at, problem, told_at, given_up, overtaken FROM notices;
DROP TABLE notices;
ALTER TABLE notices_new RENAME TO notices;
CREATE INDEX notices_of_notification ON notices (notification, seq);
CREATE INDEX notices_owed ON notices (notification, seq) WHERE told_at IS NULL AND given_up = 0;
CREATE INDEX notices_of_build ON notices (build);

-- The registries that the jobs of a repository have had images of: another one is worth a look.
CREATE TABLE repo_registries (
    repo     TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    registry TEXT NOT NULL,
    -- The build that was the first.
    build    TEXT NOT NULL,
    PRIMARY KEY (repo, registry)
) STRICT, WITHOUT ROWID;
