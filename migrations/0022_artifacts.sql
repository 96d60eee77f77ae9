-- What jobs leave. A job that a rerun carries over shares its contents; files with the same bytes share a blob, which is a file of the
-- data folder with the name of its SHA-256.
CREATE TABLE artifact_contents (
    id    INTEGER PRIMARY KEY,
    files INTEGER NOT NULL,
    -- Of its files, before packing.
    bytes INTEGER NOT NULL,
    -- The path of the page to open first, if one of the files is a page.
    page  TEXT
) STRICT;

CREATE TABLE artifact_files (
    content    INTEGER NOT NULL REFERENCES artifact_contents (id) ON DELETE CASCADE,
    path       TEXT NOT NULL,
    executable INTEGER NOT NULL CHECK (executable IN (0, 1)),
    bytes      INTEGER NOT NULL,
    blob       BLOB NOT NULL CHECK (length(blob) = 32),
    PRIMARY KEY (content, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX artifact_files_by_blob ON artifact_files (blob);

CREATE TABLE artifacts (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    job        TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- `files`, or the format of reports.
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    content    INTEGER NOT NULL REFERENCES artifact_contents (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    UNIQUE (job, kind, name)
) STRICT;
CREATE INDEX artifacts_by_content ON artifacts (content);
CREATE INDEX artifacts_by_expiry ON artifacts (expires_at) WHERE expires_at IS NOT NULL;

-- Blobs that were let go of: noted in the transaction that forgets them, gone once they are looked at. One that is named again stays.
CREATE TABLE blob_removals (
    blob BLOB PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;
