-- What a green job with `reuse` was made of. A later job that is made of the same takes over its success.
CREATE TABLE reusable (
    job    TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    lane   TEXT NOT NULL,
    -- A hash over the repository, the files, the definition and what the needed jobs gave.
    inputs TEXT NOT NULL,
    -- The images that it was started from.
    images TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reusable_by_inputs ON reusable (inputs, lane);
