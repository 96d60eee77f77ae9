-- Credentials for registries of images, each password sealed like a secret and bound to its owner, host and user. Without a repository
-- they are the server's, for the jobs of all.
CREATE TABLE registries (
    repo       TEXT REFERENCES repos (id) ON DELETE CASCADE,
    host       TEXT NOT NULL,
    username   TEXT NOT NULL,
    -- 24 bytes of nonce, then the sealed password with its tag.
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX registries_by_owner ON registries (coalesce(repo, ''), host);
CREATE INDEX registries_of_repo ON registries (repo) WHERE repo IS NOT NULL;

-- Every registry that ever had credentials here. Images that came from it by them may still be on the engine, so that a job has to ask
-- it for them even after the credentials are gone.
CREATE TABLE guarded_registries (
    host TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
