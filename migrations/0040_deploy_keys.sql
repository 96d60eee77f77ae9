-- The key that a repository is fetched with over ssh, sealed, and what its host showed of itself when the key was made: lines of
-- known_hosts. No other host is believed.
ALTER TABLE repos ADD COLUMN deploy_key_sealed BLOB;
ALTER TABLE repos ADD COLUMN deploy_key_public TEXT;
ALTER TABLE repos ADD COLUMN host_keys TEXT;
