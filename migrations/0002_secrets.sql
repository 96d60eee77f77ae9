-- A repository's secrets, each sealed by itself: XChaCha20-Poly1305 with the installation's key, bound to repository and name,
-- so that a row moved to another place does not open. The key is not in here.
CREATE TABLE secrets (
    repo       TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    -- 24 bytes of nonce, then the sealed value with its tag.
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (repo, name)
) STRICT, WITHOUT ROWID;
