-- Browsers that are signed in. Only the SHA-256 of what opens and holds a session is kept. A session ends with the token it was
-- opened by; the administrator's token is in no table.

CREATE TABLE sign_in_links (
    hash       BLOB PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    scope      TEXT NOT NULL,
    token      TEXT REFERENCES tokens (id) ON DELETE CASCADE,
    -- When the session that it opens has to end, where the token ends before it would.
    session_until INTEGER,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_links_of_token ON sign_in_links (token);

CREATE TABLE sessions (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    hash         BLOB NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    scope        TEXT NOT NULL,
    token        TEXT REFERENCES tokens (id) ON DELETE CASCADE,
    browser      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_of_token ON sessions (token);
