-- Forges that the server may call, each with a token that is sealed like a secret and bound to its connection. The name is what people
-- write in commands.
CREATE TABLE connections (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    url        TEXT NOT NULL,
    -- The account that the token belongs to.
    account    TEXT NOT NULL,
    -- 24 bytes of nonce, then the sealed token with its tag.
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;

-- The connection that a repository was registered through, and the webhook that was set up for it at the forge.
ALTER TABLE repos ADD COLUMN connection TEXT REFERENCES connections (id);
ALTER TABLE repos ADD COLUMN hook_id TEXT;
CREATE INDEX repos_of_connection ON repos (connection) WHERE connection IS NOT NULL;
