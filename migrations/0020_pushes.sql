-- The forge's own id of the repository, as soon as a delivery has told it: nobody else's delivery is believed from then on, and renames
-- and transfers change nothing.
ALTER TABLE repos ADD COLUMN forge_id TEXT;
-- When the repository's branches and tags were last looked at, and why that was not possible since.
ALTER TABLE repos ADD COLUMN looked_at INTEGER;
ALTER TABLE repos ADD COLUMN look_error TEXT;
-- JSON: globs of the repositories on the clone address's host that its credentials are used for as submodules.
ALTER TABLE repos ADD COLUMN submodules TEXT NOT NULL DEFAULT '[]';

-- Whether no webhook told of it: it was found by looking at the repository.
ALTER TABLE deliveries ADD COLUMN found INTEGER NOT NULL DEFAULT 0 CHECK (found IN (0, 1));
-- The newer delivery that this one, which waits for its next try, was let pass last: each lets it pass once.
ALTER TABLE deliveries ADD COLUMN hurried_by INTEGER;
CREATE INDEX deliveries_found ON deliveries (repo) WHERE found = 1;
