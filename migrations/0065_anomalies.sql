-- What was noticed in the audit log that somebody should look at. The same again is counted. It stays when its repository goes.
CREATE TABLE anomalies (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL,
    -- Whom or what it is about: the same kind about the same is one anomaly for a while.
    about    TEXT NOT NULL,
    message  TEXT NOT NULL,
    repo     TEXT,
    job      TEXT,
    -- The newest record that showed it.
    record   INTEGER NOT NULL,
    times    INTEGER NOT NULL DEFAULT 1,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX anomalies_about ON anomalies (kind, about, last_at);
