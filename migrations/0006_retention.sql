-- Logs that nothing refers to any more, from their folder on: written in the transaction that forgets them, gone once the files are.
CREATE TABLE log_removals (
    path TEXT PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;

-- What retention looks for, oldest first, and what it adds up.
CREATE INDEX builds_by_end ON builds (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX deliveries_by_end ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_by_log_bytes ON jobs (log_bytes) WHERE log_bytes > 0 AND carried_over IS NULL;
-- Whether a rerun still needs the log of a job.
CREATE INDEX jobs_by_carried_over ON jobs (carried_over) WHERE carried_over IS NOT NULL;
