-- The images that this server pulled, by the name that it pulled them under. No others may be removed to make room.
CREATE TABLE pulled_images (
    name    TEXT PRIMARY KEY,
    image   TEXT NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was removed to make room on the engine's disk, and why.
CREATE TABLE room_made (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    at    INTEGER NOT NULL,
    what  TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    why   TEXT NOT NULL
) STRICT;

-- The engine's disk when it was measured last: one row, or none.
CREATE TABLE engine_disk (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    free  INTEGER NOT NULL,
    total INTEGER NOT NULL,
    -- Why jobs that should start wait for room, if they do.
    held  TEXT
) STRICT;
