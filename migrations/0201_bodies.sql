-- A hash of a webhook's body: the same body under another id is not kept twice.
ALTER TABLE deliveries ADD COLUMN body_key TEXT;
CREATE INDEX deliveries_by_body ON deliveries (repo, body_key, seq) WHERE body_key IS NOT NULL;
