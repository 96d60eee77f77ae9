-- Which branches, tags, events and jobs may have a secret: JSON, `{}` for all of them.
ALTER TABLE secrets ADD COLUMN rules TEXT NOT NULL DEFAULT '{}';
-- What webhooks are signed with, and a clone address with credentials, sealed like secrets and bound to their repository. The columns
-- of before hold nothing secret then: `hook_secret` is empty, `clone_url` is without credentials. The next start seals what is there.
ALTER TABLE repos ADD COLUMN hook_secret_sealed BLOB;
ALTER TABLE repos ADD COLUMN clone_url_sealed BLOB;
