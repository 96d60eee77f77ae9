-- Whether a context shows a build of a pull request from a fork: such a build takes no place of the repository's own builds.
ALTER TABLE commit_statuses ADD COLUMN stranger INTEGER NOT NULL DEFAULT 0 CHECK (stranger IN (0, 1));
UPDATE commit_statuses SET stranger = 1
WHERE build IN (SELECT id FROM builds WHERE json_extract(event_json, '$.pull_request.fork'));
-- Contexts of pipelines that had nothing to do are kept for a while after the forge has them.
CREATE INDEX commit_statuses_of_no_build ON commit_statuses (repo, owed_since) WHERE build IS NULL;
