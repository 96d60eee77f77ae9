-- The webhook's secret that the forge had before, until it has confirmed the new one.
ALTER TABLE repos ADD COLUMN former_hook_secret_sealed BLOB;
