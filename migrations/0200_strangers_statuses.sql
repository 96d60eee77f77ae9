-- Whose build a context shows: 0 the repository's own, 1 that of a fork's pull request into the default branch, 2 that of one into
-- another branch. None takes the place of one with a smaller number.
ALTER TABLE commit_statuses ADD COLUMN stranger INTEGER NOT NULL DEFAULT 0 CHECK (stranger IN (0, 1, 2));
UPDATE commit_statuses SET stranger = 1
WHERE build IN (SELECT id FROM builds WHERE json_extract(event_json, '$.pull_request.fork'));
-- Contexts of pipelines that had nothing to do are kept for a while after the forge has them.
CREATE INDEX commit_statuses_of_no_build ON commit_statuses (repo, owed_since) WHERE build IS NULL;
