-- How GitHub shows a context to which an App speaks: as a check run, or as a status, and from then on as that. A check run is of one build:
-- the next one of the same commit has another, since annotations are added and never taken away.
ALTER TABLE commit_statuses ADD COLUMN check_run TEXT;
ALTER TABLE commit_statuses ADD COLUMN check_build TEXT;
ALTER TABLE commit_statuses ADD COLUMN as_status INTEGER NOT NULL DEFAULT 0 CHECK (as_status IN (0, 1));
UPDATE commit_statuses SET as_status = 1 WHERE told > 0;
